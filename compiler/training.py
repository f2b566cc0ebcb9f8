"""Reads a `train` block into a `TrainPlan`, and says at its place what is wrong with it. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any, get_args

from .analysis.games import check_game as check_weights
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
    LARGEST,
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
from .training_values import Values, Variant, as_set, listed, name_span, reason

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
    found = _Reader(train, program.name, program, program.variant).read()
    assert found is not None, "a network that is right gives a plan, or an error"
    return found


def check_plan(
    train: ast.Train, name: str, program: Program | None, variant: Variant | None, scalars: Collection[str] | None
) -> TrainPlan | None:
    """`plan`, where networks may be wrong themselves and have been reported: the one of the last phase, which is None
    then, and those of others, for which stand the inputs without axes that the file writes. None where a plan rests on
    such a network."""
    return _Reader(train, name, program, variant, scalars).read()


class _Section:
    """The settings of a block or a phase, and where each was said. program: what it trains; None when that is wrong
    itself, and has been reported. unknown: keys of settings that could not be read."""

    def __init__(self, program: Program | None, name: ast.Ident | None = None) -> None:
        self.name = name
        self.program = program
        self.values: dict[str, Any] = {}
        self.places: dict[str, Span] = {}
        self.unknown: set[str] = set()

    @property
    def tree(self) -> Tree | None:
        return Tree(self.program) if self.program is not None else None


class _Reader(Values):
    def __init__(
        self,
        train: ast.Train,
        name: str,
        program: Program | None,
        variant: Variant | None,
        scalars: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.train, self.name, self.program, self.variant, self.scalars = train, name, program, variant, scalars
        self.section = _Section(program)  # what is being read
        self.handlers: dict[str, Callable[[ast.Setting], Any]] = {
            "optimizer": lambda s: self.choice(self.single(s), OPTIMIZERS, "optimizer"),
            "schedule": lambda s: self.choice(self.single(s), SCHEDULES, "schedule"),
            "augment": lambda s: tuple(self.each(self.augmentation, s.values)),
            "early_stop": self.early_stop,
            "metric": self.metrics,
            "init": self.init,
            "freeze": self.freeze,
            "lr": self.rates,
            "carry": self.carried,
            "set": self.configured,
            "fade": self.fades,
        }

    def read(self) -> TrainPlan | None:
        block = self.section
        block.values = {"network": self.name, "data": Iris()}  # replaced, unless the data can't be read
        block.places = {"network": self.train.target.span, "data": self.train.data.span}
        if not self.attempt(lambda: block.values.update(data=self.source(self.train.data))):
            block.unknown.add("data")
        self.read_settings(block, [item for item in self.train.body if isinstance(item, ast.Setting)])
        if self.program is not None:
            plain = self.program.game is None
            defaults = {"metric": find_task(self.program).metrics[:1]} if plain else GAME_DEFAULTS
            block.values = {**defaults, **block.values}
        phases = list(self.phases())
        found = [self.stage(block, phase) for phase in phases or [block]]
        for problem in check_block(found[0], self.program, block.unknown):
            self.sink.add(problem)
        self.sink.raise_if_failed()
        if self.program is None:
            return None
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

    def stage(self, block: _Section, phase: _Section) -> TrainPlan:
        """What a phase (or the block itself) does, checked."""
        stage = self.made(block, phase)
        if phase.program is not None and phase.program is not self.program:
            places = {key: place for key, place in phase.places.items() if key.startswith("set ")}
            for problem in check_weights(phase.program):
                self.sink.add(as_set(problem, places))
        unknown = phase.unknown | {key for key in block.unknown if key not in phase.values}
        known = phase.program or self.program
        for problem in check_stage(stage, phase.program, unknown, game=known is not None and known.game is not None):
            self.sink.add(problem)
        watched = stage.early_stop.metric if stage.early_stop is not None else None
        if watched not in (None, "loss") and self.program is not None and "early_stop" not in unknown:
            task = find_task(self.program)
            self.attempt(partial(_fits, str(watched), task, stage.places["early_stop"]))
        return stage

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
            section = _Section(self.program, node.name)
            if self.variant is not None and not any(item.key.text == "set" for item in node.body):
                self.attempt(partial(self.configure, section, {}, {}))
            self.read_settings(section, sorted(node.body, key=lambda item: item.key.text != "set"))
            if not told and len(nodes) > 1 and not any(item.key.text == "epochs" for item in node.body):
                help = "write `epochs 5` into it, or before the phases for all of them"
                self.sink.extend(error("A1033", f"nothing says how long phase `{name}` is", span, help=help))
            yield section

    def made(self, block: _Section, phase: _Section) -> TrainPlan:
        """The plan of a phase (or of the block itself); with the defaults of what can't be, which is then not known."""
        values, places = {**block.values, **phase.values}, {**block.places, **phase.places}
        name = phase.name.text if phase.name else ""
        try:
            return TrainPlan(**values, places=places, name=name)
        except Invalid as failure:
            for key, fault in {str(fault["loc"][0]): fault for fault in failure.errors()}.items():
                self.sink.extend(error("A1003", f"`{key}` {reason(fault)}", places.get(key), help=_help(key)))
                (phase if key in phase.values else block).unknown.add(key)
                del values[key]
        return TrainPlan(**values, places=places, name=name)

    def read_settings(self, section: _Section, written: Iterable[ast.Setting]) -> None:
        """Reads settings into a section; an error in one does not hide those of the next."""
        self.section = section
        for setting in written:
            if not self.attempt(partial(self.setting, setting, section)):
                section.unknown.add(setting.key.text)

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
            help = f"write `train {self.name}(name=value) on …`, or put it into a phase"
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
            value = self.scalar(setting)
            if value is None:
                return None
            if type(value) is not int or value < 1:
                what = "`early_stop` takes epochs without an improvement that are put up with, 1 or more"
                raise error("A1003", what, self.where(setting), help=_help("early_stop"))
            return EarlyStop(patience=value)
        return self.part("early_stop", EarlyStop, setting.assignments, setting.span)

    def metrics(self, setting: ast.Setting) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.each(self.metric, setting.values)))

    def metric(self, e: ast.Expr) -> str:
        word = self.value(e, words=get_args(Metric))
        if not isinstance(word, str):
            raise error("A1004", f"a metric is one of {listed(get_args(Metric))}", e.span)
        if self.program is not None:
            _fits(word, find_task(self.program), e.span)
        return word

    def init(self, setting: ast.Setting) -> Init:
        given = self.single(setting)
        file = None if isinstance(given, ast.Name) else self.value(given)
        if not isinstance(file, str) or not file:
            raise error("A1003", "`init` takes a checkpoint or a published name in quotes", self.where(setting))
        span = given.span
        published = self.program.pretrained if self.program is not None else {}
        if file.startswith("hub:") or "://" in file:
            help = 'publish it, `pretrained NAME = url("https://…", sha256="…")`, and write `init "NAME"`'
            what = f'a spec starts from a file of its project or from a name that it publishes, not "{file}"'
            raise error("A1101", what, span, help=help)
        if file not in published and file.isidentifier() and (close := did_you_mean(file, published)):
            raise error("A1101", f"`{self.name}` publishes no weights called `{file}`", span, help=close)
        return Init(file=file, excepted=self.module_paths(setting.excepted))

    def carried(self, setting: ast.Setting) -> tuple[str, ...]:
        found: set[str] = set()

        def state(e: ast.Expr) -> str:
            if not isinstance(e, ast.Name):
                raise error("A1003", "`carry` takes names of inputs, as in `carry h, c`", e.span)
            if e.text in found:
                raise error("A1002", f"`{e.text}` is carried twice", e.span, help="keep one")
            found.add(e.text)
            return e.text

        return tuple(self.each(state, setting.values))

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
        return tuple(self.each(lambda e: self.leads(self.path(e), e.span), [e for some in written for e in some]))

    def leads(self, path: str, span: Span) -> str:
        """The path, if it leads somewhere in the network, when that is known. Raises A1008."""
        tree = self.section.tree
        return path if tree is None else tree.check(path, span)

    def named(
        self, setting: ast.Setting, code: str, again: str, read: Callable[[str, ast.Argument], Any]
    ) -> tuple[dict[str, Any], bool]:
        """What `read` makes of each `name=value` that is right, and whether all are. again: what is said of a name that
        stands there twice."""
        places: dict[str, Span] = {}

        def one(argument: ast.Argument) -> tuple[str, Any]:
            name, span = str(argument.name), name_span(argument)
            if name in places:
                labels = [Label(places[name], "first here")]
                raise error(code, f"`{name}` {again}", span, labels=labels, help="keep one")
            places[name] = span
            self.section.places[f"{setting.key.text} {name}"] = argument.span
            return name, read(name, argument)

        found, whole = self.some(one, setting.assignments)
        return dict(found), whole

    def all_named(
        self, setting: ast.Setting, code: str, again: str, read: Callable[[str, ast.Argument], Any]
    ) -> tuple[tuple[str, Any], ...]:
        found, whole = self.named(setting, code, again, read)
        if not whole:
            raise Poisoned
        return tuple(found.items())

    def configured(self, setting: ast.Setting) -> tuple[tuple[str, Any], ...]:
        """`set resolution=8`: the phase's paths lead into the network that this gives."""
        section, self.section.program = self.section, None
        if not setting.assignments:
            raise error("A0911", "`set` takes parameters of the network, as in `set resolution=8`", setting.span)
        found, whole = self.named(setting, "A0911", "is set twice", self.parameter)
        self.configure(section, found, {name: section.places[f"set {name}"] for name in found})
        if not whole:
            section.program = None
            raise Poisoned
        return tuple(found.items())

    def configure(self, section: _Section, changes: dict[str, Any], places: dict[str, Span]) -> None:
        """The program of a section becomes the network with these changes."""
        section.program = None
        made = self.variant(changes, places) if self.variant is not None else None
        same = made is not None and self.program is not None and made.parameters == self.program.parameters
        section.program = self.program if same else made

    def parameter(self, name: str, argument: ast.Argument) -> Any:
        value = self.value(argument.value)
        return tuple(value) if isinstance(value, list) else value

    def fades(self, setting: ast.Setting) -> tuple[tuple[str, float], ...]:
        """`fade alpha=2`."""
        if not setting.assignments:
            raise error("A0912", "`fade` takes an input and epochs, as in `fade alpha=2`", setting.span)
        return self.all_named(setting, "A0912", "fades in twice", self.length)

    def length(self, name: str, argument: ast.Argument) -> float:
        """Epochs over which an input fades in."""
        program, known = self.section.program, self.scalars
        if program is not None:
            nodes = [program.graph[n] for n in program.input_nodes()]
            known = [str(node.name) for node in nodes if not node.types[0].rank]
        if known is not None and name not in known:
            help = did_you_mean(name, known) or "what fades in is an input without axes: `input alpha: []`"
            raise error("A0912", f"`{self.name}` has no input `{name}` to fade in", argument.span, help=help)
        return self.number(argument, 1_000_000, "A0912", f"`{name}` fades in over a number of epochs above 0")

    def number(self, argument: ast.Argument, most: float, code: str, message: str) -> float:
        """A number above 0, up to `most`."""
        value = self.value(argument.value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            raise error(code, message, argument.value.span)
        return float(value)

    def rates(self, setting: ast.Setting) -> tuple[tuple[str, float], ...]:
        if not setting.assignments:
            help = "the rate of everything else is the optimizer's: `optimizer adam(lr=1e-3)`"
            raise error(
                "A1003", f"`lr` gives modules rates of their own, as in `lr {_sample('lr')}`", setting.span, help=help
            )
        return self.all_named(setting, "A1002", "has two learning rates", self.rate)

    def rate(self, path: str, argument: ast.Argument) -> float:
        self.leads(path, name_span(argument))
        message = f"the learning rate of `{path}` should be a number above 0, up to {LARGEST:g}"
        return self.number(argument, LARGEST, "A1003", message)


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
