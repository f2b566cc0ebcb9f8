"""Reads a `train` block into a `TrainPlan`, and says at its place what is wrong with it. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, get_args

from .augmentations import AUGMENTATIONS
from .data_sources import SOURCES, Iris
from .declared import Declared, Invalid
from .diagnostics import Label, did_you_mean, error
from .elaborate.values import Poisoned
from .game_training import DEFAULTS as GAME_DEFAULTS
from .graph import Program
from .learning import Freeze, Tree
from .source import Span
from .syntax import ast
from .task import REGRESSION_METRICS, Task, TaskKind, find_task
from .training_checks import check_block, check_stage
from .training_plan import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    EarlyStop,
    Init,
    Linear,
    Metric,
    OneCycle,
    Plateau,
    RMSprop,
    Step,
    TrainPlan,
)
from .training_values import Values, listed, reason

__all__ = ["AUGMENTATIONS", "OPTIMIZERS", "SCHEDULES", "TrainPlan", "plan", "settings"]

OPTIMIZERS: dict[str, type[Declared]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
SCHEDULES: dict[str, type[Declared]] = {
    "constant": Constant,
    "cosine": Cosine,
    "step": Step,
    "linear": Linear,
    "plateau": Plateau,
    "onecycle": OneCycle,
}
WHOLE = (
    "validation",
    "test",
    "seed",
    "split_seed",
    "metric",
    "precision",
    "ema",
    "samples",
    "workers",
    "normalize",
    "init",
    "class_weights",
    "carry",
)


def settings() -> tuple[str, ...]:
    """Every key that a `train` block may hold."""
    return tuple(k for k in TrainPlan.model_fields if k not in ("network", "data", "phases", "name", "places"))


def plan(train: ast.Train, program: Program) -> TrainPlan:
    """The plan of a `train` block for the network that it names. Raises ArchError with everything that is wrong."""
    return _Reader(train, program).read()


class _Section:
    """The settings of a block or a phase, and where each was said."""

    def __init__(self, name: ast.Ident | None = None) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.places: dict[str, Span] = {}


class _Reader(Values):
    def __init__(self, train: ast.Train, program: Program) -> None:
        super().__init__()
        self.train, self.program, self.tree = train, program, Tree(program)
        self.handlers: dict[str, Callable[[ast.Setting], Any]] = {
            "optimizer": lambda s: self.choice(self.single(s), OPTIMIZERS, "optimizer"),
            "schedule": lambda s: self.choice(self.single(s), SCHEDULES, "schedule"),
            "augment": lambda s: tuple(self.augmentation(e) for e in s.values),
            "early_stop": self.early_stop,
            "metric": self.metrics,
            "init": self.init,
            "freeze": self.freeze,
            "lr": self.rates,
            "carry": self.carried,
            "set": self.configured,
            "fade": self.fades,
        }

    def read(self) -> TrainPlan:
        block = _Section()
        block.values = {"network": self.program.name, "data": Iris()}  # replaced, unless the data can't be read
        block.places = {"network": self.train.target.span, "data": self.train.data.span}
        said: list[Any] = []
        self.attempt(lambda: said.append(self.source(self.train.data)))
        block.values["data"] = said[0] if said else block.values["data"]
        for item in self.train.body:
            if isinstance(item, ast.Setting):
                self.attempt(partial(self.setting, item, block))
        defaults = {"metric": find_task(self.program).metrics[:1]} if self.program.game is None else GAME_DEFAULTS
        block.values = {**defaults, **block.values}
        phases = list(self.phases())
        stages = [self.made(block, phase) for phase in phases] if phases else [self.made(block)]
        found = [stage for stage in stages if stage is not None]
        if len(found) == len(stages):
            for stage, program in zip(found, stage_programs(self.program, found), strict=True):
                self.attempt(partial(self.checked, stage, program))
            for problem in check_block(found[0], self.program, known=bool(said)):
                self.sink.add(problem)
        self.sink.raise_if_failed()
        if len(found) == 1:
            return found[0]  # one phase says no more than the block itself would
        total = {"epochs": sum(stage.epochs for stage in found)}
        return TrainPlan(**{**block.values, **total}, places=block.places, phases=tuple(found))

    def source(self, e: ast.Expr) -> Any:
        found = self.choice(e, SOURCES, "data source")
        problem = found.problem()  # type: ignore[attr-defined]
        if problem:
            raise error("A1005", f"`{found.kind}` {problem}", e.span)  # type: ignore[attr-defined]
        return found

    def checked(self, stage: TrainPlan, program: Program) -> None:
        for problem in check_stage(stage, program, Tree(program)):
            self.sink.add(problem)
        if stage.early_stop is not None and stage.early_stop.metric not in (None, "loss"):
            _fits(str(stage.early_stop.metric), find_task(self.program), stage.places["early_stop"])

    def phases(self) -> Iterator[_Section]:
        """The phases, in order."""
        nodes = [item for item in self.train.body if isinstance(item, ast.Phase)]
        told = any(isinstance(item, ast.Setting) and item.key.text == "epochs" for item in self.train.body)
        names: dict[str, Span] = {}
        for node in nodes:
            name, span = node.name.text, node.name.span
            if name in names:
                labels = [Label(names[name], "the first one")]
                help = "messages, the report and a resumed run tell phases apart by name"
                self.sink.extend(error("A1032", f"two phases are called `{name}`", span, labels=labels, help=help))
            names.setdefault(name, span)
            section = _Section(node.name)
            for item in sorted(node.body, key=lambda item: item.key.text != "set"):
                self.attempt(partial(self.setting, item, section))
            self.tree = Tree(self.program)
            if not told and len(nodes) > 1 and not any(item.key.text == "epochs" for item in node.body):
                help = "write `epochs 5` into it, or before the phases for all of them"
                self.sink.extend(error("A1033", f"nothing says how long phase `{name}` is", span, help=help))
            yield section

    def made(self, block: _Section, phase: _Section | None = None) -> TrainPlan | None:
        """The plan of a block, or of one of its phases; None when that can't be."""
        inner = phase or _Section()
        values, places = {**block.values, **inner.values}, {**block.places, **inner.places}
        try:
            return TrainPlan(**values, places=places, name=phase.name.text if phase and phase.name else "")
        except Invalid as failure:
            for key, fault in {str(fault["loc"][0]): fault for fault in failure.errors()}.items():
                self.sink.extend(error("A1003", f"`{key}` {reason(fault)}", places.get(key), help=_help(key)))
            return None

    def setting(self, setting: ast.Setting, section: _Section) -> None:
        key, span = setting.key.text, setting.key.span
        if key not in settings():
            raise error(
                "A1001",
                f"`{key}` is not a setting of training",
                span,
                help=did_you_mean(key, settings()) or f"there are {', '.join(sorted(settings()))}",
            )
        if section.name is None and key == "set":
            help = f"write `train {self.program.name}(name=value) on …`, or put it into a phase"
            raise error("A0911", "`set` changes the network from phase to phase", span, help=help)
        if section.name is not None and key in WHOLE:
            raise error("A1034", f"`{key}` is the same for all phases", span, help="write it before the phases")
        if key in section.places:
            raise error(
                "A1002",
                f"`{key}` is set twice",
                span,
                labels=[Label(section.places[key], "first set here")],
                help="keep one",
            )
        section.places[key] = self.where(setting)
        section.places |= {f"{key} except {e.span.text}": e.span for e in setting.excepted}
        if key == "carry":
            section.places |= {f"carry {e.span.text}": e.span for e in setting.values}
        if setting.excepted and key not in ("init", "freeze"):
            raise error("A1003", f"`{key}` takes no `except`", setting.excepted[0].span)
        if setting.assignments and key not in ("early_stop", "lr", "set", "fade"):
            raise error("A1003", f"`{key}` takes a value, as in `{key} {_sample(key)}`, not `name=value`", setting.span)
        handler = self.handlers.get(key)
        section.values[key] = handler(setting) if handler else self.scalar(setting)

    def scalar(self, setting: ast.Setting) -> Any:
        return self.value(self.single(setting), words=_words(setting.key.text))

    # -- settings with a form of their own

    def early_stop(self, setting: ast.Setting) -> Any:
        if setting.values:
            return EarlyStop(patience=v) if isinstance(v := self.scalar(setting), int) and v > 0 else v
        return self.part("early_stop", EarlyStop, setting.assignments, setting.span)

    def metrics(self, setting: ast.Setting) -> tuple[str, ...]:
        task = find_task(self.program)
        chosen: list[str] = []
        for e in setting.values:
            word = self.value(e, words=get_args(Metric))
            if not isinstance(word, str):
                raise error("A1004", f"a metric is one of {listed(get_args(Metric))}", e.span)
            _fits(word, task, e.span)
            chosen.append(word)
        return tuple(dict.fromkeys(chosen))

    def init(self, setting: ast.Setting) -> Init:
        given = self.single(setting)
        file = None if isinstance(given, ast.Name) else self.value(given)
        if not isinstance(file, str) or not file:
            raise error("A1003", "`init` takes a checkpoint or a published name in quotes", self.where(setting))
        span = given.span
        published = self.program.pretrained
        if file.startswith("hub:") or "://" in file:
            help = 'publish it, `pretrained NAME = url("https://…", sha256="…")`, and write `init "NAME"`'
            what = f'a spec starts from a file of its project or from a name that it publishes, not "{file}"'
            raise error("A1101", what, span, help=help)
        if file not in published and file.isidentifier() and (close := did_you_mean(file, published)):
            raise error("A1101", f"`{self.program.name}` publishes no weights called `{file}`", span, help=close)
        return Init(file=file, excepted=self.module_paths(setting.excepted))

    def carried(self, setting: ast.Setting) -> tuple[str, ...]:
        for e in setting.values:
            if not isinstance(e, ast.Name):
                raise error("A1003", "`carry` takes names of inputs, as in `carry h, c`", e.span)
        names = [e.text for e in setting.values if isinstance(e, ast.Name)]
        doubled = next((e for i, e in enumerate(setting.values) if names[i] in names[:i]), None)
        if doubled is not None:
            raise error("A1002", f"`{doubled.span.text}` is carried twice", doubled.span, help="keep one")
        return tuple(names)

    def augmentation(self, e: ast.Expr) -> Any:
        found = self.choice(e, AUGMENTATIONS, "augmentation")
        problem = found.problem()  # type: ignore[attr-defined]
        if problem:
            raise error("A1005", f"`{found.kind}` {problem}", e.span)  # type: ignore[attr-defined]
        return found

    def freeze(self, setting: ast.Setting) -> Freeze:
        words = [
            e.text if isinstance(e, ast.Name) else "none" if isinstance(e, ast.NoneLit) else "" for e in setting.values
        ]
        whole = next((word for word in words if word in ("all", "none")), None)
        if whole is not None and len(words) > 1:
            raise error(
                "A1003", f"`{whole}` stands alone: nothing can be added to it", setting.values[words.index(whole)].span
            )
        if whole == "none" and setting.excepted:
            raise error("A1003", "`freeze none` takes no `except`", setting.excepted[0].span)
        paths = self.module_paths(() if whole else setting.values, setting.excepted)
        split = len(paths) - len(setting.excepted)
        return Freeze(paths=paths[:split], all=whole == "all", excepted=paths[split:])

    def module_paths(self, *written: tuple[ast.Expr, ...]) -> tuple[str, ...]:
        """Paths into the module tree, each of which leads somewhere."""
        expressions = [e for some in written for e in some]
        found: list[str] = []
        for e in expressions:
            self.attempt(lambda e=e: found.append(self.tree.check(self.path(e), e.span)))  # type: ignore[misc]
        if len(found) < len(expressions):
            raise Poisoned
        return tuple(found)

    def configured(self, setting: ast.Setting) -> tuple[tuple[str, Any], ...]:
        """`set resolution=8`: the phase's paths lead into the network that this gives."""
        if not setting.assignments:
            raise error("A0911", "`set` takes parameters of the network, as in `set resolution=8`", setting.span)
        found: dict[str, Any] = {}
        places: dict[str, Span] = {}
        for argument in setting.assignments:
            name, span = str(argument.name), argument.span
            if name in found:
                labels = [Label(places[name], "first set here")]
                raise error("A0911", f"`{name}` is set twice", span, labels=labels, help="keep one")
            value = self.value(argument.value)
            found[name], places[name] = tuple(value) if isinstance(value, list) else value, span
        if self.program.variant is not None:
            self.tree = Tree(self.program.variant(found, places))
        return tuple(found.items())

    def fades(self, setting: ast.Setting) -> tuple[tuple[str, float], ...]:
        """`fade alpha=2`."""
        graph = self.program.graph
        known = [graph[n].name for n in self.program.input_nodes() if not graph[n].types[0].rank]
        if not setting.assignments:
            raise error("A0912", "`fade` takes an input and epochs, as in `fade alpha=2`", setting.span)
        found: dict[str, float] = {}
        for argument in setting.assignments:
            name, value = str(argument.name), self.value(argument.value)
            if name in found:
                raise error("A0912", f"`{name}` fades in twice", argument.span, help="keep one")
            if name not in known:
                help = did_you_mean(name, known) or "what fades in is an input without axes: `input alpha: []`"
                raise error(
                    "A0912", f"`{self.program.name}` has no input `{name}` to fade in", argument.span, help=help
                )
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1_000_000:
                raise error("A0912", f"`{name}` fades in over a number of epochs above 0", argument.value.span)
            found[name] = float(value)
        return tuple(found.items())

    def rates(self, setting: ast.Setting) -> tuple[tuple[str, float], ...]:
        if not setting.assignments:
            help = "the rate of everything else is the optimizer's: `optimizer adam(lr=1e-3)`"
            raise error(
                "A1003", f"`lr` gives modules rates of their own, as in `lr {_sample('lr')}`", setting.span, help=help
            )
        found: dict[str, float] = {}
        for assignment in setting.assignments:
            self.attempt(partial(self.rate, assignment, found))
        if len(found) < len(setting.assignments):
            raise Poisoned
        return tuple(found.items())

    def rate(self, assignment: ast.Argument, found: dict[str, float]) -> None:
        path, span = str(assignment.name), assignment.span
        place = Span(span.source, span.start, span.start + len(span.text.partition("=")[0].rstrip()))
        if path in found:
            raise error("A1002", f"`{path}` has two learning rates", place, help="keep one")
        self.tree.check(path, place)
        value = self.value(assignment.value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise error(
                "A1003", f"the learning rate of `{path}` should be a number greater than 0", assignment.value.span
            )
        found[path] = float(value)


def stage_programs(program: Program, stages: Iterable[TrainPlan]) -> list[Program]:
    """The program as each phase has it; the same object where they agree. Raises what is wrong with one."""
    stages, known = list(stages), [program]
    if program.variant is None or not any(stage.set for stage in stages):
        return [program] * len(stages)
    found = []
    for stage in stages:
        made = program.variant(dict(stage.set), {})
        same = next((one for one in known if one.parameters == made.parameters), made)
        known = known if same in known else [*known, same]
        found.append(same)
    return found


def _fits(metric: str, task: Task, span: Span) -> None:
    if metric in task.metrics:
        return
    kinds = {
        TaskKind.MULTICLASS: "this network chooses one of several classes",
        TaskKind.BINARY: "this network decides between yes and no",
        TaskKind.REGRESSION: "this network predicts numbers",
        TaskKind.NONE: "no output of this network has the shape of a target",
    }
    advice = f"there are {listed(task.metrics)}" if task.metrics else "leave `metric` out: the loss is always reported"
    why = "regression" if metric in REGRESSION_METRICS else "classification"
    raise error("A1006", f"`{metric}` is a metric of {why}, and {kinds[task.kind]}", span, help=advice)


_WORDS = {
    "precision": ("fp32", "bf16", "fp16"),
    "normalize": ("standard", "imagenet", "symmetric", "none"),
    "frozen_stats": ("keep", "update"),
    "class_weights": ("balanced", "none"),
    "sampler": ("balanced", "none"),
}


def _words(key: str) -> tuple[str, ...]:
    return _WORDS.get(key, ())


def _help(key: str) -> str:
    return f"{TrainPlan.model_fields[key].description} For example `{key} {_sample(key)}`."


def _sample(key: str) -> str:
    samples = {
        "optimizer": "adam(lr=1e-3)",
        "augment": "shift(2), flip",
        "schedule": "cosine(warmup=1)",
        "validation": "0.1",
        "test": "0.2",
        "metric": "accuracy",
        "early_stop": "patience=5",
        "clip": "1.0",
        "precision": "bf16",
        "shuffle": "true",
        "normalize": "standard",
        "freeze": "all except fc",
        "frozen_stats": "update",
        "lr": "layer4=1e-4, fc=1e-3",
        "class_weights": "balanced",
        "sampler": "balanced",
        "carry": "h, c",
        "init": '"weights.safetensors" except fc',
        "ema": "0.999",
        "set": "resolution=8",
        "fade": "alpha=2",
    }
    return samples.get(key, "1")
