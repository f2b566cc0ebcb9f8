"""Claims about what flows to a value, whatever the axes: bottleneck, residual path, gates, games."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...claims import Adversarial, Bottleneck, Gating, Residual
from ...ops.base import Interval
from ..cut import Cut, Cutter, Detour, Member, called_sizes, members_as_json
from ..gates import Gates, Product
from ..paths import ACTIVATION, FACTOR, MULTIPLIES, POOLING, PROJECTION, Step, identity_ways
from .case import Case, prover
from .findings import CAVEATS, Caveat, Culprit, Finding, Verdict

_NAMED = 4  # members of a cut, or steps of a path, that a message names


@prover(Bottleneck)
def bottleneck(case: Case) -> Finding:
    """The minimum cut between the inputs and the value holds at most n elements, wherever the graph is used."""
    n: int = case.claim.n
    cutter, sizes = case.receptive.kept(Cutter), called_sizes(case.program, case.graph)
    cuts = [cutter.cut(case.graph, case.ref, each) for each in sizes]
    held = [cut.elements for cut in cuts if cut.elements is not None]
    if len(held) == len(cuts) and max(held) <= n:
        widest = max(cuts, key=lambda cut: cut.elements or 0)
        if not widest.members:
            return case.proved("it knows nothing of the inputs", elements=0, cut=[])
        return case.proved(f"everything passes through {_listed(widest.members)}", **_figures(widest))
    least = case.receptive.kept(_least)
    for each in sizes:
        cut = least.cut(case.graph, case.ref, each)
        if cut.elements is None or cut.elements > n:
            return _too_wide(case, cut, n, least.detour(case.graph, case.ref, each, n))
    cut = next(
        least.cut(case.graph, case.ref, each) for each in sizes if _open(cutter.cut(case.graph, case.ref, each), n)
    )
    return case.finding(
        Verdict.UNKNOWN,
        f"how many elements pass depends on a size that is open: {_listed(cut.members)}",
        culprit=_culprit(cut.members[0], f"holds {cut.members[0].elements}"),
        help="give the axes a fixed size where they enter, as in `H=224`, or a nominal one, as in `H~224`",
    )


def _least() -> Cutter:
    return Cutter(least=True)


def _open(cut: Cut, n: int) -> bool:
    return cut.elements is None or cut.elements > n


def _too_wide(case: Case, cut: Cut, n: int, detour: Detour | None) -> Finding:
    """The claim is wrong: either the narrowest place is too wide, or something leads around it."""
    closed = cut.elements is not None and all(isinstance(m.elements, int) for m in cut.members)
    passed = f"{'' if closed else 'at least '}{cut.elements or n + 1:,} elements pass"
    claim = f", or claim `bottleneck({cut.elements})`" if closed else ""
    narrow = [m for m in cut.members if _held(m) <= n]
    if narrow and cut.members[1:]:
        latent = max(narrow, key=_held)
        around = [m for m in cut.members if m is not latent]
        message = f"{passed}, since {_listed(around)} lead{'s' * (len(around) == 1)} around {latent}"
        culprit = _culprit(_widest(around), f"leads around `{latent.path}`")
    elif detour is not None:
        latent = detour.narrow
        message = f"{passed} at the narrowest, {_listed(cut.members)}, since a path leads around {latent}"
        culprit = _culprit(detour.meets, f"is where a path around `{latent.path}` comes in")
    else:
        message = f"{passed} at the narrowest: {_listed(cut.members)}"
        place = "is part of the narrowest place" if cut.members[1:] else "is the narrowest place"
        return _refuted(
            case, cut, message, _culprit(_widest(cut.members), place), f"let no more than {n:,} through{claim}"
        )
    return _refuted(case, cut, message, culprit, f"leave out what leads around `{latent.path}`{claim}")


def _refuted(case: Case, cut: Cut, message: str, culprit: Culprit, help: str) -> Finding:
    return case.finding(Verdict.REFUTED, message, culprit=culprit, help=help, figures=_figures(cut))


def _held(member: Member) -> int:
    return member.elements if isinstance(member.elements, int) else 0


def _widest(members: Sequence[Member]) -> Member:
    return max(members, key=_held)


def _culprit(member: Member, what: str) -> Culprit:
    return Culprit(member.path, f"`{member.path}` {what}", member.span, member.call)


def _figures(cut: Cut) -> dict[str, object]:
    return {"elements": cut.elements, "cut": members_as_json(cut.members)}


def _listed(things: Sequence[object], most: int = _NAMED) -> str:
    """`a`, `b` and 3 more"""
    shown = [str(thing) for thing in things[:most]]
    if len(things) > most:
        return f"{', '.join(shown)} and {len(things) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


@prover(Residual)
def residual(case: Case) -> Finding:
    """A path from an input to the value is the identity, but for at most k layers with weights."""
    allowed: int = case.claim.projections
    way = case.receptive.kept(identity_ways, case.receptive.alike).to(case.graph, case.ref)
    if way is None:
        return case.finding(
            Verdict.REFUTED,
            "it does not depend on an input",
            help="claim it of a value that is computed from the inputs",
        )
    steps = way.steps()
    ends, weights, _ = way.cost
    crossed = [step for step in steps if step.what == PROJECTION]
    if ends:
        breaks = next(step for step in steps if step.what not in (PROJECTION, ACTIVATION, POOLING, FACTOR))
        return case.finding(
            Verdict.REFUTED,
            f"no path is the identity: the closest passes `{breaks.path}`, which {breaks.what}",
            culprit=_step(breaks, breaks.what),
            help="add what enters to what leaves, as `skip { … }` does"
            + ("; what a gate lets through can claim `gating`" if breaks.what == MULTIPLIES else ""),
            figures={"projections": None},
        )
    if weights > allowed:
        over = crossed[allowed]
        passed = f"at least {_counted(weights, 'layer')} with weights"
        what = "is one too many" if allowed else "has weights, and the closest path passes it"
        return case.finding(
            Verdict.REFUTED,
            f"every path passes {passed}, {_allowed(allowed)}: {_steps(crossed)}",
            culprit=_step(over, what),
            help=f"add what enters to what leaves, as `skip {{ … }}` does, or claim `residual(projections={weights})`",
            figures={"projections": weights},
        )
    message = "an identity path leads to it"
    if weights:
        message += f", past {_counted(weights, 'layer')} with weights: {_steps(crossed)}"
    return case.proved(message, *_partly(steps), projections=weights)


def _step(step: Step, what: str) -> Culprit:
    return Culprit(step.path, f"`{step.path}` {what}", step.span, step.call)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _allowed(projections: int) -> str:
    return "where none is allowed" if not projections else f"where {projections:,} may be"


def _steps(steps: Sequence[Step]) -> str:
    return _listed([f"`{step.path}`" for step in steps])


def _partly(steps: Sequence[Step]) -> Iterator[Caveat]:
    """A caveat for each kind of step that lets the gradient through in part."""
    for what in (ACTIVATION, POOLING, FACTOR):
        found = [step for step in steps if step.what == what]
        if found:
            name = f"{what} on the path"
            assert name in CAVEATS
            yield Caveat(name, _steps(found), found[0].span)


@prover(Gating)
def gating(case: Case) -> Finding:
    """A factor that depends on the input and is proved to lie in [0, 1] multiplies what leads to the value."""
    product = case.receptive.kept(Gates).on_the_way(case.graph, case.ref)
    if product is None:
        return case.finding(
            Verdict.REFUTED,
            "no two values that depend on the input are multiplied on the way to it",
            help="multiply by a value that went through `sigmoid`, as in `x * (x -> linear(8) -> sigmoid)`",
        )
    if product.gates:
        return case.proved(
            f"{product.factor}, in {_interval(product.bounds)}, multiplies {product.other} at `{product.path}`"
        )
    return _no_gate(case, product)


def _no_gate(case: Case, product: Product) -> Finding:
    bounds = _interval(product.bounds)
    lies = f"lies in {bounds}, not in [0, 1]" if product.certain else f"is only known to lie in {bounds}"
    help = "send the factor through `sigmoid`, `hardsigmoid` or `clamp(0, 1)` before it multiplies"
    return case.finding(
        Verdict.REFUTED if product.certain else Verdict.UNKNOWN,
        f"{product.factor}, which multiplies {product.other}, {lies}",
        culprit=Culprit(product.path, f"{product.factor} multiplies {product.other}", product.span, product.call),
        help=help if product.certain else f"{help}; or vouch for it: `bias gating … assumed`",
    )


def _interval(bounds: Interval) -> str:
    lo, hi = (f"{end:g}".replace("inf", "∞") for end in bounds)
    return f"[{lo}, {hi}]"


@prover(Adversarial)
def adversarial(case: Case) -> Finding:
    """Two players are trained against each other."""
    game = case.program.game
    if game is not None and game.pairs:
        pairs = ", ".join(f"{p.generator} against {p.discriminator}" for p in game.pairs)
        return case.proved(f"{pairs}: each has an objective of its own")
    return case.finding(
        Verdict.REFUTED,
        f"`{case.program.name}` is trained alone: nothing plays against it",
        help="a game has two players, whose losses pull against each other: declare it with `adversarial`",
    )
