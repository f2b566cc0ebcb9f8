"""What a trained network says: about a part of its data, or about new inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from archlang.compiler.diagnostics import ArchError, Label, error
from archlang.compiler.graph import Program
from archlang.compiler.sizes import Verdict, compare
from archlang.compiler.task import Task, TaskKind, find_task, input_type
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .data import Preprocessing, load
from .data.arrays import as_tensor, read_arrays
from .data.fading import FadedFeed, completed
from .data.images import SUFFIXES, Unreadable, center, read_image, unreadable
from .data.scanning import find_images
from .data.tables import numbers, read_table
from .devices import make_fabric
from .games import measure_game
from .measure import Trainee, measure
from .seeding import fixed_noise

_BATCH = 256


def evaluate(
    program: Program,
    module: nn.Module,
    plan: TrainPlan,
    *,
    split: str = "test",
    device: str = "auto",
    data: Path | None = None,
) -> dict[str, float]:
    """Loss and metrics of one part (`train`, `validation` or `test`), cut exactly as `fit` cut it; of a game the losses
    of both sides. Raises ArchError."""
    examples, parts, _ = load(program, plan, data)
    rows = parts.part(split)
    if len(rows) == 0:
        raise error(
            "A1043", f"the {split} part is empty", plan.place(split), help=f"give `{split}` a share, such as 0.2"
        )
    fabric = make_fabric(device, plan.precision)
    module = module.to(fabric.device)
    batch = _BATCH if examples.tensors else plan.batch
    feed = FadedFeed(program, examples, rows, batch, fabric.device, span=plan.place("data"))
    if program.game is not None:
        return measure_game(module, feed, fabric)
    trainee = Trainee(module)
    inputs = len(program.input_nodes())
    return measure(trainee, feed, find_task(program), plan.metric, inputs=inputs, fabric=fabric)


def predict(
    program: Program,
    module: nn.Module,
    inputs: Path | Sequence[Path],
    preprocessing: Preprocessing | None = None,
    *,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """A row for every image, line of a CSV file, or example of an npz archive.

    preprocessing: what training did to its inputs; `load_weights` returns it as JSON under `preprocessing`. A row has
    `input` (a file's name, or file:line), and `class`, `probability` and `probabilities` (classification) or `value`;
    of a network that restores its input, `value` is in the units of the data. Noise is the same each time. Raises
    ArchError: for a game A1081.
    """
    if program.game is not None:
        raise _no_answer(program)
    prep = preprocessing or Preprocessing()
    paths = [inputs] if isinstance(inputs, Path) else list(inputs)
    fabric = make_fabric(device)
    module = module.to(fabric.device)
    task = find_task(program)
    was_training = module.training
    module.eval()
    rows: list[dict[str, Any]] = []
    with torch.no_grad(), fixed_noise(fabric.device):
        for names, batch in batches(program, paths, prep):
            ready = prep.apply(batch.to(fabric.device))
            answers = module(*completed(program, [ready]))
            answer = (answers[task.output] if isinstance(answers, tuple) else answers).float()
            if task.reconstructs:
                answer = prep.undo(answer.sigmoid() if task.logits else answer)
            rows += [{"input": n, **_row(a, task, prep)} for n, a in zip(names, answer.cpu(), strict=True)]
    module.train(was_training)
    return rows


def _no_answer(program: Program) -> ArchError:
    """A game is not asked about examples: its players are."""
    calls = [
        f"`model.{entry.name}({', '.join(entry[n].name for n in entry.inputs) or 'b=16'})`"
        for entry in program.entries.values()
    ]
    return error(
        "A1081",
        f"`{program.name}` is a game, which makes examples and answers nothing about them",
        program.span,
        help=f"in Python, `model = archlang.load(…, weights=…)` has {' and '.join(calls)}",
    )


def _row(answer: Tensor, task: Task, prep: Preprocessing) -> dict[str, Any]:
    if task.kind is TaskKind.MULTICLASS:
        share = answer.movedim(task.class_axis - 1, -1).softmax(-1)
        if share.ndim > 1:  # a class for every position
            return {"class": share.argmax(-1).tolist()}
        names = prep.classes if len(prep.classes) == len(share) else tuple(str(i) for i in range(len(share)))
        best = int(share.argmax())
        return {
            "class": names[best],
            "probability": float(share[best]),
            "probabilities": dict(zip(names, share.tolist(), strict=True)),
        }
    if task.kind is TaskKind.BINARY:
        share = answer.sigmoid()
        yes = (share > 0.5).tolist()
        names = prep.classes if len(prep.classes) == 2 else ("no", "yes")
        chosen = [names[int(v)] for v in yes] if isinstance(yes, list) else names[int(yes)]
        return {"class": chosen, "probability": share.tolist()}
    return {"value": answer.tolist()}


def batches(program: Program, paths: list[Path], prep: Preprocessing):
    """Names and inputs, some hundred at a time."""
    for path in paths:
        if not path.exists():
            raise error("A1010", f'there is no "{path}"')
        if path.suffix.lower() == ".csv":
            frame = read_table(path, prep.separator, None)
            features = list(prep.features) or list(frame.columns)
            gone = [f for f in features if f not in frame.columns]
            if gone:
                raise error("A1017", f'"{path.name}" has no column `{gone[0]}`, which the network learned from')
            yield from _chunks(program, [f"{path.name}:{n}" for n in frame.index], numbers(frame, features, path, None))
        elif path.suffix.lower() == ".npz":
            array = read_arrays(path, (prep.array,), None)[prep.array]
            x = as_tensor(array, prep.array, path, None)
            yield from _chunks(program, [f"{path.name}:{n}" for n in range(len(x))], x)
        else:
            yield from _pictures(program, path, prep)


def _chunks(program: Program, names: list[str], x: Tensor):
    _check(program, x)
    for start in range(0, len(names), _BATCH):
        yield names[start : start + _BATCH], x[start : start + _BATCH]


def _pictures(program: Program, path: Path, prep: Preprocessing):
    files = [path]
    if path.is_dir():
        files = find_images(path)
        if not files:
            raise error("A1013", f'"{path}" has no images', help=f"they end in {', '.join(SUFFIXES)}")
    shape = [program.graph.nominal.get(str(s), s) for s in input_type(program, 0).shape]
    size = prep.size or (shape[2] if len(shape) == 4 and isinstance(shape[2], int) else 224)
    grey = prep.grey or (len(shape) == 4 and shape[1] == 1)
    for start in range(0, len(files), _BATCH):
        chunk = files[start : start + _BATCH]
        pixels = []
        for file in chunk:
            try:
                pixels.append(read_image(file, prep.resize or size, grey))
            except Exception as failure:  # Pillow raises what it likes on a broken file
                unreadable([Unreadable(str(file), str(failure))], None)
        batch = center(torch.from_numpy(np.stack(pixels)), size)
        if prep.scale == 1.0:
            batch = batch.to(torch.float32) / 255  # trained on values in [0, 1] that were no images
        _check(program, batch.float())
        yield [str(file) for file in chunk], batch


def _check(program: Program, x: Tensor) -> None:
    """Inputs must have the shape and kind of the network's first input."""
    nodes = program.data_nodes()
    node = program.graph[nodes[0]]
    if len(nodes) != 1:
        raise error("A1025", f"`{program.name}` has {len(nodes)} inputs, and a file gives one", node.span)
    wanted = node.types[0]
    given = "float" if x.is_floating_point() else "bool" if x.dtype == torch.bool else "int"
    labels = [Label(node.span, "declared here")] if node.span else []
    found = f"{'' if given == 'float' else given}[B, {', '.join(map(str, x.shape[1:]))}]"
    differ = any(compare(s, n) is Verdict.REFUTED for s, n in zip(wanted.shape[1:], x.shape[1:], strict=False))
    if wanted.rank != x.ndim or differ:
        raise error("A1023", f"input `{node.name}` is {wanted}, and the file gives {found}", labels=labels)
    if given != wanted.dtype:
        raise error("A1024", f"input `{node.name}` is {wanted}, and the file gives {found}", labels=labels)
