"""Reads a `train` block into a `TrainPlan`, and says at its place what is wrong with it. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, get_args

from .data_sources import SOURCES, Iris
from .declared import Declared, Invalid
from .diagnostics import ArchError, Label, Sink, did_you_mean, error
from .elaborate.static import Evaluator
from .elaborate.values import Poisoned
from .graph import Program
from .source import Span
from .syntax import ast
from .task import REGRESSION_METRICS, Task, TaskKind, find_task
from .training_plan import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    EarlyStop,
    Flip,
    Init,
    Linear,
    Metric,
    OneCycle,
    Plateau,
    RMSprop,
    Shift,
    Step,
    TrainPlan,
)

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
AUGMENTATIONS: dict[str, type[Declared]] = {"shift": Shift, "flip": Flip}
_LATER = {
    "set": ("A0911", "a phase that changes the configuration with `set`"),
    "fade": ("A0912", "`fade`"),
    "freeze": ("A0913", "`freeze`"),
}


def settings() -> tuple[str, ...]:
    """Every key that a `train` block may hold."""
    return tuple(k for k in TrainPlan.model_fields if k not in ("network", "data", "places"))


def plan(train: ast.Train, program: Program) -> TrainPlan:
    """The plan of a `train` block for the network that it names. Raises ArchError with everything that is wrong."""
    return _Reader(train, program).read()


class _Reader:
    def __init__(self, train: ast.Train, program: Program) -> None:
        self.train, self.program = train, program
        self.sink = Sink()
        self.values: dict[str, Any] = {"network": program.name}
        self.places: dict[str, Span] = {"network": train.target.span, "data": train.data.span}
        self.handlers: dict[str, Callable[[ast.Setting], Any]] = {
            "optimizer": lambda s: self.choice(self.single(s), OPTIMIZERS, "optimizer"),
            "schedule": lambda s: self.choice(self.single(s), SCHEDULES, "schedule"),
            "augment": lambda s: tuple(self.choice(e, AUGMENTATIONS, "augmentation") for e in s.values),
            "early_stop": self.early_stop,
            "metric": self.metrics,
            "init": self.init,
        }

    def read(self) -> TrainPlan:
        self.attempt(self.data)
        for setting in self.flat():
            self.attempt(partial(self.setting, setting))
        self.values.setdefault("metric", find_task(self.program).metrics[:1])
        self.values.setdefault("data", Iris())  # only so that what else is wrong can be found too
        try:
            found = TrainPlan(**self.values, places=self.places)
        except Invalid as failure:
            for fault in failure.errors():
                key = str(fault["loc"][0])
                self.sink.extend(error("A1003", f"`{key}` {_reason(fault)}", self.places.get(key), help=_help(key)))
            raise ArchError(*self.sink.found) from None
        self.attempt(lambda: self.consistent(found))
        self.sink.raise_if_failed()
        return found

    def attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ArchError as failure:
            self.sink.extend(failure)
        except Poisoned:
            return  # rests on an error that was reported where it arose

    def data(self) -> None:
        self.values["data"] = self.choice(self.train.data, SOURCES, "data source")

    def flat(self) -> Iterable[ast.Setting]:
        """The settings, those of a single phase included: one phase says no more than the block itself would."""
        phases = [item for item in self.train.body if isinstance(item, ast.Phase)]
        if len(phases) > 1:
            self.attempt(lambda: _refuse("A0910", "training in several phases", phases[1].name.span))
        for item in self.train.body:
            if isinstance(item, ast.Setting):
                yield item
            elif item is phases[0]:
                yield from item.body

    def setting(self, setting: ast.Setting) -> None:
        key, span = setting.key.text, setting.key.span
        if key in _LATER:
            _refuse(_LATER[key][0], _LATER[key][1], span)
        if key not in settings():
            raise error(
                "A1001",
                f"`{key}` is not a setting of training",
                span,
                help=did_you_mean(key, settings()) or f"there are {', '.join(sorted(settings()))}",
            )
        if key in self.places:
            raise error(
                "A1002",
                f"`{key}` is set twice",
                span,
                labels=[Label(self.places[key], "first set here")],
                help="keep one",
            )
        self.places[key] = self.where(setting)
        if setting.excepted and key != "init":
            raise error("A1003", f"`{key}` takes no `except`", setting.excepted[0].span)
        if setting.assignments and key != "early_stop":
            raise error("A1003", f"`{key}` takes a value, as in `{key} {_sample(key)}`, not `name=value`", setting.span)
        handler = self.handlers.get(key)
        self.values[key] = handler(setting) if handler else self.scalar(setting)

    # -- values

    def single(self, setting: ast.Setting) -> ast.Expr:
        if len(setting.values) != 1:
            raise error("A1003", f"`{setting.key.text}` takes one value", setting.span)
        return setting.values[0]

    def where(self, setting: ast.Setting) -> Span:
        return setting.values[0].span if setting.values else setting.span

    def scalar(self, setting: ast.Setting) -> Any:
        return self.value(self.single(setting), words=_words(setting.key.text))

    def value(self, e: ast.Expr, words: tuple[str, ...] = ()) -> Any:
        """A static value; where words are possible, a bare name is one of them."""
        if words and isinstance(e, ast.NoneLit):
            return "none"
        if words and isinstance(e, ast.Name):
            if e.text not in words:
                raise error(
                    "A1004",
                    f"`{e.text}` is not one of {_listed(words)}",
                    e.span,
                    help=did_you_mean(e.text, words),
                )
            return e.text
        return _plain(Evaluator().eval(e))

    def choice(self, e: ast.Expr, models: Mapping[str, type[Declared]], what: str) -> Declared:
        """`name` or `name(settings)` where the name is one of several."""
        head, arguments = (e.function, e.arguments) if isinstance(e, ast.Call) else (e, ())
        if not isinstance(head, ast.Name):
            raise error(
                "A1004",
                f"expected {_a(what)}, such as `{next(iter(models))}`",
                e.span,
                help=f"one of {_listed(models)}",
            )
        if head.text not in models:
            raise error(
                "A1004",
                f"`{head.text}` is not {_a(what)}",
                head.span,
                help=did_you_mean(head.text, models) or f"there are {_listed(models)}",
            )
        return self.part(head.text, models[head.text], arguments, e.span)

    def part(self, name: str, model: type[Declared], arguments: Iterable[ast.Argument], span: Span) -> Declared:
        """Settings in parentheses (or after `early_stop`), positional or by name."""
        known = [field for field in model.model_fields if field != "kind"]
        given: dict[str, Any] = {}
        places: dict[str, Span] = {}
        for position, argument in enumerate(arguments):
            if argument.name is None and position >= len(known):
                raise error("A1005", f"`{name}` takes {_count(len(known))}", argument.span, help=_takes(name, known))
            key = argument.name or known[position]
            if key not in known:
                raise error(
                    "A1005",
                    f"`{name}` has no setting `{key}`",
                    argument.span,
                    help=did_you_mean(key, known) or _takes(name, known),
                )
            if key in given:
                raise error(
                    "A1005", f"`{key}` is given twice", argument.span, labels=[Label(places[key], "first here")]
                )
            places[key] = argument.value.span
            given[key] = self.value(argument.value, words=(*get_args(Metric), "loss") if key == "metric" else ())
        return self.build(model, given, places, span, name)

    def build(
        self, model: type[Declared], given: dict[str, Any], places: dict[str, Span], span: Span, name: str
    ) -> Any:
        try:
            return model(**given)
        except Invalid as failure:
            for fault in failure.errors():
                key = str(fault["loc"][0]) if fault["loc"] else ""
                if fault["type"] == "missing" and len(fault["loc"]) == 1:
                    self.sink.extend(error("A1005", f"`{name}` needs `{key}`", span, help=f"write `{name}({key}=…)`"))
                else:
                    self.sink.extend(error("A1005", f"`{key}` {_reason(fault)}", places.get(key, span)))
            raise Poisoned from None

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
                raise error("A1004", f"a metric is one of {_listed(get_args(Metric))}", e.span)
            _fits(word, task, e.span)
            chosen.append(word)
        return tuple(dict.fromkeys(chosen))

    def init(self, setting: ast.Setting) -> Init:
        file = self.value(self.single(setting))
        if not isinstance(file, str) or not file:
            raise error("A1003", "`init` takes a checkpoint or a published name in quotes", self.where(setting))
        return Init(file=file, excepted=tuple(self.path(e) for e in setting.excepted))

    def path(self, e: ast.Expr) -> str:
        """A module's dotted path as written: `fc`, `layer4.0`, a quoted name, a string."""
        if isinstance(e, ast.Attribute):
            return f"{self.path(e.value)}.{e.name}"
        if isinstance(e, ast.Name):
            return e.text
        if isinstance(e, ast.String):
            return e.value
        raise error("A1003", "expected the name of a module, such as `fc` or `layer4.0`", e.span)

    def consistent(self, found: TrainPlan) -> None:
        """Settings that only make sense together."""
        held = found.validation + found.test
        if held >= 1:
            raise error(
                "A1007",
                f"validation and test together take {held:g} of the examples: nothing is left to learn from",
                found.place("test") or found.place("validation"),
            )
        watching = [key for key, on in _watching(found) if on]
        if found.validation == 0 and watching:
            raise error(
                "A1007",
                f"`{watching[0]}` watches the validation part, and there is none",
                self.places[watching[0]],
                labels=[Label(self.places["validation"], "set to nothing here")],
            )
        if found.early_stop is not None and found.early_stop.metric not in (None, "loss"):
            _fits(str(found.early_stop.metric), find_task(self.program), self.places["early_stop"])


