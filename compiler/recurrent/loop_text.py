"""The loop of merged equations as Python source: a pass forward over all steps, and one backward.

What changes from step to step comes by `zip`, taken apart before the loop: views of buffers that hold all steps. What
leaves a step is written into such views. The text is:

    def forward(steps, keep, s_h, s_c, w0):
        for g0, g_i, g_f, g_o, to_h, to_c in steps:
            g0.addmm_(s_h, w0)
            ...
            keep((v_i, v_f, v_o))
            s_h, s_c = v_h1, v_c1

    def backward(steps, d_h, d_c, w0):
        for (v_i, v_f, v_o), dg0, to_i, to_f, to_o, y0 in steps:
            ...
        return d_h, d_c

with `g` of gates' columns, `w` of matrices, `s` of states, `v` of values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .derive import Backward, Pull, Sum, backward
from .equations import Assign, Number, Product
from .expressions import names
from .merge import Merged
from .operations import Operations


@dataclass(frozen=True)
class Loop:
    """Source of the two passes, and what they are given.

    forward(steps, keep, states…, sources…, within's matrices transposed…). steps: for each step views of the columns of
    the runs within, of `gates`, of `inputs`, of buffers of `tracked` values, of the next states, of the outputs
    `copies` (all others are next states), and the mask.
    backward(steps, full, adjoints of the last states…, sums of adjoints of `summed`…, sources…, within's matrices…).
    steps: what forward kept, views of the adjoints' columns of the runs within, of the adjoints of `moved` gates and
    inputs, adjoints of the outputs, the mask. full(width, number) makes a tensor. It returns adjoints of first states.
    idle: some gate has no adjoint, so that its columns must be zero before.
    """

    text: str
    merged: Merged
    masked: bool
    gates: tuple[str, ...]
    inputs: tuple[str, ...]
    tracked: tuple[str, ...]
    copies: tuple[int, ...]
    sources: tuple[str, ...]
    moved: tuple[str, ...]
    idle: bool
    summed: tuple[str, ...]


def loop(merged: Merged, masked: bool) -> Loop:
    """Raises Unsupported."""
    return _Writer(merged, masked).whole()


class _Writer:
    def __init__(self, merged: Merged, masked: bool) -> None:
        self.merged, self.masked, self.eq = merged, masked, merged.equations
        self.back: Backward = backward(self.eq)
        eq = self.eq
        self.columns = {gate.name for gate in merged.gates}
        steps = [step for step in eq.steps if isinstance(step, Assign)]
        self.values = {step.name: step.value for step in steps}
        read = {name for step in steps for name in names(step.value)}
        told = {*eq.next.values(), *eq.outputs, *(run.operand for run in merged.within)}
        self.gates = tuple(g.name for g in merged.gates if g.name in read | told)
        self.inputs = tuple(n for n in eq.inputs if n not in self.columns and n in read | told)
        self.sources = tuple(n for n in (*eq.constants, *_vectors(merged)) if n in read | told)
        self.tracked = tuple(
            dict.fromkeys(
                run.operand
                for run in merged.within
                if run.operand in self.values and (masked or run.operand not in eq.next.values())
            )
        )
        held = () if masked else eq.next.values()
        self.copies = tuple(i for i, name in enumerate(eq.outputs) if name not in held)

    def whole(self) -> Loop:
        lines = [*self._forward(), "", "", *self._backward()]
        return Loop(
            "\n".join(lines) + "\n",
            self.merged,
            self.masked,
            self.gates,
            self.inputs,
            self.tracked,
            self.copies,
            self.sources,
            self.moved,
            self.idle,
            self.summed,
        )

    def show(self, name: str) -> str:
        if name in self.eq.states:
            return f"s_{name}"
        if name in self.columns:
            return f"g_{name}"
        return f"v_{name}"

    # --- Forward ------------------------------------------------------------------------------------------------

    def _forward(self) -> list[str]:
        eq, states = self.eq, list(self.eq.states)
        runs = self.merged.within
        steps = [f"g{i}" for i in range(len(runs))]
        steps += [self.show(name) for name in (*self.gates, *self.inputs)]
        steps += [f"to_{name}" for name in (*self.tracked, *states)] + [f"out{i}" for i in self.copies]
        steps += ["mask"] if self.masked else []
        given = [*map(self.show, (*states, *self.sources)), *(f"w{i}" for i in range(len(runs)))]
        lines = [f"def forward({', '.join(['steps', 'keep', *given])}):", f"    for {_tuple(steps)} in steps:"]
        body = Operations(self.values, self.show)
        self._multiply(body, [*states, *(name for name in eq.inputs if name in self.columns)])
        placed = self._places()
        for step in eq.steps:
            if isinstance(step, Assign):
                target = placed.pop(step.name, None)
                body.assign(self.show(step.name), step.value, target)
            self._multiply(body, [step.name])
        body.lines += self._leave(placed)
        body.lines.append(f"keep({_tuple(self.show(name) for name in self._kept())})")
        after = [f"to_{state}" for state in states]
        body.lines += [f"{', '.join(map(self.show, states))} = {', '.join(after)}"] if states else []
        return lines + [f"        {line}" for line in body.lines]

    def _multiply(self, body: Operations, known: Iterable[str]) -> None:
        """Adds what gates take from vectors that are complete."""
        for name in known:
            runs = [i for i, run in enumerate(self.merged.within) if run.operand == name]
            body.lines += [f"g{i}.addmm_({self.show(name)}, w{i})" for i in runs]

    def _places(self) -> dict[str, str]:
        """Values that are computed in the memory where they are wanted."""
        eq = self.eq
        found = {name: f"out{i}" for i, name in enumerate(eq.outputs) if i in self.copies}
        found |= {name: f"to_{name}" for name in self.tracked}
        if not self.masked:
            found |= {name: f"to_{state}" for state, name in eq.next.items()}
        return {name: place for name, place in found.items() if name in self.values}

    def _leave(self, placed: dict[str, str]) -> list[str]:
        """What leaves the step, where it was not computed in place."""
        assert not placed
        done, eq = set(self._places().items()), self.eq
        lines = []
        for state, name in eq.next.items():
            if self.masked:
                lines.append(f"torch.where(mask, {self.show(name)}, s_{state}, out=to_{state})")
            elif (name, f"to_{state}") not in done:
                lines.append(f"to_{state}.copy_({self.show(name)})")
        wanted = [(name, f"to_{name}") for name in self.tracked] + [(eq.outputs[i], f"out{i}") for i in self.copies]
        return lines + [f"{place}.copy_({self.show(name)})" for name, place in wanted if (name, place) not in done]

    def _kept(self) -> list[str]:
        """What the backward pass reads, step by step."""
        read = {name for step in self.back.steps if isinstance(step, Assign) for name in names(step.value)}
        return [name for name in self.back.kept if name in read and name not in self.sources]

    # --- Backward -----------------------------------------------------------------------------------------------

    def _backward(self) -> list[str]:
        back, states = self.back, list(self.eq.states)
        runs = range(len(self.merged.within))
        adjoint = {one.weight.removesuffix(" weight"): one.adjoint for one in back.outer}
        found = {gate.name: adjoint.get(gate.name, back.adjoints.get(gate.name)) for gate in self.merged.gates}
        self.idle = None in found.values()
        inputs = {name: back.adjoints.get(name) for name in self.inputs}
        wanted = {name: d for name, d in (found | inputs).items() if d is not None}
        self.moved = tuple(wanted)
        sums = {name: back.adjoints[name] for name in self.sources}
        self.summed = tuple(name for name, d in sums.items() if d is not None)
        kept = _tuple(self.show(name) for name in self._kept())
        steps = [kept, *(f"g{i}" for i in runs), *(f"to_{name}" for name in wanted)]
        steps += [*self._given(back.outputs), *(["mask"] if self.masked else [])]
        given = [*(f"n_{s}" for s in states), *(f"sum_{n}" for n in self.summed), *map(self.show, self.sources)]
        given += [f"w{i}" for i in runs]
        lines = [f"def backward({', '.join(['steps', 'full', *given])}):", f"    for {_tuple(steps)} in steps:"]
        lines += [f"        {line}" for line in self._pulled(wanted, sums)]
        return [*lines, f"    return {_tuple(f'n_{s}' for s in states)}"]

    def _given(self, outputs: Iterable[str]) -> list[str]:
        return [f"v_{name}" for name in outputs]

    def _pulled(self, wanted: dict[str, str], sums: dict[str, str | None]) -> list[str]:
        back = self.back
        values = {s.name: s.value for s in back.steps if isinstance(s, Assign)}
        body = Operations(self.values | values, self.show)
        for state, name in back.next.items():
            value = f"torch.where(mask, n_{state}, 0)" if self.masked else f"n_{state}"
            body.lines.append(f"v_{name} = {value}")
        places: dict[str, list[str]] = {}
        for name, d in wanted.items():
            places.setdefault(d, []).append(f"to_{name}")
        computed = {step.name for step in back.steps}
        for d in [d for d in places if d not in computed]:
            body.lines += [f"{place}.copy_(v_{d})" for place in places.pop(d)]
        for step in back.steps:
            self._adjoint(body, step, places.get(step.name, []))
        body.lines += [f"sum_{name}.add_(v_{d})" for name, d in sums.items() if d is not None]
        return body.lines + self._before()

    def _adjoint(self, body: Operations, step: Assign | Pull | Sum, places: list[str]) -> None:
        variable, width = f"v_{step.name}", self.back.widths[step.name]
        if isinstance(step, Assign) and isinstance(step.value, Number):
            body.lines.append(f"{variable} = full({width}, {step.value.value!r})")
        elif isinstance(step, Assign):
            body.assign(variable, step.value, places[0] if places else None)
            places = places[1:]
        elif isinstance(step, Pull):
            body.lines += self._pull(variable, step)
        else:
            body.lines.append(f"{variable} = v_{step.of}.sum(-1, keepdim=True)")
        body.lines += [f"{place}.copy_({variable})" for place in places]

    def _pull(self, variable: str, step: Pull) -> list[str]:
        term = step.terms[0]
        product = next(p for p in self.eq.steps if isinstance(p, Product) and p.weight == term.weight)
        ends, first = {}, 0
        widths = self.eq.widths
        for name in product.operands:
            ends[first, first + widths[name]] = name
            first += widths[name]
        vector = ends[term.columns]
        lines: list[str] = []
        for i, run in enumerate(self.merged.within):
            if run.operand == vector:
                lines.append(f"{variable}.addmm_(g{i}, w{i})" if lines else f"{variable} = torch.mm(g{i}, w{i})")
        return lines

    def _before(self) -> list[str]:
        """The adjoints of the states before the step."""
        lines = []
        for state, given in self.back.next.items():
            d = self.back.adjoints[state]
            value = f"torch.zeros_like(n_{state})" if d is None else f"v_{d}"
            lines.append(f"b_{state} = {value} + (n_{state} - v_{given})" if self.masked else f"b_{state} = {value}")
        lines += [f"n_{state} = b_{state}" for state in self.eq.states]
        return lines


def _vectors(merged: Merged) -> list[str]:
    return [name for name, shape in merged.equations.weights.items() if len(shape) == 1]


def _tuple(names: Iterable[str]) -> str:
    return "(" + "".join(f"{name}, " for name in names).rstrip(" ") + ")"
