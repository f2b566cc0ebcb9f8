"""Stages: chains, sequences, loops and skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..diagnostics import Label, error
from ..graph import EdgeKind
from ..sizes import Verdict, compare
from ..source import Span
from ..syntax import ast
from .apply import Applier, Use
from .limits import check_count
from .repeats import Place, Turn, repeat_turn
from .values import Tensor, describe


class StageEvaluator(Applier):
    """Sends values through stages."""

    def pipe(self, e: ast.Pipe) -> Any:
        value = self.eval(e.value)
        return self.chain(e.stages, value, Place(), e.value.span)

    def chain(self, stages: Sequence[ast.Stage], value: Any, place: Place, span: Span) -> Any:
        for stage in stages:
            value = self.stage(stage, value, place, span)
            span = stage.span
        return value

    def stage(self, stage: ast.Stage, value: Any, place: Place, before: Span, path: str | None = None) -> Any:
        """One stage. `before` is the span of what enters it; `path` its label, when it has one."""
        self.budget.spend(1, stage.span)
        match stage:
            case ast.Apply():
                return self.use(stage, value, before, Use(stage.span, place, path))
            case ast.Labelled():
                return self._labelled(stage, value, place, before)
            case ast.Sequence():
                return self._sequence(stage, value, place, before, path)
            case ast.RepeatStage():
                return self._repeat(stage, value, place, before)
            case ast.ForStage():
                for item in self.iterate(stage.iterable):
                    for target, v in zip(
                        stage.targets, self.take_apart(item, len(stage.targets), stage.span), strict=True
                    ):
                        self.bind(target.text, v, target.span)
                    value = self.chain(stage.stages, value, place, before)
                return value
            case ast.IfStage():
                return self.chain(stage.yes if self.truth(stage.condition) else stage.no, value, place, before)
            case ast.Skip():
                return self._skip(stage, value, place, before)
            case ast.Supplied():
                return self._supplied(stage, value, place, before, path)
            case ast.Scan():
                raise error(
                    "A0902", "`scan` is not supported yet", stage.span, help="recurrent cells come in a later version"
                )
        raise AssertionError(stage)

    def _labelled(self, stage: ast.Labelled, value: Any, place: Place, before: Span) -> Any:
        name = self.template(stage.label)
        path = place.prefix + name
        if place.count is not None:
            place.count += 1
        return self.stage(stage.stage, value, Place(place.prefix), before, path)

    def _sequence(self, stage: ast.Sequence, value: Any, place: Place, before: Span, path: str | None) -> Any:
        path = path if path is not None else place.take()
        if path is None:
            return self.chain(stage.stages, value, place, before)
        self.labels.open(path, stage.span)
        return self.chain(stage.stages, value, Place(path + ".", 0), before)

    def _repeat(self, stage: ast.RepeatStage, value: Any, place: Place, before: Span) -> Any:
        count = self.eval(stage.count)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise error(
                "A0416", f"`repeat` needs a whole number of at least 0, found {describe(count)}", stage.count.span
            )
        check_count(count, "`repeat` would take this many turns:", stage.count.span)
        for turn in range(count):
            start, first, entered = self.graph.nx.number_of_nodes(), place.count, value
            value = self.chain(stage.stages, value, place, before)
            if turn and turn + 1 < count and first is not None and _settled(entered, value):
                return repeat_turn(self, Turn(start, first, entered, value), place, count - turn - 1)
        return value

    def _supplied(self, stage: ast.Supplied, value: Any, place: Place, before: Span, path: str | None) -> Any:
        if stage.start:
            raise error("A0902", "`from` gives a cell its initial state, and cells are not supported yet", stage.span)
        inner = stage.stage
        if isinstance(inner, ast.Labelled):
            path = place.prefix + self.template(inner.label)
            if place.count is not None:
                place.count += 1
            place, inner = Place(place.prefix), inner.stage
        if not isinstance(inner, ast.Apply):
            raise error(
                "A0510",
                "`with` belongs to one layer or block",
                stage.span,
                help="put it after the one that takes the data",
            )
        extra: dict[str, tuple[Tensor, Span]] = {}
        for a in stage.extra:
            if a.name is None:
                raise error(
                    "A0510",
                    "what comes `with` is given by name",
                    a.span,
                    help=f"write `with (name={a.value.span.text})`",
                )
            if a.name in extra:
                raise error("A0206", f"`{a.name}` is given twice", a.span)
            extra[a.name] = (self.tensor(self.eval(a.value), a.value.span), a.span)
        return self.use(inner, value, before, Use(inner.span, place, path, extra))

    def _skip(self, stage: ast.Skip, value: Any, place: Place, before: Span) -> Any:
        x = self.tensor(
            value if stage.other is None else self.eval(stage.other),
            before if stage.other is None else stage.other.span,
        )
        y = self.chain(stage.stages, value, place, before)
        made = self.tensor(y, stage.span)
        kinds = (EdgeKind.SKIP, EdgeKind.DATA)
        if stage.by == "concat":
            axis = "C" if "C" in x.type.names and "C" in made.type.names else -1
            return self.apply(ops.require("concat")(axis=axis), (x, made), stage.span, level=place.level, kinds=kinds)[
                0
            ]
        clash = x.type.rank != made.type.rank or any(
            compare(a, b) is Verdict.REFUTED for a, b in zip(x.type.shape, made.type.shape, strict=False)
        )
        if clash:
            raise error(
                "A0305",
                f"a skip merges tensors of one shape, but {x.type} goes around and {made.type} comes out",
                stage.span,
                labels=[Label(x.span, f"this is {x.type}"), Label(made.span, f"this is {made.type}")],
                help="bring the two to one shape: `skip from shortcut { … }` adds another tensor instead",
            )
        merge = ops.require("mul" if stage.by == "mul" else "add")
        return self.apply(merge(), (x, made), stage.span, level=place.level, kinds=kinds)[0]

    def bind(self, name: str, value: Any, span: Span) -> None:
        """Binds a loop's variable."""
        raise NotImplementedError

    def template(self, t: ast.Template) -> str:
        """A label's text, holes filled."""
        raise NotImplementedError


def _settled(entered: Any, left: Any) -> bool:
    """Did a turn of a `repeat` leave what it was given? Then every later turn is like it."""
    return isinstance(entered, Tensor) and isinstance(left, Tensor) and entered.type == left.type
