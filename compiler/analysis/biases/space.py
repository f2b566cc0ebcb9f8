"""Claims about places: locality, and what follows the moves of an input."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Any

from ...claims import Locality, TranslationEquivariance, TranslationInvariance
from ...relations import Relation, Sees
from .blame import Breach, Law, Reason, first, refusal
from .case import Case, prover
from .findings import Caveat, Finding, Verdict
from .measures import axis_of, caveats, gone, meeting, still_there, vacuous, value_name, windows
from .words import listed, positions


@prover(Locality)
def locality(case: Case) -> Finding:
    """Every entry is a window, no wider than the claim allows, and there is one of each axis."""
    widest: int | None = case.claim.window

    def rule(relation: Relation, everywhere: bool) -> Reason | None:
        if relation.width is None:
            return Reason.ALL
        return Reason.WIDE if widest is not None and relation.width > widest else None

    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or refusal(case, Law(rule), _wide_words, figures)
    return refused or case.proved(_windows_text(case), *caveats(case), **figures)


def _wide_words(case: Case, breach: Breach) -> tuple[str, str | None]:
    axis, value = axis_of(case, breach.pair), value_name(case)
    if breach.reason is Reason.WIDE:
        width = max(relation.width or 0 for _, seen in case.seen for _, relation in seen)
        help = f"`locality(window={width})` holds; smaller kernels, or less stride before them, see less"
        return f"a place of {value} sees {breach.relation.width} positions of {axis}", help
    if breach.reason is Reason.TWICE:
        return f"{value} sees {axis} in several places at once", "claim it of each of the values that meet here"
    how = {Sees.PREFIX: "all positions up to its own", Sees.SUFFIX: "all positions from its own on"}
    message = f"a place of {value} sees {how.get(breach.relation.sees, 'all positions')} of {axis}"
    return message, "claim it of a value before this layer, or use layers that see windows"


def _windows_text(case: Case) -> str:
    """a place of `features` sees 16 × 16 places of `image`, 4 apart"""
    by_input: dict[int, list[Relation]] = {}
    for (source, _), seen in case.seen:
        by_input.setdefault(source, []).append(seen[0][1])
    texts = []
    for source, relations in by_input.items():
        widths = " × ".join(str(relation.width) for relation in relations)
        strides = list(dict.fromkeys(str(relation.stride) for relation in relations))
        places = "place" if widths == "1" else "places"
        most = "at most " if any(relation.loose for relation in relations) else ""
        apart = f", {' and '.join(strides)} apart" if strides != ["1"] else ""
        texts.append(f"{most}{widths} {places} of `{case.input_name(source)}`{apart}")
    return f"a place of {value_name(case)} sees {' and '.join(texts)}"


def _follows(relation: Relation, everywhere: bool) -> Reason | None:
    if everywhere and relation.sees is not Sees.ALL:
        return Reason.ANYWHERE
    return None if relation.follows_shifts else Reason.UNLIKE


def _move_words(case: Case, breach: Breach) -> tuple[str, str | None]:
    if breach.reason is Reason.UNLIKE:
        return f"{value_name(case)} does not treat all positions of {axis_of(case, breach.pair)} alike", None
    return meeting(case, breach)


@prover(TranslationEquivariance)
def translation_equivariance(case: Case) -> Finding:
    """The value has the axis, every entry follows shifts, and nothing that has to move along stays behind."""
    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or refusal(case, Law(_follows, joint=True), _move_words, figures) or gone(case, figures)
    if refused is not None:
        return refused
    moves: dict[tuple[int, str], list[str]] = {}
    for pair, seen in case.seen:
        for along, relation in seen:
            if along is not None:
                by = str(Fraction(relation.period) / relation.stride)
                moves.setdefault((relation.period, by), []).append(case.axis_name(*pair))
    texts = [
        f"{positions(period, listed(dict.fromkeys(names), 'or'))}, {value_name(case)} moves by {by}"
        for (period, by), names in moves.items()
    ]
    return _moved(case, f"when the input moves by {', and by '.join(texts)}")


@prover(TranslationInvariance)
def translation_invariance(case: Case) -> Finding:
    """The axis is gone, and what every element sees of it follows shifts."""
    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or refusal(case, Law(_follows, joint=True, single=False), _move_words, figures)
    refused = refused or still_there(case, figures)
    if refused is not None:
        return refused
    period = _period(case)
    names = listed(dict.fromkeys(case.axis_name(*pair) for pair, _ in case.seen), "or")
    by = f" by {period} positions or a multiple" if period > 1 else ""
    return _moved(case, f"{value_name(case)} stays as it is when the input moves along {names}{by}")


def _period(case: Case) -> int:
    """The smallest move that all claimed axes follow."""
    return lcm(*(relation.period for _, seen in case.seen for _, relation in seen))


def _moved(case: Case, message: str) -> Finding:
    """The claim proved, if the move that it states is the right one."""
    period, stated = _period(case), case.claim.stride
    figures = {"windows": windows(case), "period": period}
    if stated is not None and stated != period:
        name = case.claim.name
        step = first(case, lambda view: any(stated % r.period for k, r in view.relations.items() if k[1:] in case.axes))
        return case.finding(
            Verdict.REFUTED,
            f"the smallest move that it follows is by {positions(period)}, not {stated}",
            culprit=step.culprit("from here on smaller moves are not followed") if step is not None else None,
            help=f"claim `{name}(stride={period})`",
            figures=figures,
        )
    found = list(caveats(case, moves=True))
    if period > 1 and stated is None:
        found.insert(0, Caveat("stride", f"only moves by a multiple of {period} positions are followed"))
    return case.proved(message, *found, **figures)
