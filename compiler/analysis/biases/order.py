"""Claims about the order of an axis' positions: causality, permutations."""

from __future__ import annotations

from typing import Any

from ...claims import Causality, PermutationEquivariance, PermutationInvariance
from ...relations import Relation, Sees
from .blame import Breach, Law, Reason, refusal
from .case import Case, prover
from .findings import Finding
from .measures import axis_of, caveats, gone, meeting, still_there, vacuous, value_name, windows
from .words import listed, positions


@prover(Causality)
def causality(case: Case) -> Finding:
    """Every entry is a window or prefix that ends at the place's own position, or before. What every element sees alike
    ends at the first position, which is no later than any."""

    def rule(relation: Relation, _everywhere: bool) -> Reason | None:
        ahead = relation.sees in (Sees.ALL, Sees.SUFFIX) or relation.hi > 0
        return Reason.AHEAD if ahead else None

    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or gone(case, figures) or refusal(case, Law(rule, fixed=True), _ahead_words, figures)
    if refused is not None:
        return refused
    texts = []
    for pair, seen in case.seen:
        relation = next(relation for along, relation in seen if along is not None)
        end = "its own" if relation.hi == 0 else f"{-relation.hi} before its own"
        seen_there = "all positions" if relation.width is None else positions(relation.width)
        first = ", and the first" if relation.width and any(along is None for along, _ in seen) else ""
        texts.append(f"{seen_there} of {axis_of(case, pair)}, up to {end}{first}")
    return case.proved(f"a place of {value_name(case)} sees {' and '.join(texts)}", *caveats(case), **figures)


def _ahead_words(case: Case, breach: Breach) -> tuple[str, str | None]:
    axis, value, relation = axis_of(case, breach.pair), value_name(case), breach.relation
    if breach.reason is Reason.TWICE:
        return meeting(case, breach)
    if breach.along is None:
        return f"every place of {value}, the first too, sees positions of {axis} that come later", None
    if relation.sees in (Sees.WINDOW, Sees.PREFIX):
        apart = f", where it stands for position {relation.stride}·o" if relation.stride != 1 else ""
        return f"place o of {value} sees {positions(relation.hi)} of {axis} beyond its own{apart}", None
    return f"a place of {value} sees positions of {axis} that come later", None


def _any_order(relation: Relation, everywhere: bool) -> Reason | None:
    if everywhere and relation.sees is not Sees.ALL:
        return Reason.ANYWHERE
    if relation.follows_permutations:
        return None
    return Reason.UNLIKE if not relation.uniform else Reason.NEIGHBOURS


def _order_words(case: Case, breach: Breach) -> tuple[str, str | None]:
    axis, value = axis_of(case, breach.pair), value_name(case)
    if breach.reason is Reason.UNLIKE:
        return f"{value} does not treat all positions of {axis} alike", None
    if breach.reason is Reason.NEIGHBOURS:
        return f"{value} depends on which positions of {axis} are neighbours, and where", None
    return meeting(case, breach)


@prover(PermutationEquivariance)
def permutation_equivariance(case: Case) -> Finding:
    """The value has the axis, and every entry is each position by itself, or all of them in any order."""
    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or refusal(case, Law(_any_order, joint=True), _order_words, figures) or gone(case, figures)
    if refused is not None:
        return refused
    message = f"when positions of {_names(case)} change places, those of {value_name(case)} change alike"
    return case.proved(message, *caveats(case), **figures)


@prover(PermutationInvariance)
def permutation_invariance(case: Case) -> Finding:
    """The axis is gone, and what every element sees of it is the same in any order."""
    figures: dict[str, Any] = {"windows": windows(case)}
    refused = vacuous(case) or refusal(case, Law(_any_order, joint=True, single=False), _order_words, figures)
    refused = refused or still_there(case, figures)
    message = f"{value_name(case)} is the same in whatever order the positions of {_names(case)} come"
    return refused or case.proved(message, *caveats(case), **figures)


def _names(case: Case) -> str:
    return listed(dict.fromkeys(case.axis_name(*pair) for pair, _ in case.seen))
