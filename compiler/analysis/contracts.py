"""Contracts: `expect params == 61_706`, proved, refuted or found undecidable.

On the left a quantity's name wins over a static value's, on the right the other way round, so that a network with a
parameter `depth` can say `expect depth == 3 * depth + 2`. Amounts are those of one example of the nominal size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

from ..diagnostics import ArchError, Diagnostic, Label, did_you_mean, error
from ..elaborate.static import Scope
from ..elaborate.values import Poisoned
from ..graph import Program, Ref
from ..sizes import Dim, Verdict, bounds, compare, substitute
from ..source import Span
from ..syntax import ast
from .cost import Cost, at_nominal, cost
from .receptive import Receptive, reach, relations_along, strides

if TYPE_CHECKING:
    from ..relations import Exact
    from .derived import Derived

_UNDECIDED = "give the axes that it depends on a fixed size, as in `H=224`, or a nominal one, as in `H~224`"
_MORE_THAN = {
    "<": "less than",
    "<=": "at most",
    ">": "more than",
    ">=": "at least",
    "!=": "not",
    "==": "",
    "~=": "about",
}


class _OfTheNetwork(Exception):
    """A quantity was asked for where only contracts about parameters count."""


def check_contracts(program: Program, *, given: bool = False, receptive: Receptive | None = None) -> list[Diagnostic]:
    """What is wrong with the program's contracts: A0601 it does not hold, A0602 it can't be decided, A0603 nothing is
    called so, A0604 the quantity is asked for in a wrong way, or what evaluating its values gave. With parameters
    `given` from outside, contracts about the network say nothing, and those about parameters alone still hold."""
    quantities = Quantities(program, given=given, receptive=receptive)
    found: list[Diagnostic] = []
    for statement, names in program.expects:
        try:
            _check(statement, names, quantities)
        except ArchError as failure:
            found += failure.diagnostics
        except _OfTheNetwork:
            continue
        except Poisoned:
            continue  # its error has been reported where it arose
    return found


class Quantities:
    """What contracts may ask of a program. Each is computed when it is asked for."""

    def __init__(self, program: Program, *, given: bool = False, receptive: Receptive | None = None) -> None:
        self.program, self.graph, self.given = program, program.graph, given
        self.receptive = receptive or Receptive()
        self.plain: Mapping[str, Callable[[Span], Any]] = {
            "params": lambda span: self.cost.parameters,
            "loss_params": lambda span: self.cost.loss_parameters,
            "buffers": lambda span: self.cost.buffers,
            "flops": lambda span: self._amount(self.cost.flops, "flops", span),
            "macs": lambda span: self._amount(self.cost.macs, "macs", span),
            "memory": lambda span: self._amount(self.cost.memory, "memory", span),
            "depth": lambda span: self.cost.depth,
            "layers": lambda span: self.cost.layers,
            "outputs": lambda span: len(self.graph.outputs),
        }
        self.of_values: Mapping[str, Callable[[ast.Call], Any]] = {
            "shape": self._shape,
            "receptive_field": self._receptive_field,
            "stride": self._stride,
            "centre": self._centre,
            "bottleneck": self._bottleneck,
            "gradient_path": self._gradient_path,
            "identity_path": self._identity_path,
            "params": lambda call: self._of_player(call, "parameters"),
            "flops": lambda call: self._of_player(call, "flops"),
        }

    @cached_property
    def cost(self) -> Cost:
        return cost(self.program)

    @cached_property
    def _derived(self) -> Derived:
        from .derived import Derived

        return Derived(self.graph, self.receptive)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.plain, *self.of_values]))

    def count(self, name: str, span: Span) -> Any:
        """A quantity of the whole network."""
        if self.given:
            raise _OfTheNetwork
        return self.plain[name](span)

    def measure(self, name: str, call: ast.Call) -> Any:
        """A quantity of a value."""
        if self.given:
            raise _OfTheNetwork
        return self.of_values[name](call)

    def _of_player(self, call: ast.Call, what: str) -> Any:
        """An amount of one player of a game: what it owns, or one pass through it."""
        from .players import share

        name, game = call.function.span.text, self.program.game
        if game is None:
            raise error("A0604", f"`{name}` is asked of the whole network: write `{name}`", call.span)
        first = call.arguments[0].value if len(call.arguments) == 1 else None
        if not isinstance(first, ast.Name) or first.text not in game.players:
            known = ", ".join(f"`{name}({player})`" for player in game.players)
            raise error("A0604", f"`{name}` is asked of the whole game, or of a player", call.span, help=known)
        return self._amount(getattr(share(self.program, first.text), what), name, call.span)

    def _amount(self, amount: int | Dim | None, what: str, span: Span) -> int | Dim:
        if amount is None:
            raise error(
                "A0602", f"`{what}` depends on the sizes in too many ways to be written down", span, help=_UNDECIDED
            )
        return at_nominal(amount, self.graph)

    def value(self, call: ast.Call, most: int) -> tuple[str, Ref]:
        """The value that the first argument names."""
        name = call.function.text if isinstance(call.function, ast.Name) else ""
        form = f"`{name}(x)`" if most == 1 else f"`{name}(x)` or `{name}(x, H)`"
        if not 1 <= len(call.arguments) <= most or any(a.name is not None for a in call.arguments):
            raise error("A0604", f"`{name}` is asked of one named value: {form}", call.span)
        first = call.arguments[0].value
        if not isinstance(first, ast.Name):
            raise error(
                "A0604",
                f"`{name}` is asked of one named value: {form}",
                first.span,
                help="give what you mean a name, as in `features = …`, and ask about the name",
            )
        if first.text not in self.graph.values:
            help = did_you_mean(first.text, self.graph.values) or _listing("its values", self.graph.values)
            raise error("A0603", f"no value of `{self.graph.name}` is called `{first.text}`", first.span, help=help)
        return first.text, self.graph.values[first.text]

    def _axis(self, call: ast.Call) -> str | None:
        if len(call.arguments) < 2:
            return None
        second = call.arguments[1].value
        inputs = [self.graph[n].types[0] for n in self.graph.inputs]
        named = sorted({name for t in inputs for name in t.names if name})
        if isinstance(second, ast.Name) and second.text in named:
            return second.text
        raise error(
            "A0604",
            "the second is the name of an axis of an input",
            second.span,
            help=_listing("the inputs' named axes", named),
        )

    def _shape(self, call: ast.Call) -> tuple[int | Dim, ...]:
        _, ref = self.value(call, 1)
        return self.graph.type(ref).shape

    def _receptive_field(self, call: ast.Call) -> int | float:
        _, ref = self.value(call, 2)
        found = reach(r for _, _, r in relations_along(self.graph, ref, self._axis(call), self.receptive))
        return inf if found == "all" else found

    def _stride(self, call: ast.Call) -> int | float:
        name, _ = self.value(call, 2)
        return self._one("stride", call, strides(self.graph, name, self._axis(call), self.receptive))

    def _centre(self, call: ast.Call) -> int | float:
        _, ref = self.value(call, 2)
        return self._one("centre", call, self._derived.centres(ref, self._axis(call)))

    @staticmethod
    def _one(what: str, call: ast.Call, found: Sequence[Exact]) -> int | float:
        """The number that all axes have, if they have one."""
        if len(found) == 1:
            return int(found[0]) if found[0].denominator == 1 else float(found[0])
        name, listing = call.arguments[0].value.span.text, ", ".join(map(str, found))
        text = f"has {what}s {listing}" if found else "sees no axis of an input through a window"
        raise error(
            "A0604", f"`{name}` {text}", call.span, help=f"name one axis, as in `{what}(x, H)`" if found else None
        )

    def _bottleneck(self, call: ast.Call) -> int:
        name, ref = self.value(call, 1)
        elements = self._derived.bottleneck(ref).elements
        if elements is None:
            raise error("A0602", f"how many elements pass on the way to `{name}` is open", call.span, help=_UNDECIDED)
        return elements

    def _gradient_path(self, call: ast.Call) -> int:
        name, ref = self.value(call, 1)
        path = self._derived.gradient_path(ref)
        if path is None:
            raise error("A0604", f"no gradient flows from `{name}` to an input", call.span)
        return len(path)

    def _identity_path(self, call: ast.Call) -> int:
        name, ref = self.value(call, 1)
        projections = self._derived.projections(ref)
        if projections is None:
            what = f"no path from an input to `{name}` is the identity, layers with weights aside"
            raise error("A0604", what, call.span, help="`bias residual` says which step breaks it")
        return projections


class _Side(Scope):
    """One side of a contract: static values and quantities."""

    def __init__(self, names: Mapping[str, Any], quantities: Quantities, *, left: bool) -> None:
        super().__init__(names)
        self.quantities, self.left = quantities, left

    def lookup(self, name: str, span: Span) -> Any:
        plain = self.quantities.plain
        if name in plain and (self.left or name not in self.names):
            return self.quantities.count(name, span)
        if name in self.names:
            return self.names[name]
        if name == "all":
            return inf
        raise self._unknown(name, span)

    def recipe(self, call: ast.Call | ast.Name) -> Any:
        if isinstance(call, ast.Call) and isinstance(call.function, ast.Name):
            name = call.function.text
            if name in self.quantities.of_values:
                return self.quantities.measure(name, call)
            if name in self.quantities.plain:
                raise error("A0604", f"`{name}` is asked of the whole network: write `{name}`", call.span)
            raise self._unknown(name, call.function.span)
        return super().recipe(call)

    def _unknown(self, name: str, span: Span) -> ArchError:
        if name in self.quantities.of_values:
            return error("A0604", f"`{name}` is asked of a value: write `{name}(x)`", span)
        known = [
            *self.quantities.names,
            *(n for n, v in self.names.items() if isinstance(v, (int, float, str, Dim, tuple))),
        ]
        help = did_you_mean(name, known) or _listing("contracts can speak of", self.quantities.names)
        return error("A0603", f"no quantity or static value is called `{name}`", span, help=help)


def _check(statement: ast.ExpectStmt, names: Mapping[str, Any], quantities: Quantities) -> None:
    left = _Side(names, quantities, left=True).eval(statement.left)
    right_side = _Side(names, quantities, left=False)
    right = right_side.eval(statement.right)
    tolerance = None if statement.tolerance is None else right_side.eval(statement.tolerance)
    if tolerance is not None and (not _number(tolerance) or isinstance(tolerance, Dim) or tolerance < 0):
        assert statement.tolerance is not None
        raise error("A0604", "the tolerance is a number of per cent, at least 0", statement.tolerance.span)
    verdict = _holds(statement, left, right, tolerance)
    if verdict is Verdict.OPEN:
        nominal = quantities.graph.nominal
        verdict = _holds(statement, _at(left, nominal), _at(right, nominal), tolerance)
    if verdict is Verdict.PROVED:
        return
    subject = statement.left.span.text
    if verdict is Verdict.OPEN:
        raise error(
            "A0602",
            f"whether {subject} {statement.relation} {statement.right.span.text} can't be decided: it is {_show(left)}",
            statement.span,
            help=_UNDECIDED,
        )
    expected = " ".join(filter(None, (_MORE_THAN[statement.relation], _show(right))))
    within = f" (within {tolerance:g}%)" if tolerance is not None else ""
    raise error(
        "A0601",
        f"{subject} is {_show(left)}, expected {expected}{within}{_by_how_much(left, right)}",
        statement.span,
        labels=_where(statement.left, quantities),
        underline=f"it is {_show(left)}",
    )


def _where(e: ast.Expr, quantities: Quantities) -> list[Label]:
    """Where the value that a contract speaks of was made."""
    if not (isinstance(e, ast.Call) and e.arguments and isinstance(e.arguments[0].value, ast.Name)):
        return []
    ref = quantities.graph.values.get(e.arguments[0].value.text)
    span = quantities.graph[ref.node].span if ref is not None else None
    return [Label(span, f"made here: {quantities.graph.type(ref)}")] if ref is not None and span is not None else []


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, Dim)) and not isinstance(value, bool)


def _at(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_at(v, sizes) for v in value)
    return substitute(value, sizes) if isinstance(value, Dim) else value


def _holds(statement: ast.ExpectStmt, left: Any, right: Any, tolerance: float | None) -> Verdict:
    relation = statement.relation
    if relation in ("==", "!="):
        verdict = _equal(left, right)
        return _negated(verdict) if relation == "!=" else verdict
    for value, e in ((left, statement.left), (right, statement.right)):
        if not _number(value):
            raise error("A0604", f"`{relation}` compares numbers, and this is {_show(value)}", e.span)
    if relation == "~=":
        if isinstance(left, Dim) or isinstance(right, Dim):
            return Verdict.PROVED if left == right else Verdict.OPEN
        return _verdict(left == right or abs(left - right) <= abs(right) * (tolerance or 0) / 100)
    if isinstance(left, Dim) or isinstance(right, Dim):
        if isinstance(left, float) or isinstance(right, float):
            return Verdict.OPEN
        low, high = bounds(left - right)
    else:
        low = high = 0 if left == right else (1 if left > right else -1)
    yes, no = {
        "<": (high < 0, low >= 0),
        "<=": (high <= 0, low > 0),
        ">": (low > 0, high <= 0),
        ">=": (low >= 0, high < 0),
    }[relation]
    return Verdict.PROVED if yes else Verdict.REFUTED if no else Verdict.OPEN


def _verdict(holds: bool) -> Verdict:
    return Verdict.PROVED if holds else Verdict.REFUTED


def _negated(verdict: Verdict) -> Verdict:
    return {Verdict.PROVED: Verdict.REFUTED, Verdict.REFUTED: Verdict.PROVED}.get(verdict, verdict)


def _equal(left: Any, right: Any) -> Verdict:
    if isinstance(left, tuple) and isinstance(right, tuple):
        if len(left) != len(right):
            return Verdict.REFUTED
        verdicts = [_equal(a, b) for a, b in zip(left, right, strict=True)]
        if Verdict.REFUTED in verdicts:
            return Verdict.REFUTED
        return Verdict.OPEN if Verdict.OPEN in verdicts else Verdict.PROVED
    if isinstance(left, Dim) or isinstance(right, Dim):
        whole = all(isinstance(v, (int, Dim)) and not isinstance(v, bool) for v in (left, right))
        return compare(left, right) if whole else Verdict.REFUTED
    return _verdict(isinstance(left, bool) == isinstance(right, bool) and left == right)


def _by_how_much(left: Any, right: Any) -> str:
    if isinstance(left, tuple) and isinstance(right, tuple):
        if len(left) != len(right):
            return f": it has {len(left)} axes, not {len(right)}"
        at = next(
            (i for i, (a, b) in enumerate(zip(left, right, strict=True)) if _equal(a, b) is Verdict.REFUTED), None
        )
        return "" if at is None else f": axis {at} is {left[at]}, not {right[at]}"
    if any(not _number(v) or isinstance(v, Dim) or abs(v) == inf for v in (left, right)):
        return ""
    off = left - right
    percent = f", {_percent(100 * abs(off) / abs(right))}%" if right else ""
    return f": {_show(abs(off))} too {'many' if off > 0 else 'few'}{percent}" if off else ""


def _percent(share: float) -> str:
    """Two digits below ten, none to spare above: 0.054, 6.2, 99.98, 1,200."""
    return f"{share:.2g}" if share < 10 else f"{share:,.2f}".rstrip("0").rstrip(".")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return "all" if value == inf else f"{value:,}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(str, value))}]"
    return f"`{value}`" if isinstance(value, str) else str(value)


def _listing(what: str, names: Any) -> str:
    names = list(names)
    shown = ", ".join(f"`{n}`" for n in names[:12])
    return f"{what}: {shown or 'none'}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
