"""Statements of cells: states, their next values; and gates, which may stand anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from ..diagnostics import ArchError, Label, error
from ..graph import EdgeKind, Gated, Kind, Node, Ref
from ..source import Span
from ..syntax import ast
from ..types import TensorType
from .gating import mark_gates
from .scope import ScopeEvaluator
from .trees import walk
from .values import POISON, Poisoned, Tensor, show


class CellBody(ScopeEvaluator):
    """What a body knows of states."""

    _operand_types: dict[int, TensorType]  # of what enters, by statement
    _following: dict[str, Tensor]  # next values of states
    failed: bool  # some statement could not be run; its error is in the sink

    def state(self, s: ast.StateStmt) -> None:
        if self.graph.kind != "cell":
            raise misplaced_state(self.graph.name, self.graph.kind, s.span)
        name = s.name.text
        if name in self.names:
            known = self.names[name]
            labels = [Label(known.span, "first here")] if isinstance(known, Tensor) else []
            raise error("A0202", f"`{name}` is declared twice", s.name.span, labels=labels)
        given = self._operand_types.get(id(s))
        what = f"state `{s.name.text}` of `{self.graph.name}`"
        type_ = self.declared(s.shape, fresh=False) if given is None else self.ascribe(s.shape, given, s.span, what)
        number = self.add(Node(Kind.INPUT, (type_,), name=name, span=s.span))
        self.names[name] = Tensor(Ref(number), type_, s.span, id(self.graph))
        self.graph.states += (name,)

    def next(self, s: ast.BindStmt) -> None:
        target, name = s.targets[0], s.targets[0].text
        if self.names.get(name) is POISON:
            raise Poisoned
        if name not in self.graph.states:
            raise no_such_state(target, self.graph.states)
        if name in self._following:
            where = self._following[name].span
            raise error(
                "A0202",
                f"`{name}` is given its next value twice",
                s.span,
                labels=[Label(where, "first here")],
                help=f"other names may be bound again: work it out under one of these, and end with one `{name}' = …`",
            )
        x = self.tensor(self.eval(s.value), s.value.span)
        state = next(self.graph[n] for n in self.graph.inputs if self.graph[n].name == name)
        if not self._like_state(x.type, state.types[0], name, s.value.span):
            raise error(
                "A0532",
                f"`{name}` is {state.types[0]}, and its next value would be {x.type}",
                s.value.span,
                labels=[Label(state.span, "declared here")] if state.span else [],
                help="a state keeps its shape from step to step",
            )
        self.bind(f"{name}'", x, target.span)
        self._following[name] = replace(x, span=s.span)

    def _like_state(self, found: TensorType, wanted: TensorType, name: str, span: Span) -> bool:
        if found.rank != wanted.rank or found.dtype != wanted.dtype:
            return False
        return all(
            self.agree(left, right, f"the next value of `{name}` has {left} where the state has {right}", span)
            for left, right in zip(found.shape, wanted.shape, strict=True)
        )

    def close_cell(self, item: ast.Definition) -> None:
        """The next values leave after the outputs, in the order of the states, which enter after the inputs."""
        graph = self.graph
        if not graph.states and not self.failed:
            self.failed = True
            self.session.sink.extend(no_state(item))
        states = [n for n in graph.inputs if graph[n].name in graph.states]
        graph.inputs[:] = [n for n in graph.inputs if n not in states] + states
        for name, number in zip(graph.states, states, strict=True):
            following = self._following.get(name)
            if following is None:
                if not self.failed or name not in self._failed_next(item):
                    span = graph[number].span
                    assert span is not None
                    self.session.sink.extend(never_next(name, span))
                self.failed = True
                continue
            type_ = graph[number].types[0]
            self.add(
                Node(Kind.OUTPUT, (type_,), name=f"{name}'", span=following.span), [following.ref], [EdgeKind.STATE]
            )

    @staticmethod
    def _failed_next(item: ast.Definition) -> set[str]:
        return {t.text for s in walk(item.body) if isinstance(s, ast.BindStmt) for t in s.targets if t.primed}

    def gate(self, s: ast.GateStmt) -> None:
        lo, hi = self._gate_bounds(s)
        x = self.tensor(self.eval(s.value), s.value.span)
        self.bind(s.name.text, x, s.name.span)
        self.graph.gates.append(Gated(s.name.text, x.ref, lo, hi, s.span))

    def close_gates(self) -> None:
        """What is called a gate must be a factor of something, which shows once the body is complete."""
        if self.graph.gates and not self.failed:
            for diagnostic in mark_gates(self.graph):
                self.failed = True
                self.session.sink.add(diagnostic)

    def _gate_bounds(self, s: ast.GateStmt) -> tuple[float, float]:
        if s.bounds is None:
            return 0.0, 1.0
        bounds = self.eval(s.bounds)
        numbers = isinstance(bounds, tuple) and len(bounds) == 2 and all(type(b) in (int, float) for b in bounds)
        if not numbers or not -inf < bounds[0] < bounds[1] < inf:
            raise error(
                "A0543",
                f"a gate lies between two numbers, found {show(bounds)}",
                s.bounds.span,
                help="write `gate g in [-1, 1] = …`, the smaller one first",
            )
        return float(bounds[0]), float(bounds[1])


def misplaced_state(name: str, kind: str, span: Span) -> ArchError:
    return error(
        "A0530",
        f"a state belongs to a cell, and `{name}` is a {kind}",
        span,
        help="declare what has a state as `cell`, and run it along an axis: `x -> scan Cell(…) over T`",
    )


def no_state(item: ast.Definition) -> ArchError:
    help = "a cell passes something on: `state h: [B, hidden]`; without one it is a `block`"
    return error("A0531", f"cell `{item.name.text}` has no state", item.name.span, help=help)


def never_next(name: str, span: Span) -> ArchError:
    help = f"say what it becomes: `{name}' = …`; with `{name}' = {name}` it stays as it is"
    return error("A0531", f"state `{name}` is never given a next value", span, help=help)


def no_such_state(target: ast.Ident, states: Iterable[str]) -> ArchError:
    name, known = target.text, ", ".join(f"`{n}`" for n in states)
    return error(
        "A0533",
        f"`{name}` is no state, and has no next value",
        target.span,
        help=f"the states here: {known}" if known else f"declare it first: `state {name}: [B, …]`",
    )
