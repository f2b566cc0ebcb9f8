"""Which layer made the first value that is infinite or not a number, in the forward pass or among the gradients.

Values are followed backwards from the first that must be finite (a loss, a weight's gradient): infinities are no fault
where a mask wrote them on purpose, and most of what a fault touches comes after it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .observer import Function, Observer, Range, Spot, tensors


@dataclass
class Source:
    """A tensor that a function took: what it held, which event made it (None: none that was seen), and its key where
    it is one of the module's own."""

    held: Range
    event: int | None
    key: str | None


@dataclass
class Event:
    """One function that ran. scalars: numbers that it was given. finite: whether the gradients that reached each of
    its results were, where any did."""

    spot: Spot
    sources: list[Source]
    made: Range
    scalars: tuple[float, ...]
    finite: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """What made the first value that is not finite. gradient: it was the function's derivative. weights: keys of
    tensors of the module that were not finite already; data: an input was not; updated: keys of parameters that an
    update of the optimizer made so, and no function of the network."""

    spot: Spot
    sources: tuple[Range, ...]
    made: Range
    scalars: tuple[float, ...] = ()
    gradient: bool = False
    weights: tuple[str, ...] = ()
    data: bool = False
    updated: tuple[str, ...] = ()

    @staticmethod
    def of_update(keys: tuple[str, ...]) -> Fault:
        """An update that made these parameters infinite or NaN."""
        nothing = Range(float("nan"), float("nan"), 0, 0, 0)
        return Fault(Spot("step", ""), (), nothing, updated=keys)


class Tracer(Observer):
    """Writes down every function with what it took and made: the forward pass of one batch, and with `backward` the
    gradients that come back. Slow: it waits for the device at each function."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.module = module
        self.events: list[Event] = []
        self._makers: dict[int, tuple[Any, int]] = {}
        self._losses: list[Tensor] = []
        self._buffers = {key for key, _ in module.named_buffers()}  # some are masks
        self._keys = {id(t): key for key, t in module.state_dict(keep_vars=True).items()}
        self._reached: dict[str, list[Tensor]] = {}  # by parameter: whether its gradients were finite
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for key, p in self.module.named_parameters():
            if p.requires_grad:  # not what `p.grad` holds then: processes take a mean of that
                self._hooks.append(p.register_hook(partial(_arrived, self._reached.setdefault(key, []))))
        super().__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        while self._hooks:
            self._hooks.pop().remove()

    def wants(self, function: Function) -> bool:
        return getattr(function, "__name__", "") != "__get__"

    def ran(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function is Tensor.backward:
            self._losses.append(args[0])
            return function(*args, **kwargs)
        given = list(tensors([args, kwargs]))
        sources = [Source(Range.of(t), self._maker(t), self._keys.get(id(t))) for t in given]
        result = function(*args, **kwargs)
        made = list(tensors(result)) or (given[:1] if result is None else [])  # `x[i] = y` returns nothing
        if made:
            scalars = tuple(
                float(a) for a in (*args, *kwargs.values()) if isinstance(a, (int, float)) and not isinstance(a, bool)
            )
            event = Event(self.spot(function), sources, _joint([Range.of(t) for t in made]), scalars)
            for t in made:
                self._makers[id(t)] = weakref.ref(t), len(self.events)
                if t.requires_grad and not t.is_leaf:
                    t.register_hook(partial(_arrived, event.finite))
            self.events.append(event)
        return result

    def _maker(self, value: Tensor) -> int | None:
        known, event = self._makers.get(id(value), (None, None))
        return event if known is not None and known() is value else None

    def fault(self, *values: Tensor) -> Fault | None:
        """Where the first of these values that is not finite came from, or of what was differentiated; failing that,
        where a weight's gradient that is not finite did. None where all is finite, or its origin was not seen."""
        for value in (*values, *self._losses):
            start = self._maker(value)
            if start is not None and not bool(torch.isfinite(value.detach()).all()):
                return self._forward(start)
        return self._backward()

    # -- values

    def _forward(self, at: int) -> Fault:
        """Follows values back from an event that made one that is not finite. Each step is to an earlier event."""
        while True:
            event = self.events[at]
            suspect = self._suspect(event)
            if suspect is None or suspect.event is None:
                return _fault(event, data=suspect is not None and suspect.key is None)
            at = suspect.event

    def _suspect(self, event: Event) -> Source | None:
        """The operand to blame for what an event made: one that is NaN, else an infinite one that no mask wrote."""
        nan = [source for source in event.sources if source.held.nan]
        if nan:
            return nan[0]
        infinite = [source for source in event.sources if source.held.infinite and not self._masked(source)]
        return infinite[0] if infinite else None

    def _masked(self, source: Source) -> bool:
        """Is it infinite on purpose?"""
        while source.event is not None:
            event = self.events[source.event]
            odd = [s for s in event.sources if not s.held.finite]
            if not odd:
                return any(abs(s) == float("inf") for s in event.scalars)
            source = odd[0]
        return source.key in self._buffers and not source.held.nan

    # -- gradients

    def _backward(self) -> Fault | None:
        """The last function that got finite gradients and passed on others, which reached a weight."""
        broken = {key for key, finite in self._reached.items() if not all(map(bool, finite))}
        reached = [all(map(bool, event.finite)) for event in self.events]
        spoils: set[int] = (
            set()
        )  # events whose own derivatives, or those of what comes after, spoilt a weight's gradient
        for at, event in enumerate(self.events):
            own = any(s.key in broken for s in event.sources)
            if own or any(s.event in spoils and not reached[s.event] for s in event.sources if s.event is not None):
                spoils.add(at)
        guilty = [at for at in spoils if reached[at] and self.events[at].finite]
        return _fault(self.events[max(guilty)], gradient=True) if guilty else None


def _arrived(finite: list[Tensor], gradient: Tensor) -> None:
    finite.append(torch.isfinite(gradient).all())


def _fault(event: Event, gradient: bool = False, data: bool = False) -> Fault:
    weights = tuple(s.key for s in event.sources if s.key is not None and not s.held.finite)
    sources = tuple(s.held for s in event.sources if s.key is None)
    return Fault(event.spot, sources, event.made, event.scalars, gradient, weights, data)


def _joint(ranges: list[Range]) -> Range:
    """What several tensors hold together."""
    if len(ranges) == 1:
        return ranges[0]
    known = [r for r in ranges if r.low == r.low]
    low, high = min((r.low for r in known), default=float("nan")), max((r.high for r in known), default=float("nan"))
    nan, infinite = sum(r.nan for r in ranges), sum(r.infinite for r in ranges)
    return Range(low, high, nan, infinite, sum(r.size for r in ranges))
