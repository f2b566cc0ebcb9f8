"""A recurrence as Triton, for GPUs, in two forms.

- Fused: one program walks all steps for some rows of the batch. Weights of products in the loop are loaded once, before
  it, and stay on the chip, as do states and their adjoints. For cells whose weights fit (`chip_bytes`).
- Step by step: products are left to the caller's library; kernels compute the pointwise regions of a step between them.

Sequences lie as [T, B, n], each in memory without gaps. Kernels compute in single precision, whatever type tensors are
of. They take tensors, by name in the order in which `Kernel` tells them, then numbers. Of a training pass they fill
the tape; products that left the loop are on it already.

Names of tensors: tape, mask [T, B] (bytes), input·, constant·, state· [T + 1, B, n] with the first (or, reversed, the
last) row filled, weight·, output·; step by step group· [B, rows] (results of products), operand·, carry· [B, n].
Backward: given· (gradients of outputs, how far its rows lie apart among the numbers: 0 where all are the same), last·,
first· (adjoints of states after the walk, before it), adjoints, to_input·, to_constant·, totals; step by step also
pull· [B, n] (what a product adds to the adjoint of its operand), later·, earlier·, later_pull· of states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .flat import Node
from .plan import Group, Plan, Region, Sink
from .triton_tiles import FUNCTIONS, Tiles, padded

WIDE = 128
"""Columns of a vector that one program of a pointwise kernel has, where columns do not depend on each other."""


@dataclass(frozen=True)
class Kernel:
    """A function of the source. numbers: what follows tensors; then BB, the rows of a program, and of fused kernels
    PRECISION, that of products. columns: programs per row."""

    name: str
    tensors: tuple[str, ...]
    numbers: tuple[str, ...]
    columns: int = 1
    widest: int = 1


@dataclass(frozen=True)
class Source:
    """text: the source. kernels: by name; `infer`, `train` and `back`, followed by the number of a region where they
    are those of steps."""

    text: str
    kernels: dict[str, Kernel]


def fused(plan: Plan, masked: bool, reverse: bool) -> Source:
    """Kernels that walk all steps."""
    texts = [_FusedForward(plan, masked, reverse, training) for training in (False, True)]
    return _source([*texts, _FusedBackward(plan, masked, reverse)])


def steps(plan: Plan, masked: bool, reverse: bool) -> Source:
    """Kernels of the regions of a step."""
    found: list[_Text] = [_StepForward(plan, masked, reverse, "infer", region) for region in plan.inference]
    found += [_StepForward(plan, masked, reverse, "train", region) for region in plan.training]
    found += [_StepBackward(plan, masked, reverse, region) for region in backward_regions(plan)]
    return _source(found)


def backward_regions(plan: Plan) -> tuple[Region, ...]:
    """Those of the plan; the last one leaves also zeros for states that only products read."""
    read = {sink.name for region in plan.backward for sink in region.sinks if sink.kind == "state"}
    missing = [name for name in plan.equations.states if name not in read]
    zeros = tuple(Sink(plan.flat.number(0.0), "state", name, 0, plan.widths[name]) for name in missing)
    *front, last = plan.backward or (Region(0, (), {}),)
    return (*front, Region(last.level, last.sinks + zeros, last.places))


def chip_bytes(plan: Plan, size: int, rows: int) -> int:
    """What a fused kernel keeps on the chip, about: weights whose elements have `size` bytes, and operands of
    products of `rows` rows."""
    total = 0
    for group in plan.groups:
        width = padded(plan.flat.widths[group.node])
        total += sum(width * padded(plan.widths[name]) * size for name, _ in group.products) + 2 * rows * width * size
    return total


def _source(texts: Iterable[_Text]) -> Source:
    parts, kernels = [FUNCTIONS], {}
    for one in texts:
        kernel, lines = one.whole()
        kernels[kernel.name] = kernel
        parts.append("\n".join(lines) + "\n")
    return Source("\n\n".join(parts), kernels)


class _Text(Tiles):
    """A kernel: what fused ones and those of steps have in common."""

    def __init__(self, name: str, plan: Plan, masked: bool, reverse: bool, tape: int, backward: bool) -> None:
        super().__init__(plan, masked, backward, tape)
        self.name, self.reverse, self.backward = name, reverse, backward
        self.states = list(plan.equations.states.items())

    def _signature(self, numbers: list[str], constants: list[str]) -> list[str]:
        arguments = ", ".join([*self.arguments, *numbers, *(f"{name}: tl.constexpr" for name in constants)])
        return [f"def {self.name}({arguments}):"]

    def _opening(self, block: int = 0) -> list[str]:
        """Which rows and columns a program has. block: columns, where not all of them."""
        lines = ["rows = (tl.program_id(0) * BB + tl.arange(0, BB))[:, None].to(tl.int64)", "here = rows < B"]
        for width in sorted(self.columns):
            if block:
                lines.append(f"j{width} = tl.program_id(1) * {block} + tl.arange(0, {block})[None, :]")
            else:
                lines.append(f"j{width} = tl.arange(0, {padded(width)})[None, :]")
            lines.append(f"m{width} = here & (j{width} < {width})")
        return lines

    def _moved(self) -> list[str]:
        """Where in sequences of states a step reads and writes."""
        before, after = ("place + B", "place") if self.reverse else ("place", "place + B")
        return [f"before = {before}", f"after = {after}"]

    def _strides(self) -> list[str]:
        return [f"{name}_row" for name in self.arguments if name.startswith("given")]

    def _barrier(self) -> list[str]:
        # What is kept may take the place of what was read: all threads have read it then.
        return [] if self.backward or not self.tape else ["tl.debug_barrier()"]

    def whole(self) -> tuple[Kernel, list[str]]:
        raise NotImplementedError


def _indented(lines: Iterable[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]


# --- Fused --------------------------------------------------------------------------------------------------------


class _Fused(_Text):
    """What both passes of the fused form have in common."""

    def __init__(self, name: str, plan: Plan, masked: bool, reverse: bool, tape: int, backward: bool) -> None:
        super().__init__(name, plan, masked, reverse, tape, backward)
        self.cast: dict[tuple[str, int, str], str] = {}

    def constant(self, at: int, width: int) -> str:
        line = f"constant{at}_ = {super().constant(at, width)}"
        if line not in self.once:
            self.once.append(line)
        return f"constant{at}_"

    def weight(self, group: int, at: int) -> tuple[str, str]:
        """The tile of what a product multiplies a vector with, and the tensor that it is of."""
        of = self.plan.groups[group]
        product, first = of.products[at]
        step, rows, width = self.plan.products[product], self.plan.widths[product], self.plan.flat.widths[of.node]
        weights = self.plan.equations.weights
        tensor, stride = self.tensor(f"weight{list(weights).index(step.weight)}"), weights[step.weight][1]
        offset = (step.rows or (0, 0))[0] * stride + first
        variable = f"w{group}_{at}"
        self.once.append(f"{variable} = {self._weight(tensor, offset, stride, rows, width)}")
        return variable, tensor

    def _weight(self, tensor: str, offset: int, stride: int, rows: int, width: int) -> str:
        """Of the forward pass [width, rows], of the backward pass [rows, width]; one row where one of them is 1."""
        terms, inside = [f"{tensor} + {offset}"], []
        along = rows > 1 and width > 1
        for size, step, down in ((rows, stride, self.backward), (width, 1, not self.backward)):
            if size > 1:
                self.column(size)
                index = f"tl.trans(j{size})" if along and down else f"j{size}"
                terms.append(f"{index} * {step}")
                inside.append(f"({index} < {size})")
        more = f", mask={' & '.join(inside)}, other=0.0" if inside else ""
        return f"tl.load({' + '.join(terms)}{more})" + ("" if along else ".to(tl.float32)")

    def multiplied(self, value: str, inner: int, outer: int, weight: tuple[str, str]) -> str:
        """A tile with `inner` columns times a weight."""
        variable, tensor = weight
        if inner == 1:
            return f"{value} * {variable}"
        if outer == 1:
            return f"tl.sum({self.clean(value, inner)} * {variable}, 1, keep_dims=True)"
        operand = self.operand(value, inner, tensor)
        return f"tl.dot({operand}, {variable}, input_precision=PRECISION)"

    def operand(self, value: str, width: int, tensor: str) -> str:
        key = (value, width, tensor)
        if key not in self.cast:
            self.cast[key] = f"a{len(self.cast)}"
            clean = self.clean(self.wide(value, width), width)
            self.body.append(f"{self.cast[key]} = {clean}.to({tensor}.dtype.element_ty)")
        return self.cast[key]

    def _loop(self, opening: list[str], closing: list[str], forward: bool) -> tuple[Kernel, list[str]]:
        """The kernel around the lines of a step."""
        numbers = [*self._strides(), "T", "B"]
        first, move = ("rows", "+") if forward != self.reverse else ("rows + (T - 1) * B", "-")
        step = [*self._moved(), *self.loads, *self.body, *self._barrier(), *self.stores, f"place = place {move} B"]
        lines = [*self._opening(), *self.once, f"place = {first}", *opening]
        lines += ["for step in range(T):", *_indented(step), *closing]
        head = ["@triton.jit", *self._signature(numbers, ["BB", "PRECISION"])]
        widest = max(map(padded, self.columns), default=1)
        return Kernel(self.name, tuple(self.arguments), tuple(numbers), 1, widest), [*head, *_indented(lines)]


class _FusedForward(_Fused):
    def __init__(self, plan: Plan, masked: bool, reverse: bool, training: bool) -> None:
        tape = plan.tape_width if training else plan.before_width
        super().__init__("train" if training else "infer", plan, masked, reverse, tape, False)
        self.regions = plan.training if training else plan.inference

    def state(self, at: int, width: int) -> str:
        return f"state{at}_"

    def product(self, name: str) -> str:
        parts = []
        for number, group in enumerate(self.plan.groups):
            for at, (product, _) in enumerate(group.products):
                if product == name:
                    widths = self.flat.widths[group.node], self.plan.widths[name]
                    parts.append(self.multiplied(self.names[group.node], *widths, self.weight(number, at)))
        return " + ".join([*self.before(name), *parts])

    def _needed(self, sinks: Iterable[Sink]) -> list[Node]:
        """What sinks need, through products."""
        found: set[Node] = set()
        waiting = [sink.node for sink in sinks]
        while waiting:
            fresh = set(self.flat.under(waiting)) - found
            found |= fresh
            products = {self.flat.names[node] for node in fresh if self.flat.kinds[node] == "product"}
            waiting = [g.node for g in self.plan.groups if any(name in products for name, _ in g.products)]
            waiting = [node for node in waiting if node not in found]
        return sorted(found)

    def whole(self) -> tuple[Kernel, list[str]]:
        sinks = [s for region in self.regions for s in region.sinks if s.kind in ("tape", "next", "output")]
        self.compute(self._needed(sinks))
        following, opening = {s.name: s.node for s in sinks if s.kind == "next"}, []
        for at, (name, width) in enumerate(self.states):
            begun = self.load(f"state{at}", "before", width, width)
            opening.append(f"state{at}_ = {begun}")
            value = self.masked_value(self.wide(self.names[following[name]], width), f"state{at}_")
            self.body.append(f"next{at} = {value}")
            self.store(f"next{at}", f"state{at}", "after", width, width)
        for sink in sinks:
            self.leave(sink)
        self.stores += [f"state{at}_ = next{at}" for at in range(len(self.states))]
        return self._loop([*self._moved(), *opening], [], True)


class _FusedBackward(_Fused):
    def __init__(self, plan: Plan, masked: bool, reverse: bool) -> None:
        super().__init__("back", plan, masked, reverse, plan.tape_width, True)
        self.opening: list[str] = []
        self.closing: list[str] = []

    def later(self, at: int, width: int) -> str:
        return f"later{at}_"

    def whole(self) -> tuple[Kernel, list[str]]:
        plan = self.plan
        regions = {region.level: region for region in backward_regions(plan)}
        pulls: dict[Node, str] = {}
        for level in range(plan.last, -1, -1):
            if level in regions:
                sinks = regions[level].sinks
                self.compute(self.flat.under((sink.node for sink in sinks), self.stop))
            for number, group in enumerate(plan.groups):
                if group.stage == level:
                    pulls[group.node] = self._pull(number, group)
        for region in regions.values():
            for sink in region.sinks:
                self._sink(sink, pulls)
        for at, (_, width) in enumerate(self.states):
            self.opening.append(f"later{at}_ = {self.load(f'last{at}', 'rows', width, width)}")
            self.stores.append(f"later{at}_ = earlier{at}")
            end = self.address(f"first{at}", "rows", width, width)
            self.closing.append(f"tl.store({end}, later{at}_, mask={self.inside(width)})")
        return self._loop(self.opening, self.closing, False)

    def _pull(self, number: int, group: Group) -> str:
        """What products add to the adjoint of their operand."""
        plan, width, parts = self.plan, self.flat.widths[group.node], []
        for at, (name, _) in enumerate(group.products):
            if name in plan.columns:
                adjoint = self.names[plan.adjoints[plan.values[name]]]
                adjoint = (
                    adjoint if plan.widths[name] == 1 else self.masked_value(self.wide(adjoint, plan.widths[name]))
                )
                parts.append(self.multiplied(adjoint, plan.widths[name], width, self.weight(number, at)))
        self.body.append(f"pull{number}_ = {' + '.join(parts) or 'tl.zeros([1, 1], tl.float32)'}")
        leaf = self.flat.leaf("pull", str(group.node), width)
        self.names[leaf] = f"pull{number}_"
        return f"pull{number}_"

    def _sink(self, sink: Sink, pulls: dict[Node, str]) -> None:
        value, width = self.names[sink.node], sink.width
        if sink.kind == "state":
            at = list(self.plan.equations.states).index(sink.name)
            pull = pulls.get(self.plan.values[sink.name])
            value = self.wide(value if pull is None else f"{value} + {pull}", width)
            self.body.append(f"earlier{at} = {self.masked_value(value, f'later{at}_')}")
        elif sink.kind == "constant":
            at = list(self.plan.equations.constants).index(sink.name)
            self._summed(f"sum_constant{at}", value, f"to_constant{at}", width, width, 0)
        elif sink.kind == "total" and sink.name in self.plan.equations.weights:
            self._summed(f"total{sink.at}", value, "totals", self.plan.totals_width, width, sink.at)
        else:
            self.leave(sink)

    def _summed(self, variable: str, value: str, tensor: str, stride: int, width: int, offset: int) -> None:
        """A sum over steps."""
        self.opening.append(f"{variable} = tl.zeros([BB, {padded(width)}], tl.float32)")
        self.stores.append(f"{variable} = {variable} + {self.masked_value(self.wide(value, width))}")
        end = self.address(tensor, "rows", stride, width, offset)
        self.closing.append(f"tl.store({end}, {variable}, mask={self.inside(width)})")


# --- Step by step -------------------------------------------------------------------------------------------------


class _Step(_Text):
    """A region of a step."""

    def _one(self, region: Region, nodes: Iterable[Node]) -> tuple[Kernel, list[str]]:
        width = self._split(region, nodes)
        block = min(WIDE, padded(width)) if width else 0
        numbers = [*self._strides(), "at", "B"]
        lines = [*self._opening(block), *self.once, "place = rows + at", *self._moved()]
        lines += [*self.loads, *self.body, *self._barrier(), *self.stores]
        head = ["@triton.jit(do_not_specialize=['at'])", *self._signature(numbers, ["BB"])]
        columns = -(-width // block) if block else 1
        widest = block or max(map(padded, self.columns), default=1)
        return Kernel(self.name, tuple(self.arguments), tuple(numbers), columns, widest), [*head, *_indented(lines)]

    def _split(self, region: Region, nodes: Iterable[Node]) -> int:
        """The width of all that is there, if programs can share it column by column: nothing is summed over a vector,
        and no element is left by several programs."""
        narrow = any(max(sink.width, self.flat.widths[sink.node]) == 1 for sink in region.sinks)
        narrow |= any(sink.kind == "state" and sink.width == 1 for sink in region.sinks)
        summed = any(self.flat.kinds[node] == "sum" for node in nodes)
        return next(iter(self.columns)) if len(self.columns) == 1 and not narrow and not summed else 0


class _StepForward(_Step):
    def __init__(self, plan: Plan, masked: bool, reverse: bool, kind: str, region: Region) -> None:
        tape = plan.tape_width if kind == "train" else plan.before_width
        super().__init__(f"{kind}{region.level}", plan, masked, reverse, tape, False)
        self.region = region
        self.stop = frozenset(region.places)

    def kept(self, node: Node) -> str:
        """What a region before has left."""
        sink, width = self.region.places[node], self.flat.widths[node]
        match sink.kind:
            case "tape":
                return self.load("tape", "place", self.tape, width, sink.at)
            case "next":
                at = list(self.plan.equations.states).index(sink.name)
                return self.load(f"state{at}", "after", width, width)
            case "output":
                return self.load(f"output{sink.at}", "place", width, width)
        return self.load(f"{sink.kind}{sink.at}", "rows", width, width)

    def product(self, name: str) -> str:
        plan, parts = self.plan, []
        width = plan.widths[name]
        for number, group in enumerate(plan.groups):
            column, total = 0, sum(plan.widths[other] for other, _ in group.products)
            for other, _ in group.products:
                if other == name:
                    parts.append(f"group{number}_{column}")
                    self.loads.append(f"{parts[-1]} = {self.load(f'group{number}', 'rows', total, width, column)}")
                column += plan.widths[other]
        return " + ".join([*self.before(name), *parts])

    def whole(self) -> tuple[Kernel, list[str]]:
        plan, sinks = self.plan, self.region.sinks
        nodes = self.flat.under((sink.node for sink in sinks), self.stop)
        self.compute(nodes)
        for sink in sinks:
            value, width = self.names[sink.node], self.flat.widths[sink.node]
            if sink.kind == "next":
                at, width = list(plan.equations.states).index(sink.name), plan.widths[sink.name]
                if self.masked:
                    self.loads.append(f"old{at} = {self.state(at, width)}")
                self.store(self.masked_value(value, f"old{at}"), f"state{at}", "after", width, width)
            elif sink.kind in ("operand", "carry"):
                self.store(value, f"{sink.kind}{sink.at}", "rows", width, width)
            else:
                self.leave(sink)
        return self._one(self.region, nodes)


class _StepBackward(_Step):
    def __init__(self, plan: Plan, masked: bool, reverse: bool, region: Region) -> None:
        super().__init__(f"back{region.level}", plan, masked, reverse, plan.tape_width, True)
        self.region = region
        self.pulled = {run.node for run in plan.runs}

    def later(self, at: int, width: int) -> str:
        """The adjoint after the step, which the kernels of the step after have left in two parts."""
        name, variable = self.states[at][0], f"later{at}_"
        if not any(line.startswith(f"{variable} = ") for line in self.loads):
            text = self.load(f"later{at}", "rows", width, width)
            if self.plan.values[name] in self.pulled:
                text += f" + {self.load(f'later_pull{at}', 'rows', width, width)}"
            self.loads.append(f"{variable} = {text}")
        return variable

    def leaf(self, node: Node) -> str:
        if self.flat.kinds[node] != "pull":
            return super().leaf(node)
        number = next(i for i, g in enumerate(self.plan.groups) if str(g.node) == self.flat.names[node])
        return self.load(f"pull{number}", "rows", self.flat.widths[node], self.flat.widths[node])

    def _compute(self, node: Node) -> str:
        if self.flat.kinds[node] != "pull":
            return super()._compute(node)
        self.loads.append(f"v{node} = {self.leaf(node)}")
        return f"v{node}"

    def whole(self) -> tuple[Kernel, list[str]]:
        nodes = self.flat.under((sink.node for sink in self.region.sinks), self.stop)
        self.compute(nodes)
        for sink in self.region.sinks:
            self._sink(sink)
        return self._one(self.region, nodes)

    def _sink(self, sink: Sink) -> None:
        value, width, eq = self.names[sink.node], sink.width, self.plan.equations
        if sink.kind == "state":
            at = list(eq.states).index(sink.name)
            if self.masked:
                value = self.masked_value(value, self.later(at, width))
            self.store(value, f"earlier{at}", "rows", width, width)
        elif sink.kind == "constant":
            at = list(eq.constants).index(sink.name)
            self._summed(value, f"to_constant{at}", width, width, 0)
        elif sink.kind == "total" and sink.name in eq.weights:
            self._summed(value, "totals", self.plan.totals_width, width, sink.at)
        elif sink.kind != "total":
            self.leave(sink)

    def _summed(self, value: str, tensor: str, stride: int, width: int, offset: int) -> None:
        before = self.load(tensor, "rows", stride, width, offset)
        self.store(f"{before} + {self.masked_value(value)}", tensor, "rows", stride, width, offset)
