"""Pointwise regions of a recurrence as C: a loop over rows, in it loops over the elements of vectors."""

from __future__ import annotations

from collections.abc import Iterator

from .flat import Node
from .plan import Plan, Region, Sink

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def vector(plan: Plan, name: str) -> str:
    """Where an input or a constant of example b at step t lies."""
    eq = plan.equations
    if name in eq.inputs:
        at = list(eq.inputs).index(name)
        return f"u->input{at} + t * u->input{at}_t + b * u->input{at}_b"
    return f"u->constant{list(eq.constants).index(name)} + b * {eq.constants[name]}"


class RegionText:
    """One region. backward: it reads what the forward pass has kept."""

    def __init__(self, plan: Plan, region: Region, backward: bool) -> None:
        self.plan, self.region, self.backward = plan, region, backward
        self.flat = plan.flat
        stop = set(region.places)
        if backward:
            stop |= {*plan.tape, *plan.following}
        self.stop = stop
        self.nodes = self.flat.under((sink.node for sink in region.sinks), stop)
        self.rows: dict[str, str] = {}  # pointers to the row of an example, by name

    def lines(self) -> Iterator[str]:
        """The loop over rows b0 … b1 of a tile."""
        body = list(self._passes())
        yield "for (long b = b0; b < b1; ++b) {"
        yield "  if (u->mask && !u->mask[b * u->T + t]) continue;"
        yield from (f"  {kind} *{name} = {value};" for name, value in self.rows.items() for kind in [self._const(name)])
        yield from (f"  {line}" for line in body)
        yield "}"

    def _const(self, name: str) -> str:
        return "real" if name.startswith("to_") else "const real"

    def _passes(self) -> Iterator[str]:
        """Elements of width 1 first, which the others may read; then the others; last what reads their sums."""
        flat = self.flat
        late = set()
        for node in self.nodes:
            if flat.kinds[node] == "sum" or (node not in self.stop and any(v in late for v in flat.operands[node])):
                late.add(node)
        sums = [node for node in self.nodes if flat.kinds[node] == "sum" and node not in self.stop]
        yield from (f"real total{node} = 0;" for node in sums)
        widths = sorted({flat.widths[node] for node in self.nodes} | {self._width(s) for s in self.region.sinks})
        narrow = [n for n in self.nodes if flat.widths[n] == 1 and n not in late]
        yield from self._block(1, narrow, [s for s in self.region.sinks if self._width(s) == 1 and s.node not in late])
        for width in widths:
            if width > 1:
                nodes = [n for n in self.nodes if flat.widths[n] == width]
                sinks = [s for s in self.region.sinks if self._width(s) == width]
                yield from self._loop(width, nodes, sinks, [n for n in sums if flat.operands[n][0] in nodes])
        after = [n for n in self.nodes if n in late]
        yield from self._block(1, after, [s for s in self.region.sinks if s.node in late])

    def _width(self, sink: Sink) -> int:
        return sink.width or self.flat.widths[sink.node]

    def _block(self, width: int, nodes: list[Node], sinks: list[Sink]) -> Iterator[str]:
        for node in nodes:
            if self.flat.kinds[node] != "number":
                narrow = self._value(node, "0", "1")
                yield f"const V v{node} = splat(({narrow})[0]);"
        for sink in sinks:
            yield self._store(sink, "0", "1")

    def _loop(self, width: int, nodes: list[Node], sinks: list[Sink], sums: list[Node]) -> Iterator[str]:
        def body(*parts: tuple[str, str, str]) -> Iterator[str]:
            for node in nodes:
                for at, length, mark in parts:
                    yield f"  const V v{node}{mark} = {self._value(node, at, length, mark)};"
            for at, length, mark in parts:
                yield from (f"  total{n} += sum_of(v{self.flat.operands[n][0]}{mark}, {length});" for n in sums)
                yield from (f"  {self._store(sink, at, length, mark)}" for sink in sinks)

        # Two vectors at once: functions have long chains of operations that wait for one another.
        yield "{ long j = 0;"
        yield f"for (; j + 2 * NL <= {width}; j += 2 * NL) {{"
        yield from body(("j", "NL", ""), ("j + NL", "NL", "_"))
        yield "}"
        yield f"for (; j + NL <= {width}; j += NL) {{"
        yield from body(("j", "NL", ""))
        yield "}"
        yield f"if ({width} % NL) {{"
        yield from body(("j", f"({width} % NL)", ""))
        yield "} }"

    # --- Values ---------------------------------------------------------------------------------------------------

    def _name(self, node: Node, mark: str = "") -> str:
        if self.flat.kinds[node] == "number":
            value = self.flat.values[node]
            text = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}.get(repr(value), repr(value))
            return f"splat((real){text})"
        return f"v{node}{mark if self.flat.widths[node] > 1 else ''}"

    def _value(self, node: Node, at: str, length: str, mark: str = "") -> str:
        flat = self.flat
        kind = flat.kinds[node]
        if node in self.stop:
            return self._load(*self._kept(node), at, length)
        if kind == "sum":
            return f"splat(total{node})"
        if kind == "product":
            return self._product(flat.names[node], at, length)
        if flat.is_leaf(node):
            return self._load(*self._leaf(node), at, length)
        values = [self._name(v, mark) for v in flat.operands[node]]
        if kind in SIGNS:
            return f"{values[0]} {SIGNS[kind]} {values[1]}"
        return f"-{values[0]}" if kind == "neg" else f"v_{kind}({', '.join(values)})"

    def _load(self, pointer: str, offset: int, at: str, length: str) -> str:
        return f"load({pointer} + {offset} + {at}, {length})"

    def _row(self, name: str, value: str) -> str:
        self.rows.setdefault(name, value)
        return name

    def _product(self, name: str, at: str, length: str) -> str:
        plan, parts = self.plan, []
        for number, group in enumerate(plan.groups):
            column = 0
            for other, _ in group.products:
                if other == name:
                    total = sum(plan.widths[p] for p, _ in group.products)
                    row = self._row(f"group{number}_", f"group{number} + (b - b0) * PAD({total})")
                    parts.append(self._load(row, column, at, length))
                column += plan.widths[other]
        for number, hoisted in enumerate(plan.hoisted):
            if name in dict(hoisted.products):
                total = sum(plan.widths[p] for p, _ in hoisted.products)
                row = self._row(f"ahead{number}_", f"ahead{number} + ((s - first) * rows + b - b0) * PAD({total})")
                parts.append(self._load(row, plan.before[name] - hoisted.column, at, length))
        product = plan.products[name]
        if product.bias is not None:
            vector = list(plan.equations.weights).index(product.bias)
            parts.append(self._load(f"u->weight{vector}", (product.rows or (0, 0))[0], at, length))
        return " + ".join(parts)

    def _tape(self) -> str:
        return self._row("tape", "u->tape + (t * u->B + b) * u->tape_row")

    def _kept(self, node: Node) -> tuple[str, int]:
        """What a region before has left, or the forward pass."""
        plan = self.plan
        if self.backward:
            if node in plan.following:
                return self._state("after", plan.following[node]), 0
            return self._tape(), plan.tape[node]
        sink = self.region.places[node]
        if sink.kind == "tape":
            return self._tape(), sink.at
        if sink.kind == "next":
            return self._state("after", sink.name), 0
        if sink.kind == "output":
            return self._output(sink.at), 0
        return self._scratch(sink), 0

    def _state(self, when: str, name: str) -> str:
        number = list(self.plan.equations.states).index(name)
        return self._row(f"{when}{number}_", f"{when}{number} + b * {self.plan.widths[name]}")

    def _output(self, at: int) -> str:
        return self._row(f"to_output{at}", f"u->output{at} + t * u->output{at}_t + b * u->output{at}_b")

    def _scratch(self, sink: Sink) -> str:
        name = f"{sink.kind}{sink.at}"
        width = self._width(sink)
        return self._row(f"to_{name}", f"{name} + (b - b0) * {width if sink.kind == 'operand' else f'PAD({width})'}")

    def _leaf(self, node: Node) -> tuple[str, int]:
        kind, name, eq = self.flat.kinds[node], self.flat.names[node], self.plan.equations
        width = self.flat.widths[node]
        if kind == "state":
            return self._state("before", name), 0
        if kind == "input":
            return self._row(f"input{list(eq.inputs).index(name)}_", vector(self.plan, name)), 0
        if kind == "constant":
            return self._row(f"constant{list(eq.constants).index(name)}_", vector(self.plan, name)), 0
        if kind == "vector":
            return f"u->weight{list(eq.weights).index(name)}", 0
        if kind == "output adjoint":
            at = int(name)
            return self._row(f"given{at}_", f"u->given{at} + t * u->given{at}_t + b * u->given{at}_b"), 0
        if kind == "next adjoint":
            at = list(eq.states).index(name)
            return self._row(f"later{at}_", f"later{at} + (b - b0) * PAD({width})"), 0
        group = next(i for i, g in enumerate(self.plan.groups) if str(g.node) == name)
        return self._row(f"pull{group}_", f"pull{group} + (b - b0) * PAD({width})"), 0

    # --- Sinks ----------------------------------------------------------------------------------------------------

    def _store(self, sink: Sink, at: str, length: str, mark: str = "") -> str:
        pointer, offset = self._place(sink)
        place, value = f"{pointer} + {offset} + {at}", self._name(sink.node, mark)
        adds = sink.kind in ("total", "constant") or (sink.kind == "state" and self._pulled_before(sink.name))
        if adds:
            value = f"load({place}, {length}) + {value}"
        return f"store({place}, {value}, {length});"

    def _pulled_before(self, state: str) -> bool:
        """Products add to the adjoints of states after region 1."""
        return self.region.level == 0 and any(run.node == self.plan.values[state] for run in self.plan.runs)

    def _place(self, sink: Sink) -> tuple[str, int]:
        plan, eq = self.plan, self.plan.equations
        match sink.kind:
            case "operand" | "carry":
                return self._scratch(sink), 0
            case "tape":
                return self._row("to_tape", "u->tape + (t * u->B + b) * u->tape_row"), sink.at
            case "next":
                at = list(eq.states).index(sink.name)
                return self._row(f"to_after{at}", f"after{at} + b * {plan.widths[sink.name]}"), 0
            case "output":
                return self._output(sink.at), 0
            case "adjoint":
                return self._row("to_adjoint", f"u->adjoints + (t * u->B + b) * {plan.columns_width}"), sink.at
            case "state":
                at = list(eq.states).index(sink.name)
                return self._row(f"to_earlier{at}", f"earlier{at} + (b - b0) * PAD({plan.widths[sink.name]})"), 0
            case "input":
                at = list(eq.inputs).index(sink.name)
                return self._row(f"to_input{at}", f"u->to_input{at} + (t * u->B + b) * {plan.widths[sink.name]}"), 0
            case "constant":
                at = list(eq.constants).index(sink.name)
                return self._row(f"to_constant{at}", f"u->to_constant{at} + b * {plan.widths[sink.name]}"), 0
        return self._row("to_totals", f"u->totals + tile * {plan.totals_width}"), sink.at
