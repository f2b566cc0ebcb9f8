"""How a recurrence runs: what leaves the loop over steps, in which order the rest runs, what is kept for the backward.

- Parts of products that read inputs and constants only leave the loop: one product for all steps, or for several at a
  time. What a product reads of a state or of a value of the step stays in it.
- The loop alternates stages of products and regions of pointwise functions. Region k has what depends on at most k
  products one after another; stage k + 1 the products of what region k computed. Everything that one vector is
  multiplied with in a stage is one product (a `Group`).
- The backward pass walks the regions from the last one to the first, and between them the same groups transposed.
  Gradients of weights are left to one product after the loop, of the adjoints of all steps with what was multiplied.
- What the backward pass reads of a step lies on a *tape*, a row for each step and example. Its first columns may hold
  the products that left the loop until they are read, and then what is kept. Kept is only what does not follow from
  inputs, states and other kept values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .derive import named
from .equations import Equations, Product
from .flat import COSTLY, Flat, Node, adjoints


@dataclass(frozen=True)
class Group:
    """All products of one vector in the loop, merged: their results lie beside each other.

    node: the vector. stage: it runs before the region of this number. products: with the first column of the vector in
    their weights, in order."""

    node: Node
    stage: int
    products: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Hoisted:
    """Products of inputs and constants, for all steps at once: `operands` joined · weights joined.

    products: with the first column of each operand in their weights. column: of the first of them on the tape."""

    operands: tuple[str, ...]
    products: tuple[tuple[str, tuple[int, ...]], ...]
    column: int


@dataclass(frozen=True)
class Run:
    """Products whose adjoints lie beside each other, from `column` on, and that read `node` at these columns of their
    weights: one product for the backward pass."""

    node: Node
    column: int
    products: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Sink:
    """Where a region leaves a value.

    kind: operand, carry (a row in memory until the step ends, by `at`), tape (`at`: the column), next (`name`: the
    state), output (`at`: its number); of the backward pass: adjoint (`at`: the column), state, input, constant (by
    `name`), total (`at`: a place in the sums over steps and examples)."""

    node: Node
    kind: str
    name: str = ""
    at: int = 0
    width: int = 0


@dataclass(frozen=True)
class Region:
    """Pointwise functions that run together. places: by node, the sink of a region before that can be read instead of
    computing the node again."""

    level: int
    sinks: tuple[Sink, ...]
    places: dict[Node, Sink]


class Plan:
    """The plan of equations. Everything is derived from them, in an order that does not change."""

    def __init__(self, equations: Equations) -> None:
        self.equations = eq = named(equations)
        self.widths = eq.widths
        self.flat = Flat()
        self.values: dict[str, Node] = {}
        for kind, table in (("input", eq.inputs), ("constant", eq.constants), ("state", eq.states)):
            self.values |= {name: self.flat.leaf(kind, name, width) for name, width in table.items()}
        vectors = {name: shape[0] for name, shape in eq.weights.items() if len(shape) == 1}
        self.values |= {name: self.flat.leaf("vector", name, width) for name, width in vectors.items()}
        self.products: dict[str, Product] = {}
        for step in eq.steps:
            if isinstance(step, Product):
                self.products[step.name] = step
                self.values[step.name] = self.flat.leaf("product", step.name, self.widths[step.name])
            else:
                self.values[step.name] = self.flat.insert(step.value, self.values)
        self.forward_count = len(self.flat.kinds)

    # --- What depends on what -------------------------------------------------------------------------------------

    def _operands(self, product: Product) -> Iterator[tuple[str, int, bool]]:
        """Name, first column, and whether it leaves the loop."""
        first = 0
        for name in product.operands:
            node = self.values[name]
            out = self.flat.kinds[node] in ("input", "constant")
            yield self.flat.names[node] if out else name, first, out
            first += self.widths[name]

    @cached_property
    def levels(self) -> list[int]:
        """By node of the forward step: on how many products in the loop, one after another, it depends."""
        found: list[int] = []
        for node in range(self.forward_count):
            if self.flat.kinds[node] == "product":
                parts = self._operands(self.products[self.flat.names[node]])
                found.append(max((1 + found[self.values[name]] for name, _, out in parts if not out), default=0))
            else:
                found.append(max((found[v] for v in self.flat.operands[node]), default=0))
        return found

    @cached_property
    def last(self) -> int:
        """The number of stages, which is the number of the last region."""
        return max(self.levels, default=0)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The products, in an order in which those that read the same lie beside each other."""

        def key(name: str) -> tuple:
            parts = list(self._operands(self.products[name]))
            outside = tuple(n for n, _, out in parts if out)
            inside = tuple(self.values[n] for n, _, out in parts if not out)
            return bool(inside), not outside, outside, inside

        return tuple(sorted(self.products, key=key))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The products in the loop, by stage."""
        found: dict[Node, list[tuple[str, int]]] = {}
        for product in self.order:
            for name, first, out in self._operands(self.products[product]):
                if not out:
                    found.setdefault(self.values[name], []).append((product, first))
        groups = (Group(node, 1 + self.levels[node], tuple(products)) for node, products in found.items())
        return tuple(sorted(groups, key=lambda group: group.stage))

    @cached_property
    def hoisted(self) -> tuple[Hoisted, ...]:
        """The products before the loop."""
        found: dict[tuple[str, ...], list[tuple[str, tuple[int, ...]]]] = {}
        for product in self.order:
            parts = [(name, first) for name, first, out in self._operands(self.products[product]) if out]
            if parts:
                operands = tuple(name for name, _ in parts)
                found.setdefault(operands, []).append((product, tuple(first for _, first in parts)))
        result, column = [], 0
        for operands, products in found.items():
            result.append(Hoisted(operands, tuple(products), column))
            column += sum(self.widths[product] for product, _ in products)
        return tuple(result)

    @cached_property
    def before(self) -> dict[str, int]:
        """Of products that have a part before the loop: the column of its first element."""
        found = {}
        for hoisted in self.hoisted:
            column = hoisted.column
            for product, _ in hoisted.products:
                found[product] = column
                column += self.widths[product]
        return found

    @cached_property
    def before_width(self) -> int:
        """How many columns those have together."""
        return sum(self.widths[product] for product in self.before)

    # --- Forward --------------------------------------------------------------------------------------------------

    @cached_property
    def shared_outputs(self) -> dict[int, str]:
        """Outputs that are the next value of a state, by number: one place in memory holds both."""
        found: dict[int, str] = {}
        for at, name in enumerate(self.equations.outputs):
            for state, value in self.equations.next.items():
                if self.values[value] == self.values[name] and state not in found.values():
                    found.setdefault(at, state)
        return found

    def _home(self, node: Node) -> int:
        """The region that leaves a value somewhere. Nothing of region 0 is needed early but operands of products."""
        return max(self.levels[node], min(1, self.last))

    @cached_property
    def inference(self) -> tuple[Region, ...]:
        """The regions of a forward pass that keeps nothing."""
        return tuple(self._regions(self._wanted()))

    @cached_property
    def training(self) -> tuple[Region, ...]:
        """The regions of a forward pass that fills the tape."""
        return tuple(self._regions([*self._wanted(), *self._tape]))

    def _wanted(self) -> list[Sink]:
        found = [
            Sink(group.node, "operand", at=at)
            for at, group in enumerate(self.groups)
            if self.flat.kinds[group.node] != "state"
        ]
        found += [Sink(self.values[value], "next", state) for state, value in self.equations.next.items()]
        outputs = enumerate(self.equations.outputs)
        found += [Sink(self.values[name], "output", at=at) for at, name in outputs if at not in self.shared_outputs]
        return found

    def _regions(self, wanted: Iterable[Sink]) -> Iterator[Region]:
        by: dict[int, list[Sink]] = {}
        for sink in wanted:
            level = self.levels[sink.node] if sink.kind == "operand" else self._home(sink.node)
            by.setdefault(level, []).append(sink)
        places: dict[Node, Sink] = {}
        for level in range(self.last + 1):
            sinks = by.get(level, [])
            here = self.flat.under((sink.node for sink in sinks), places)
            later_sinks = [sink.node for after in range(level + 1, self.last + 1) for sink in by.get(after, [])]
            made = {sink.node for sink in sinks}
            later = set(self.flat.under(later_sinks, {*places, *made}))
            costly = [n for n in here if n in later and n not in places | dict.fromkeys(made)]
            costly = [n for n in costly if self.flat.kinds[n] in COSTLY]
            sinks += [Sink(node, "carry", at=len(places) + at) for at, node in enumerate(costly)]
            if sinks:
                yield Region(level, tuple(sinks), dict(places))
            places |= {sink.node: sink for sink in reversed(sinks) if not self.flat.is_leaf(sink.node)}

    # --- What is kept ---------------------------------------------------------------------------------------------

    @cached_property
    def following(self) -> dict[Node, str]:
        """Values that are the next value of a state, which all steps keep."""
        leaves = ("input", "constant", "vector", "state")
        pairs = ((self.values[value], state) for state, value in self.equations.next.items())
        return {node: state for node, state in pairs if self.flat.kinds[node] not in leaves}

    @cached_property
    def kept(self) -> tuple[Node, ...]:
        """What lies on the tape: operands of products, and of what the backward pass reads that which does not
        follow from inputs, states and what is kept before."""
        known = {group.node for group in self.groups if self.flat.kinds[group.node] != "state"}
        free = {*known, *self.following}
        roots = [sink.node for sink in self._back_sinks]
        read: set[Node] = set()
        for node in self.flat.under(roots, range(self.forward_count)):
            if node < self.forward_count:
                read.add(node)
        for node in sorted(read):
            if not self._follows(node, free):
                known.add(node)
                free.add(node)
        return tuple(sorted(known))

    def _follows(self, node: Node, free: set[Node]) -> bool:
        if node in free:
            return True
        if self.flat.kinds[node] == "product":
            return False
        return all(self._follows(operand, free) for operand in self.flat.operands[node])

    @cached_property
    def _tape(self) -> list[Sink]:
        kept = [node for node in self.kept if node not in self.following]
        unplaced = [Sink(node, "tape", at=-1) for node in kept]
        last_read: dict[str, int] = {}
        for region in self._regions([*self._wanted(), *unplaced]):
            for node in self.flat.under((sink.node for sink in region.sinks), region.places):
                if self.flat.kinds[node] == "product" and node not in region.places:
                    last_read[self.flat.names[node]] = region.level
        free = dict(self.before)
        result, width = [], self.before_width
        own = {self.flat.names[node]: node for node in kept if self.flat.kinds[node] == "product"}
        for node in kept:
            column = self._slot(node, free, own, last_read)
            if column is None:
                column, width = width, width + self.flat.widths[node]
            result.append(Sink(node, "tape", at=column))
        return result

    def _slot(self, node: Node, free: dict[str, int], own: dict[str, Node], last_read: dict[str, int]) -> int | None:
        """Columns of a product that nothing reads any more when the value is there."""
        width = self.flat.widths[node]
        reads = [self.flat.names[v] for v in self.flat.under([node]) if self.flat.kinds[v] == "product"]
        for product in [*(p for p in reads if p in free), *free]:
            fits = self.widths[product] == width and width > 1 and last_read.get(product, 0) <= self._home(node)
            if fits and own.get(product, node) == node:
                return free.pop(product)
        return None

    @cached_property
    def tape(self) -> dict[Node, int]:
        """The columns of what is kept."""
        return {sink.node: sink.at for sink in self._tape}

    @cached_property
    def tape_width(self) -> int:
        """How many columns the tape has."""
        return max([self.before_width, *(sink.at + self.flat.widths[sink.node] for sink in self._tape)])

    # --- Backward -------------------------------------------------------------------------------------------------

    @cached_property
    def adjoints(self) -> dict[Node, Node]:
        """By node, its adjoint."""
        flat, given = self.flat, dict[Node, Node]()
        for at, name in enumerate(self.equations.outputs):
            self._give(given, self.values[name], flat.leaf("output adjoint", str(at), self.widths[name]))
        for state, value in self.equations.next.items():
            self._give(given, self.values[value], flat.leaf("next adjoint", state, self.widths[state]))
        pulls = {g.node: flat.leaf("pull", str(g.node), flat.widths[g.node]) for g in self.groups}
        vectors = {node: pull for node, pull in pulls.items() if flat.kinds[node] in ("product", "vector")}
        for node, pull in vectors.items():
            self._give(given, node, pull)
        return adjoints(flat, given, pulls)

    def _give(self, given: dict[Node, Node], node: Node, adjoint: Node) -> None:
        given[node] = self.flat.apply("add", given[node], adjoint) if node in given else adjoint

    @cached_property
    def columns(self) -> dict[str, int]:
        """Of products with an adjoint: its first column. Products with the same adjoint share it."""
        found: dict[str, int] = {}
        at: dict[tuple[Node, int], int] = {}
        width = 0
        for product in self.order:
            adjoint = self.adjoints.get(self.values[product])
            if adjoint is None:
                continue
            key = (adjoint, self.widths[product])
            if key not in at:
                at[key], width = width, width + self.widths[product]
            found[product] = at[key]
        return found

    @cached_property
    def columns_width(self) -> int:
        """How many columns the adjoints of products have together."""
        return max((column + self.widths[product] for product, column in self.columns.items()), default=0)

    @cached_property
    def totals(self) -> dict[str, int]:
        """Vectors that are summed over steps and examples: adjoints of weights of one axis by their name, adjoints of
        products that have a bias by theirs, and their places beside each other. What is the same has one place."""
        found: dict[str, int] = {}
        at: dict[tuple[Node, int], int] = {}
        vectors = [name for name, shape in self.equations.weights.items() if len(shape) == 1]
        biased = [name for name in self.columns if self.products[name].bias is not None]
        for name in [*(v for v in vectors if self.values[v] in self.adjoints), *biased]:
            key = (self.adjoints[self.values[name]], self.widths[name])
            found[name] = at.setdefault(key, sum(width for _, width in at))
        return found

    @cached_property
    def totals_width(self) -> int:
        """How many elements the sums have together."""
        return max((at + self.widths[name] for name, at in self.totals.items()), default=0)

    @cached_property
    def _back_sinks(self) -> list[Sink]:
        found, done = [], set()
        for product, column in self.columns.items():
            if column not in done:
                done.add(column)
                found.append(self._back("adjoint", product, column))
        sources = [(kind, name) for kind in ("input", "constant", "state") for name in self._table(kind)]
        found += [self._back(kind, name, 0) for kind, name in sources if self.values[name] in self.adjoints]
        places = {at: name for name, at in reversed(self.totals.items())}
        found += [self._back("total", name, at) for at, name in sorted(places.items())]
        return found

    def _table(self, kind: str) -> Iterable[str]:
        eq = self.equations
        return {"input": eq.inputs, "constant": eq.constants, "state": eq.states}[kind]

    def _back(self, kind: str, name: str, at: int) -> Sink:
        return Sink(self.adjoints[self.values[name]], kind, name, at, self.widths[name])

    def phase(self, node: Node) -> int:
        """The first region, walking back, in which a node of the backward pass can be computed."""
        flat = self.flat
        levels = [
            self.levels[int(flat.names[v])]
            for v in flat.under([node], range(self.forward_count))
            if flat.kinds[v] == "pull"
        ]
        return min(levels, default=self.last)

    @cached_property
    def backward(self) -> tuple[Region, ...]:
        """The regions of the backward pass, in the order in which they run."""
        by: dict[int, list[Sink]] = {}
        for sink in self._back_sinks:
            by.setdefault(self.phase(sink.node), []).append(sink)
        return tuple(Region(level, tuple(by[level]), {}) for level in sorted(by, reverse=True))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The products of the backward pass: of adjoints with transposed weights."""
        found = []
        for group in self.groups:
            products = sorted(
                (self.columns[name], name, first) for name, first in group.products if name in self.columns
            )
            part: list[tuple[str, int]] = []
            start = end = -1
            for column, name, first in products:
                if column != end:
                    if part:
                        found.append(Run(group.node, start, tuple(part)))
                    part, start = [], column
                part.append((name, first))
                end = column + self.widths[name]
            if part:
                found.append(Run(group.node, start, tuple(part)))
        return tuple(found)
