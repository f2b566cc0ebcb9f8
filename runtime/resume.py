"""The state of an interrupted run, in one safetensors file: tensors, and the rest as JSON in its header."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .checkpoint import check_keys, put, read_tensors, save_tensors
from .seeding import random_state, restore_random_state

_FORMAT = "archlang-resume-1"
_FREE = {"epochs", "workers", "metric", "early_stop", "init"}  # what may differ between a run and its continuation


def save_resume(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: TrainPlan,
    progress: dict[str, Any],
    states: dict[str, Tensor] | None = None,
) -> None:
    """Everything that the next step depends on. `progress` is what JSON can hold; `states` are what a batch leaves to
    the next one. Raises A1104."""
    tensors: dict[str, Tensor] = {f"model.{key}": value for key, value in module.state_dict().items()}
    saved = optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, state in saved["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    own = Own.of(states or {})
    tensors |= own.tensors
    body = {
        "plan": _comparable(plan),
        "progress": progress,
        "random": own.random,
        "groups": saved["param_groups"],
        "scalars": scalars,
    }
    save_tensors(tensors, path, {"format": _FORMAT, "state": json.dumps(body)})


@dataclass(frozen=True)
class Own:
    """What differs between the processes of a run: random numbers, and what a batch leaves to the next one."""

    random: dict[str, Any]
    tensors: dict[str, Tensor]

    @staticmethod
    def of(states: dict[str, Tensor]) -> Own:
        """As it is now. The states are not copied."""
        values, generators = random_state()
        tensors = {f"random.{key}": value for key, value in generators.items()}
        return Own(values, tensors | {f"carried.{key}": value for key, value in states.items()})


@dataclass
class Resumed:
    """What `save_resume` wrote. `put` restores the weights, `finish` the rest once an optimizer can take it."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]
    groups: list[dict[str, Any]]
    scalars: dict[str, dict[str, Any]]
    random: dict[str, Any]

    @property
    def states(self) -> dict[str, Tensor]:
        """What the last batch left to the next one."""
        return {k.removeprefix("carried."): v for k, v in self.tensors.items() if k.startswith("carried.")}

    def owned(self, own: Own) -> Resumed:
        """The same for a process other than the one that wrote it."""
        return replace(self, random=own.random, tensors=self.tensors | own.tensors)

    def put(self, module: nn.Module, path: Path) -> None:
        """Restores the module's weights. Raises A1103."""
        weights = {k.removeprefix("model."): v for k, v in self.tensors.items() if k.startswith("model.")}
        check_keys(module, weights, path)
        put(module, weights)

    def finish(self, optimizer: torch.optim.Optimizer) -> None:
        """Gives an optimizer of the same parameters its state, and brings back the generators of random numbers."""
        state = _optimizer_state(self.tensors, self.scalars)
        optimizer.load_state_dict({"state": state, "param_groups": _tuples(self.groups)})
        generators = {k.removeprefix("random."): v for k, v in self.tensors.items() if k.startswith("random.")}
        restore_random_state(self.random, generators)


def load_resume(path: Path, plan: TrainPlan) -> Resumed:
    """Reads what `save_resume` wrote. Raises A1101 to A1106."""
    if not path.is_file():
        raise error(
            "A1105",
            f'there is nothing to resume in "{path.parent}"',
            help=f"a run writes {path.name} there; start one without resuming",
        )
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise error("A1105", f'"{path}" is not the state of a run', help="weights alone can't be resumed: use `init`")
    try:
        body = json.loads(metadata["state"])
        theirs, groups, scalars = dict(body["plan"]), list(body["groups"]), dict(body["scalars"])
        progress, values = dict(body["progress"]), dict(body["random"])
    except (KeyError, TypeError, ValueError) as failure:
        raise error("A1102", f'"{path}" is damaged: {failure}', help="start anew") from None
    _same_plan(theirs, _comparable(plan), plan)
    return Resumed(progress, tensors, groups, scalars, values)


def _optimizer_state(tensors: dict[str, Tensor], scalars: dict[str, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in scalars.items()}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    return state


def _tuples(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON knows no tuples, and an optimizer's betas are one."""
    return [{k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()} for g in groups]


def _comparable(plan: TrainPlan) -> dict[str, Any]:
    """What must not differ: everything but what is free, and how long the phases before the last one are."""
    shared = {k: v for k, v in plan.as_dict().items() if k not in _FREE and k != "phases"}
    stages = [{k: v for k, v in stage.as_dict().items() if k not in _FREE} for stage in plan.phases]
    for stage, said in zip(stages[:-1], plan.phases, strict=False):
        stage["epochs"] = said.epochs
    return json.loads(json.dumps({**shared, "phases": stages}))


def _same_plan(theirs: dict[str, Any], ours: dict[str, Any], plan: TrainPlan) -> None:
    former, now = theirs.get("phases", []), ours["phases"]
    if len(former) != len(now):
        message = f"the run to resume had {len(former) or 'no'} phases, and now there are {len(now) or 'none'}"
        raise error("A1106", message, plan.place("network"), help=_AGAIN)
    for before, after, stage in (*zip(former, now, plan.phases, strict=True), (theirs, ours, plan)):
        differ = [key for key in after if key != "phases" and before.get(key) != after[key]]
        if differ:
            key = differ[0]
            raise error(
                "A1106",
                f"the run to resume had `{key}` {_brief(before.get(key))}, and now it is {_brief(after[key])}",
                stage.place(key) or plan.place("network"),
                help=_AGAIN,
            )


_AGAIN = "resume with the settings that it began with, or start anew in another folder"


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "kind" in value:
        return f"{value['kind']}({', '.join(f'{k}={v}' for k, v in value.items() if k != 'kind')})"
    return str(value)
