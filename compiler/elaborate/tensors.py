"""Expressions over tensors: arithmetic, attributes, indices, and the application of an op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..diagnostics import Label, did_you_mean, error
from ..graph import EdgeKind, Graph, Kind, Node, Ref
from ..ops.base import Check, Op, Refusal
from ..sizes import Dim, SizeLimit, Verdict, compare
from ..source import Span
from ..syntax import ast
from ..types import TensorType
from . import limits
from .modules import Below
from .session import Session
from .static import Evaluator
from .values import Module, Ran, Recipe, States, Tensor, Weight, describe

_BINARY = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
    "and": "logical_and",
    "or": "logical_or",
}
_UNARY = {"-": "neg", "not": "logical_not"}


class TensorEvaluator(Evaluator):
    """Evaluates expressions into a graph under construction."""

    def __init__(self, session: Session, graph: Graph) -> None:
        super().__init__(session.budget)
        self.session = session
        self.graph = graph
        self._weight_nodes: dict[str, Tensor] = {}
        self._checks: set[tuple[Check, Span]] = set()

    # -- nodes

    def add(self, node: Node, operands: Sequence[Ref] = (), kinds: Sequence[EdgeKind] = ()) -> int:
        number = self.graph.add(node, operands, kinds)
        if number >= limits.NODES:
            raise error("A0801", f"`{self.graph.name}` has more than {limits.NODES:,} nodes", node.span)
        return number

    def check(self, check: Check, span: Span) -> None:
        """Leaves a question about sizes to the run."""
        if (check, span) not in self._checks:
            self._checks.add((check, span))
            self.graph.checks.append((check, span))

    def agree(self, one: int | Dim, other: int | Dim, message: str, span: Span) -> bool:
        """Can two sizes be the same? What is open is left to the run, with this message."""
        verdict = compare(one, other)
        if verdict is Verdict.OPEN:
            self.check(Check("equal", one, other, message), span)
        return verdict is not Verdict.REFUTED

    def tensor(self, value: Any, span: Span) -> Tensor:
        """A value as a tensor of this graph: numbers become scalars, weights become nodes."""
        if isinstance(value, Tensor):
            if value.home != id(self.graph):
                raise error(
                    "A0509",
                    "this tensor belongs to another program",
                    span,
                    labels=[Label(value.span, "it is made here")],
                    help="an entry sees modules, params and static values; give it an `input` of its own",
                )
            return value
        if isinstance(value, Weight):
            return self._weight(value, span)
        if isinstance(value, (bool, int, float, Dim)):
            return self.apply(ops.require("scalar")(value=value), (), span)[0]
        if isinstance(value, States):
            help = f"name one of them, as in `last.{value.first}`"
            raise error("A0404", f"{describe(value)} are no tensor", span, help=help)
        if isinstance(value, (Recipe, Module)):
            raise error(
                "A0404", f"{describe(value)} is no tensor", span, help="a layer stands after an arrow: `x -> …`"
            )
        raise error("A0404", f"a tensor is needed here, found {describe(value)}", span)

    def _weight(self, value: Weight, span: Span) -> Tensor:
        if value.path not in self._weight_nodes:
            node = Node(
                Kind.WEIGHT, (value.type,), name=value.path.rpartition(".")[2], weight=value.path, span=value.span
            )
            self._weight_nodes[value.path] = Tensor(Ref(self.add(node)), value.type, value.span, id(self.graph))
        return self._weight_nodes[value.path]

    def apply(
        self,
        op: Op,
        operands: Sequence[Tensor],
        span: Span,
        *,
        level: str = "",
        kinds: Sequence[EdgeKind] = (),
    ) -> tuple[Tensor, ...]:
        """Adds the node of an op that owns nothing; returns its results. Shape rules are asked here."""
        types = self.infer(op, tuple([t.type for t in operands]), operands, span, {})
        return self.place(Node(Kind.OP, types, op=op, level=level, span=span), [t.ref for t in operands], span, kinds)

    def place(self, node: Node, refs: Sequence[Ref], span: Span, kinds: Sequence[EdgeKind] = ()) -> tuple[Tensor, ...]:
        """Adds a node; returns its results."""
        number = self.add(node, refs, kinds)
        return tuple([Tensor(Ref(number, i), t, span, id(self.graph)) for i, t in enumerate(node.types)])

    def infer(
        self, op: Op, types: tuple[TensorType, ...], operands: Sequence[Tensor], span: Span, spans: dict[Any, Span]
    ) -> tuple[TensorType, ...]:
        """Types of an op's results; a refusal becomes a diagnostic that shows where each operand came from."""
        try:
            results, checks = self.session.infer(op, types)
        except Refusal as refusal:
            raise self._refused(op, refusal, operands, span, spans) from None
        except SizeLimit as failure:
            raise error("A0803", f"this can't be computed: {failure}", span) from None
        for check in checks:
            self.check(check, span)
        return results

    @staticmethod
    def _refused(op: Op, refusal: Refusal, operands: Sequence[Tensor], span: Span, spans: dict[Any, Span]):
        fields = list(op.fields())
        place = span
        if refusal.setting is not None:
            position = fields.index(refusal.setting) if refusal.setting in fields else None
            place = spans.get(refusal.setting) or spans.get(position) or span
            if refusal.within is not None and place.text[1:-1] == getattr(op, refusal.setting):  # a string, no escapes
                begin, end = refusal.within
                place = Span(place.source, place.start + 1 + begin, place.start + 1 + end)
        labels = []
        blamed = [i for i in (refusal.operand, *refusal.others) if i is not None]
        for i in dict.fromkeys(blamed):
            if i < len(operands) and operands[i].span != place:
                labels.append(Label(operands[i].span, f"this is {operands[i].type}"))
        return error(refusal.code, refusal.message, place, labels=labels, help=refusal.help)

    # -- expressions

    def tensor_binary(self, op: str, left: Any, right: Any, e: ast.Binary) -> Any:
        a, b = self.tensor(left, e.left.span), self.tensor(right, e.right.span)
        return self.apply(ops.require(_BINARY[op])(), (a, b), e.span)[0]

    def tensor_unary(self, op: str, value: Any, e: ast.Unary) -> Any:
        x = self.tensor(value, e.operand.span)
        if op == "+":
            return x
        return self.apply(ops.require(_UNARY[op])(), (x,), e.span)[0]

    def tensor_attribute(self, value: Any, e: ast.Attribute) -> Any:
        if isinstance(value, (Tensor, Weight)):
            position = value.type.find(e.name)
            if position is None:
                named = ", ".join(f"`{n}`" for n in value.type.names if n) or "none of its axes has a name"
                help = f"its named axes: {named}"
                if isinstance(value, Ran):
                    help = f"{help}; the states come as one name more: `y, last = …`"
                raise error("A0302", f"{value.type} has no axis `{e.name}`", e.span, help=help)
            return value.type.shape[position]
        if isinstance(value, States):
            if e.name not in value:
                help = did_you_mean(e.name, value) or f"what there is: {', '.join(f'`{name}`' for name in value)}"
                raise error("A0537", f"there is no state `{e.name}`", e.span, help=help)
            return value[e.name]
        if isinstance(value, Module):
            return self.module_attribute(value, e)
        if isinstance(value, Below):
            return value.get(e)
        raise error("A0405", f"{describe(value)} has no `.{e.name}`", e.span)

    def module_attribute(self, module: Module, e: ast.Attribute) -> Any:
        raise NotImplementedError

    def tensor_index(self, value: Any, e: ast.Index) -> Any:
        x = self.tensor(value, e.value.span)
        items = []
        seen: dict[int, Span] = {}
        for a in e.arguments:
            if a.name is None:
                named = next((n for n in x.type.names if n and n != "B"), None)
                raise error(
                    "A0304",
                    "a tensor is indexed by axis",
                    a.span,
                    labels=[Label(x.span, f"this is {x.type}")],
                    help=f"write `[{named or 'T'}={a.span.text}]`"
                    + ("" if named else "; name its axes first: `y: [B, T, D] = …`"),
                )
            axis = x.type.find(a.name)
            if axis is None:
                named = ", ".join(f"`{n}`" for n in x.type.names if n) or "none of its axes has a name"
                raise error("A0302", f"{x.type} has no axis `{a.name}`", a.span, help=f"its named axes: {named}")
            if axis in seen:
                raise error(
                    "A0206", f"axis `{a.name}` is indexed twice", a.span, labels=[Label(seen[axis], "first here")]
                )
            seen[axis] = a.span
            items.append((axis, *self._bounds(a.value)))
        return self.apply(ops.require("index")(items=tuple(items)), (x,), e.span)[0]

    def _bounds(self, e: ast.Expr) -> tuple[int | Dim | None, int | Dim | None, bool]:
        if isinstance(e, ast.Range):
            low = None if e.low is None else self._at(e.low)
            high = None if e.high is None else self._at(e.high)
            return low, high, False
        return self._at(e), None, True

    def _at(self, e: ast.Expr) -> int | Dim:
        value = self.eval(e)
        if isinstance(value, (int, Dim)) and not isinstance(value, bool):
            return value
        raise error("A0413", f"a position is a whole number, found {describe(value)}", e.span)
