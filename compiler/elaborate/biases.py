"""`bias` statements: a claim, what it is said of, and over which axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..claims import CLAIMS, Claim
from ..diagnostics import did_you_mean, error
from ..graph import Claimed, Graph, Kind, Ref
from ..syntax import ast
from .settings import read_call
from .values import Tensor, describe

if TYPE_CHECKING:
    from .statements import Body


def read_claim(s: ast.BiasStmt, body: Body) -> Claimed:
    """The claim that a statement makes of a body, at this point of it. Raises A1303, A1304, and what is wrong with its
    settings."""
    kind = CLAIMS.get(s.claim.text)
    if kind is None:
        listing = ", ".join(f"`{name}`" for name in CLAIMS)
        help = did_you_mean(s.claim.text, CLAIMS) or f"the claims: {listing}"
        raise error("A1303", f"there is no claim `{s.claim.text}`", s.claim.span, help=help)
    form: ast.Expr = ast.Name(s.claim.text, span=s.claim.span)
    if s.called:
        form = ast.Call(form, s.arguments, span=s.span)
    claim, _ = read_call(kind, form, body)
    value, ref = _value(s, claim, body)
    return Claimed(claim, value, ref, _axes(s, claim, body.graph), s.assumed, s.span)


def _value(s: ast.BiasStmt, claim: Claim, body: Body) -> tuple[str | None, Ref | None]:
    graph = body.graph
    if claim.about == "program":
        if s.value is not None:
            raise error("A1304", f"`{claim.name}` is said of a whole program, not of a value", s.value.span)
        return None, None
    if s.value is None:
        if claim.about == "either":
            return None, None
        if len(graph.outputs) != 1:
            help = "name a value: `bias … on features`"
            raise error(
                "A1304", f"`{claim.name}` of what? `{graph.name}` has no single output so far", s.span, help=help
            )
        output = graph.outputs[0]
        return graph[output].name, graph.operands(output)[0]
    if not isinstance(s.value, ast.Name):
        help = "give what you mean a name, as in `features = …`, and claim it of the name"
        raise error("A1304", "a claim is made of one named value", s.value.span, help=help)
    value = body.eval(s.value)
    if not isinstance(value, Tensor):
        raise error("A1304", f"a claim is made of a tensor, found {describe(value)}", s.value.span)
    return s.value.text + "'" * s.value.primed, value.ref


def _axes(s: ast.BiasStmt, claim: Claim, graph: Graph) -> tuple[str, ...]:
    if not s.axes:
        return ()
    if claim.about != "axes":
        raise error("A1304", f"`{claim.name}` is not said of axes", s.axes[0].span, help="leave `over …` out")
    inputs = [graph[n].types[0] for n in graph.inputs if graph[n].kind is Kind.INPUT]
    known = sorted({name for t in inputs for name in t.names if name})
    for axis in s.axes:
        if axis.text not in known:
            listing = ", ".join(f"`{name}`" for name in known) or "none"
            help = did_you_mean(axis.text, known) or f"their named axes: {listing}"
            what = f"no input of `{graph.name}` has an axis `{axis.text}`"
            raise error("A1304", what, axis.span, help=help)
        if [a.text for a in s.axes].count(axis.text) > 1:
            raise error("A1304", f"axis `{axis.text}` is named twice", axis.span)
    return tuple(axis.text for axis in s.axes)
