"""Stages: chains, sequences, loops and skips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .. import ops
from ..diagnostics import Label, error
from ..graph import EdgeKind
from ..sizes import Verdict, compare
from ..source import Span
from ..syntax import ast
from .apply import Applier, Use
from .cells import Run, joined
from .limits import check_count
from .repeats import Place, Turn, repeat_turn
from .values import Module, Outcomes, Ran, States, Tensor, describe, together


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
                return self._scan(stage, value, before, Use(stage.span, place, path))
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
        inner = stage.stage
        if isinstance(inner, ast.Labelled):
            path = place.prefix + self.template(inner.label)
            if place.count is not None:
                place.count += 1
            place, inner = Place(place.prefix), inner.stage
        word = "with" if stage.extra else "from"
        if not isinstance(inner, (ast.Apply, ast.Scan)):
            raise error(
                "A0510",
                f"`{word}` belongs to one layer, block or cell",
                stage.span,
                help="put it after the one that takes the data",
            )
        use = Use(
            inner.span, place, path, self.named_data(stage.extra, "with"), starts=self.named_data(stage.start, "from")
        )
        return (
            self._scan(inner, value, before, use)
            if isinstance(inner, ast.Scan)
            else self.use(inner, value, before, use)
        )

    def named_data(self, given: Sequence[ast.Argument], word: str) -> dict[str, tuple[Tensor, Span]]:
        """What comes `with` a stage, or what it starts `from`, by name."""
        taken: set[str] = set()

        def one(a: ast.Argument) -> tuple[str, tuple[Tensor, Span]]:
            if a.name is None:
                help = f"write `{word} (name={a.value.span.text})`"
                raise error("A0510", f"what comes `{word}` is given by name", a.span, help=help)
            if a.name in taken:
                raise error("A0206", f"`{a.name}` is given twice", a.span)
            taken.add(a.name)
            return a.name, (self.tensor(self.eval(a.value), a.value.span), a.span)

        return dict(together(*(partial(one, a) for a in given)))

    def _scan(self, stage: ast.Scan, value: Any, before: Span, use: Use) -> Any:
        cell = stage.cell
        if not isinstance(cell, ast.Apply):
            raise error("A0534", "`scan` runs one cell along an axis, found a sequence of stages", cell.span)
        if stage.direction != "bidirectional":
            use.run = Run(stage.axis, stage.direction == "reverse")
            return self.use(cell, value, before, use)
        return self._both_ways(stage, cell, value, before, use)

    def _both_ways(self, stage: ast.Scan, cell: ast.Apply, value: Any, before: Span, use: Use) -> Any:
        """A cell forward and another in reverse, their outputs joined along the last axis."""
        if use.starts:
            raise error(
                "A0542",
                "the two directions start from states of their own",
                stage.span,
                help="write a `scan … from` and a `reverse … from`, and join them: `(ahead, back) -> concat(axis=-1)`",
            )
        if isinstance(self.callee(cell.function), Module):
            raise error(
                "A0542",
                "the two directions have weights of their own, and a module has one set",
                stage.span,
                help="name the cell itself, or write a `scan` and a `reverse` of the module",
            )
        path = use.path or use.place.take() or self.labels.automatic(use.place.prefix, "bidirectional")
        self.labels.open(path, stage.span)
        ways = []
        for name, reverse in (("ahead", False), ("back", True)):
            way = Use(use.span, Place(path + "."), f"{path}.{name}", dict(use.extra), run=Run(stage.axis, reverse))
            ways.append(self.use(cell, value, before, way))
        outputs = [list(way) if isinstance(way, Outcomes) else [way] for way in ways]
        joint = [self._side_by_side(pair, stage, use) for pair in zip(*outputs, strict=True)]
        return joined(joint, States({"forward": ways[0].last, "backward": ways[1].last}))

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

    def _side_by_side(self, pair: Sequence[Tensor], stage: ast.Scan, use: Use) -> Tensor:
        """What both directions make of each position, joined along its features."""
        t = pair[0].type
        features = -2 if t.find(stage.axis.text) == t.rank - 1 else -1
        if t.rank < 3:
            raise error(
                "A0542",
                f"each direction makes {t}, which has no features to be joined",
                stage.span,
                help="write a `scan` and a `reverse`, and say what becomes of the two: `ahead + back`",
            )
        return self.apply(ops.require("concat")(axis=features), pair, stage.span, level=use.place.level)[0]

    def bind(self, name: str, value: Any, span: Span) -> None:
        """Binds a loop's variable."""
        raise NotImplementedError

    def template(self, t: ast.Template) -> str:
        """A label's text, holes filled."""
        raise NotImplementedError


def _settled(entered: Any, left: Any) -> bool:
    """Did a turn of a `repeat` leave what it was given? Then every later turn is like it."""
    return (
        isinstance(entered, Tensor) and isinstance(left, Tensor) and entered.type == left.type and type(left) is not Ran
    )
