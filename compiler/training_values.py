"""Reads the values of a `train` block's settings: static values, names with settings in parentheses, paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, get_args

from .declared import Declared, Invalid
from .diagnostics import ArchError, Diagnostic, Label, Sink, did_you_mean, error
from .elaborate.static import Evaluator
from .elaborate.values import Poisoned
from .graph import Program
from .source import Span
from .syntax import ast
from .training_plan import Metric

X = TypeVar("X")
Y = TypeVar("Y")
Variant = Callable[[Mapping[str, Any], Mapping[str, Span]], Program]
"""Makes the network with what a phase sets, at these places."""


class Values:
    """Turns expressions into values. What is wrong is raised, or collected by `attempt`."""

    def __init__(self) -> None:
        self.sink = Sink()

    def attempt(self, work: Callable[[], object]) -> bool:
        """Did it work? If not, what is wrong has been said."""
        try:
            work()
        except ArchError as failure:
            self.sink.extend(failure)
            return False
        except Poisoned:
            return False  # rests on an error that was reported where it arose
        return True

    def each(self, work: Callable[[X], Y], items: Iterable[X]) -> list[Y]:
        """What it makes of each item; an error in one does not hide those of the next. Raises Poisoned after one."""
        found, whole = self.some(work, items)
        if not whole:
            raise Poisoned
        return found

    def some(self, work: Callable[[X], Y], items: Iterable[X]) -> tuple[list[Y], bool]:
        """What it makes of the items that are right, and whether all of them are."""
        found: list[Y] = []
        worked = [self.attempt(lambda item=item: found.append(work(item))) for item in items]  # type: ignore[misc]
        return found, all(worked)

    def single(self, setting: ast.Setting) -> ast.Expr:
        if len(setting.values) != 1:
            listed = setting.key.text == "class_weights" and len(setting.values) > 1
            help = "a list goes in brackets: `class_weights [1, 2, 5]`" if listed else None
            raise error("A1003", f"`{setting.key.text}` takes one value", setting.span, help=help)
        return setting.values[0]

    def where(self, setting: ast.Setting) -> Span:
        return setting.values[0].span if setting.values else setting.span

    def value(self, e: ast.Expr, words: tuple[str, ...] = ()) -> Any:
        """A static value; where words are possible, a bare name is one of them."""
        if words and isinstance(e, ast.NoneLit):
            return "none"
        if words and isinstance(e, ast.Name):
            if e.text not in words:
                raise error(
                    "A1004",
                    f"`{e.text}` is not one of {listed(words)}",
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
                f"expected {a(what)}, such as `{next(iter(models))}`",
                e.span,
                help=f"one of {listed(models)}",
            )
        if head.text not in models:
            raise error(
                "A1004",
                f"`{head.text}` is not {a(what)}",
                head.span,
                help=did_you_mean(head.text, models) or f"there are {listed(models)}",
            )
        return self.part(head.text, models[head.text], arguments, e.span)

    def part(self, name: str, model: type[Declared], arguments: Iterable[ast.Argument], span: Span) -> Declared:
        """Settings in parentheses (or after `early_stop`), positional or by name."""
        known = [field for field in model.model_fields if field != "kind"]
        places: dict[str, Span] = {}

        def one(numbered: tuple[int, ast.Argument]) -> tuple[str, Any]:
            position, argument = numbered
            if argument.name is None and position >= len(known):
                raise error("A1005", f"`{name}` takes {count(len(known))}", argument.span, help=takes(name, known))
            key = argument.name or known[position]
            if key not in known:
                help = did_you_mean(key, known) or takes(name, known)
                raise error("A1005", f"`{name}` has no setting `{key}`", argument.span, help=help)
            if key in places:
                labels = [Label(places[key], "first here")]
                raise error("A1005", f"`{key}` is given twice", argument.span, labels=labels)
            places[key] = argument.value.span
            return key, self.value(argument.value, words=(*get_args(Metric), "loss") if key == "metric" else ())

        given, whole = self.some(one, enumerate(arguments))
        return self.build(model, dict(given), places, span, name, whole)

    def build(
        self, model: type[Declared], given: dict[str, Any], places: dict[str, Span], span: Span, name: str, whole: bool
    ) -> Any:
        """whole: whether all that was written could be read; if not, nothing is known to be missing."""
        try:
            made = model(**given)
        except Invalid as failure:
            for fault in failure.errors():
                key = str(fault["loc"][0]) if fault["loc"] else ""
                if fault["type"] != "missing" or len(fault["loc"]) != 1:
                    self.sink.extend(error("A1005", f"`{key}` {reason(fault)}", places.get(key, span)))
                elif whole:
                    self.sink.extend(error("A1005", f"`{name}` needs `{key}`", span, help=f"write `{name}({key}=…)`"))
            raise Poisoned from None
        if not whole:
            raise Poisoned
        return made

    def path(self, e: ast.Expr) -> str:
        """A module's dotted path as written: `fc`, `layer4.0`, a quoted name, a string."""
        if isinstance(e, ast.Attribute):
            return f"{self.path(e.value)}.{e.name}"
        if isinstance(e, ast.Name):
            return e.text
        if isinstance(e, ast.String):
            return e.value
        raise error("A1003", "expected the name of a module, such as `fc` or `layer4.0`", e.span)


def _plain(value: Any) -> Any:
    """Ranges and nested tuples as what pydantic knows; everything else as it is."""
    if isinstance(value, (tuple, list, range)):
        return [_plain(v) for v in value]
    return value


def name_span(argument: ast.Argument) -> Span:
    """Where the name of `name=value` stands."""
    span = argument.span
    return Span(span.source, span.start, span.start + len(span.text.partition("=")[0].rstrip()))


def as_set(problem: Diagnostic, places: Mapping[str, Span]) -> Diagnostic:
    """What is wrong with a network, with the places where a phase set its parameters."""
    if problem.span in places.values():
        return problem
    labels = [Label(span, "with what is set here") for span in places.values()]
    return replace(problem, labels=(*problem.labels, *labels))


def reason(fault: Any) -> str:
    """pydantic's reason as the end of a sentence that starts with the setting's name."""
    found = fault.get("input")
    shown = repr(found) if isinstance(found, (int, float, str, bool, list, tuple)) else type(found).__name__
    reason = re.sub(r"^(Value error, |((Input|String|List) )?should )", "", str(fault["msg"]))
    reason = re.sub(r"\b10{15,}\b", lambda zeros: f"{float(zeros[0]):g}", reason)
    return f"should {reason}, found {shown[:80]}"


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def takes(name: str, known: list[str]) -> str:
    return f"`{name}` takes {listed(known)}" if known else f"`{name}` takes no settings"


def count(n: int) -> str:
    return f"{n} setting{'s' if n != 1 else ''}" if n else "no settings"


def a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