def _watching(found: TrainPlan) -> tuple[tuple[str, bool], ...]:
    return ("early_stop", found.early_stop is not None), ("schedule", isinstance(found.schedule, Plateau))


def _refuse(code: str, what: str, span: Span) -> None:
    raise error(
        code,
        f"{what} is not supported yet",
        span,
        help="for now a `train` block trains everything in one go, as it starts",
    )


def _fits(metric: str, task: Task, span: Span) -> None:
    if metric in task.metrics:
        return
    kinds = {
        TaskKind.MULTICLASS: "this network chooses one of several classes",
        TaskKind.BINARY: "this network decides between yes and no",
        TaskKind.REGRESSION: "this network predicts numbers",
        TaskKind.NONE: "no output of this network has the shape of a target",
    }
    advice = f"there are {_listed(task.metrics)}" if task.metrics else "leave `metric` out: the loss is always reported"
    why = "regression" if metric in REGRESSION_METRICS else "classification"
    raise error("A1006", f"`{metric}` is a metric of {why}, and {kinds[task.kind]}", span, help=advice)


def _words(key: str) -> tuple[str, ...]:
    return {"precision": ("fp32", "bf16", "fp16"), "normalize": ("standard", "imagenet", "none")}.get(key, ())


def _plain(value: Any) -> Any:
    """Ranges and nested tuples as what pydantic knows; everything else as it is."""
    if isinstance(value, (tuple, list, range)):
        return [_plain(v) for v in value]
    return value


def _reason(fault: Any) -> str:
    """pydantic's reason as the end of a sentence that starts with the setting's name."""
    found = fault.get("input")
    shown = repr(found) if isinstance(found, (int, float, str, bool, list, tuple)) else type(found).__name__
    reason = str(fault["msg"]).removeprefix("Input ").removeprefix("should ").removeprefix("Value error, ")
    return f"should {reason}, found {shown[:80]}"


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
        "init": '"weights.safetensors" except fc',
    }
    return samples.get(key, "1")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _takes(name: str, known: list[str]) -> str:
    return f"`{name}` takes {_listed(known)}" if known else f"`{name}` takes no settings"


def _count(n: int) -> str:
    return f"{n} setting{'s' if n != 1 else ''}" if n else "no settings"


def _a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
