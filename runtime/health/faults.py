"""What is said when a run diverges: which layer made the first value that is not finite, from what, and what to do."""

from __future__ import annotations

from itertools import pairwise

from archlang.compiler.diagnostics import ArchError, Label, error
from archlang.compiler.source import Span

from .blame import Fault

_LARGE = 1e6
"""Finite values beyond this are taken for those of a run that diverges."""

_LOGARITHMS = ("log", "log2", "log10", "log_")
_ROOTS = ("sqrt", "rsqrt", "pow", "__pow__", "sqrt_", "norm", "vector_norm", "linalg_vector_norm")
_QUOTIENTS = ("div", "true_divide", "__truediv__", "__rtruediv__", "__div__", "reciprocal", "div_", "rdiv", "__rdiv__")
_EXPONENTIALS = ("exp", "expm1", "exp2", "exp_", "sinh", "cosh")


class Diverged(Exception):
    """A loss or a weight is no longer finite. what: `the loss became nan`. where: `in epoch 2, batch 7`. measured: it
    happened on the validation part, where nothing learns."""

    def __init__(self, what: str, where: str, measured: bool = False) -> None:
        super().__init__(f"{what} {where}")
        self.measured = measured


def explained(failure: Diverged, fault: Fault | None, span: Span | None, kept: str) -> ArchError:
    """The error that ends the run. span: where to point when no layer is to blame, or none of a spec. kept: what is
    said about weights that were kept, or nothing."""
    if fault is None:
        help = f"{kept}try a smaller `lr`, `clip 1.0`, or look for extreme values in the data"
        return error("A1040", str(failure), span, help=help)
    step = fault.spot.step
    own = step.span if step is not None else span
    return error(
        "A1040",
        f"{failure}: {_accusation(fault)}",
        own,
        labels=_callers(fault),
        help=kept + _advice(fault),
        underline=_evidence(fault) if step is not None else "",
    )


def alone(failure: ValueError, span: Span | None) -> ArchError | None:
    """The error, where a norm had one number to take the mean of. span: the size of a batch."""
    if "more than 1 value per channel" not in str(failure):
        return None
    places = getattr(failure, "__notes__", ["in a norm"])
    return error(
        "A1082",
        f"a batch of one example leaves `batchnorm` one number a channel, and no deviation ({places[0]})",
        span,
        help="make `batch` larger, or use a norm that looks at one example, such as `layernorm` or `instancenorm`",
    )


def _accusation(fault: Fault) -> str:
    name = _name(fault)
    if fault.updated:
        return f"the update of {_listed(fault.updated)} made the first values that are not finite"
    if fault.weights:
        return f"{_listed(fault.weights)} was not finite any more"
    if fault.data:
        return f"what {name} was given was not finite already"
    if fault.gradient:
        return f"the derivative of {name} made the first gradient that is not finite"
    return f"{name} made the first value that is not finite"


def _listed(keys: tuple[str, ...]) -> str:
    return f"`{keys[0]}`" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")


def _name(fault: Fault) -> str:
    """The layer as its author knows it."""
    step = fault.spot.step
    if step is None:
        return f"`{fault.spot.layer or fault.spot.function}`"
    text = " ".join(step.span.text.split())
    return f"`{f'{step.label}: ' if step.label else ''}{text if len(text) <= 50 else text[:49] + '…'}`"


def _evidence(fault: Fault) -> str:
    went = "; ".join(str(held) for held in fault.sources[:3])
    inside = f", in `{fault.spot.layer}`" if fault.spot.layer else ""
    return f"took values {went}{inside}" if went else f"ran{inside}"


def _callers(fault: Fault) -> list[Label]:
    """Where the block that the layer stands in was used, outermost last."""
    places = fault.spot.places
    labels = []
    for inner, outer in pairwise(places):
        span, caller = inner[-1].span, outer[-1].span
        if caller.source is not span.source or not (caller.start <= span.start and span.end <= caller.end):
            labels.append(Label(caller, "here"))
    return labels[-2:]


def _advice(fault: Fault) -> str:
    """What to do, by the function and what it was given."""
    function, lowest = fault.spot.function, min((held.low for held in fault.sources), default=1.0)
    if fault.updated:
        return "the step was too large: make `lr` smaller, or bound what it takes with a warm-up or `clip 1.0`"
    if fault.weights:
        return "the step before was too large: try a smaller `lr`, a warm-up, or `clip 1.0`"
    if fault.data:
        return "look for missing and extreme values in the data"
    if function in _LOGARITHMS and lowest <= 0:
        return "a logarithm needs values above 0: put `softplus` or `clamp(min=1e-6)` before it"
    if function in _ROOTS and lowest <= 0 and not fault.made.finite:
        return "a root of values below 0 is no number, and one over 0 is infinite: put `clamp(min=1e-6)` before it"
    if function in _ROOTS and lowest <= 0:
        return "the derivative at 0 is infinite: add a small number, such as 1e-6, before it"
    if function in _QUOTIENTS and any(_zero(held.low, held.high) for held in fault.sources):
        return "something is divided by 0: add a small number to what divides, or `clamp` it"
    if function in _EXPONENTIALS:
        return (
            "`exp` is infinite above 88: `clamp` what goes in, or keep logarithms and use `log_softmax` or `logsumexp`"
        )
    if "softmax" in function:
        return "a row that a mask covers whole has no softmax: leave at least one place in each row"
    if any(max(abs(held.low), abs(held.high)) > _LARGE for held in fault.sources):
        return "values so large are those of a run that diverges: try a smaller `lr`, a warm-up, or `clip 1.0`"
    return "try a smaller `lr`, `clip 1.0`, or look for extreme values in the data"


def _zero(low: float, high: float) -> bool:
    return low <= 0 <= high
