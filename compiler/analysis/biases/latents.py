"""The claim about latents that are drawn: smooth_latent."""

from __future__ import annotations

from ...claims import SmoothLatent
from ...graph import Ref
from ...ops.noise import Noise
from ..latents import Divergence, Form, Frame, Latent, Search, Value, same, search_for
from .case import Case, prover
from .findings import Culprit, Finding, Verdict

_FORM = "a latent is drawn around what the network computes: `z = mean + (0.5 * log_variance -> exp) * eps`"
_LOSS = "a loss pulls it to a prior: `loss divergence = (mean, log_variance) -> kl_standard_normal`"


@prover(SmoothLatent)
def smooth_latent(case: Case) -> Finding:
    """A latent is drawn on the way, and of each that is, a loss holds the divergence from a prior."""
    search = search_for(case.program, case.graph)
    frames = search.frames(case.graph)
    if frames is None:
        return case.finding(
            Verdict.UNKNOWN,
            "the block is used too often to look at every use",
            help="claim it in the network that uses the block",
        )
    if not frames:
        return case.finding(Verdict.REFUTED, "only entries use the block, and an entry has no losses", help=_LOSS)
    order = (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.ASSUMED, Verdict.PROVED)
    return min((_of_use(case, search, frame) for frame in frames), key=lambda found: order.index(found.verdict))


def _of_use(case: Case, search: Search, frame: Frame) -> Finding:
    """The finding for one use of the graph that claims it."""
    goal = None if case.claimed.ref is None else Value(frame, case.claimed.ref)
    draws = search.draws(goal, frame)
    if not draws:
        where = "no noise is drawn" if goal is None else "no noise is drawn on the way to it"
        return case.finding(Verdict.REFUTED, where, help=f"{_FORM}, with `sample eps ~ normal(0, 1): …`")
    steps = next((draw for draw in draws if _in_scan(draw)), None)
    if steps is not None:
        return case.finding(
            Verdict.UNKNOWN,
            f"`{steps}` is drawn at each step of a scan, which this proof does not look into",
            culprit=_at(steps, "noise is drawn here"),
            help="vouch for it: `bias smooth_latent … assumed`",
        )
    divergences = search.divergences()
    held: list[tuple[Latent, Divergence]] = []
    for draw in draws:
        latents = search.latents(draw, goal) if _normal(draw) else []
        for deviation in dict.fromkeys(latent.deviation for latent in latents):
            alike = [latent for latent in latents if latent.deviation == deviation]
            pairs = [(latent, d) for latent in alike for d in divergences if search.fits(latent, d)]
            pair = max(pairs, key=lambda pair: (not search.vain(pair[1]), pair[1].weight or 0), default=None)
            if pair is None or not (pair[1].weight or 0) > 0:
                return _not_pulled(case, search, alike[0], divergences, pair)
            if (wrong := _not_its_own(case, search, goal, frame, *pair)) is not None:
                return wrong
            held.append(pair)
    if not held:
        return _no_latent(case, draws)
    said = [
        f"`{latent.value}` is {_drawn(latent)}, and `{d.loss}` holds its divergence from a prior" for latent, d in held
    ]
    figures = [{"latent": str(latent.value), "noise": str(latent.draws), "loss": d.loss} for latent, d in held]
    return case.proved("; ".join(said), latents=figures)


def _normal(draw: Value) -> bool:
    op = draw.frame.graph[draw.ref.node].op
    return isinstance(op, Noise) and op.distribution == "normal" and op.values[0] == 0


def _drawn(latent: Latent) -> str:
    return f"{_named(latent.mean)} + deviation · `{latent.draws}`"


def _named(form: Form) -> str:
    """A sum in words, where it is one value; `mean` otherwise."""
    if len(form) == 1:
        ((kind, value), number) = next(iter(form.items()))
        if kind == "value" and number == 1:
            return f"`{value}`"
    return "mean"


def _no_latent(case: Case, draws: list[Value]) -> Finding:
    """Noise is drawn, and none of it around something computed from an input."""
    draw = draws[0]
    op = draw.frame.graph[draw.ref.node].op
    assert isinstance(op, Noise)
    if not _normal(draw):
        what = f"`{draw}` is drawn from `{op.distribution}`" + (
            " around another number than 0" * (op.distribution == "normal")
        )
        message = f"{what}, and divergences are known of normal distributions, as mean + deviation · `normal(0, 1)`"
    else:
        message = f"nothing that depends on an input scales and shifts `{draw}`"
    return case.finding(Verdict.REFUTED, message, culprit=_at(draw, "noise is drawn here"), help=_FORM)


def _in_scan(draw: Value) -> bool:
    frame = draw.frame
    while frame.parent is not None:
        if frame.parent.graph[frame.path[-1]].scan is not None:
            return True
        frame = frame.parent
    return False


def _not_pulled(
    case: Case,
    search: Search,
    latent: Latent,
    divergences: list[Divergence],
    pair: tuple[Latent, Divergence] | None,
) -> Finding:
    """A latent that no loss pulls to a prior: why not."""
    drawn = f"`{latent.value}` is {_drawn(latent)}"
    if pair is not None:
        divergence = pair[1]
        if divergence.weight is None:
            message = f"{drawn}, but what the divergence weighs in `{divergence.loss}` is no number that is known here"
            culprit = _at(divergence.value, "the divergence")
            return case.finding(Verdict.UNKNOWN, message, culprit=culprit, help="give the loss a `weight`")
        message = f"{drawn}, but its divergence weighs {divergence.weight:g} in `{divergence.loss}`"
        culprit = _at(divergence.value, "the divergence")
        return case.finding(Verdict.REFUTED, message, culprit=culprit, help="give it a weight above 0")
    means = [d for d in divergences if same(search.total(d.mean), latent.mean)]
    other = next(iter(means or divergences), None)
    if other is not None:
        given = f"its mean is `{other.mean}`"
        if means:
            given = f"its log-variance is `{other.variance}`, and the deviation is not exp(½ · `{other.variance}`)"
        message = f"{drawn}, but `{other.loss}` holds the divergence of another distribution: {given}"
        return case.finding(Verdict.REFUTED, message, culprit=_at(other.value, "the divergence"), help=_LOSS)
    parts = [value for form in (latent.mean, latent.variance) for _, value in form if value is not None]
    if all(search.reaches(value, latent.value) for value in parts):
        return case.finding(
            Verdict.UNKNOWN,
            f"{drawn}, and losses depend on both besides, but no divergence is known in them",
            culprit=_at(latent.draws, "noise is drawn here"),
            help="write the divergence as `kl_standard_normal` or `kl_normal`, or vouch for it: `bias … assumed`",
        )
    message = f"{drawn}, but no loss holds the divergence of its distribution from a prior"
    return case.finding(Verdict.REFUTED, message, culprit=_at(latent.draws, "noise is drawn here"), help=_LOSS)


def _not_its_own(
    case: Case, search: Search, goal: Value | None, frame: Frame, latent: Latent, divergence: Divergence
) -> Finding | None:
    """What is wrong with the noise or the prior: a divergence counts each number by itself, and says nothing of numbers
    that share their noise, nor of one whose noise is known."""
    drawn = f"`{latent.value}` is {_drawn(latent)}"
    if search.vain(divergence):
        message = f"{drawn}, and `{divergence.loss}` holds the divergence of its distribution from itself, which is 0"
        culprit = _at(divergence.value, "the divergence")
        return case.finding(
            Verdict.REFUTED,
            message,
            culprit=culprit,
            help="a prior is another distribution: that of `kl_standard_normal`, or one with a mean of its own",
        )
    if latent.draws.numbers != latent.value.numbers:
        has, needs = latent.draws.numbers, latent.value.numbers
        message = f"{drawn}, and `{latent.draws}` has {has} of the {needs} numbers of noise that an example needs"
        culprit = _at(latent.draws, "noise is drawn here")
        help = f"draw a number for each of `{latent.value}`: the divergence takes them to be independent"
        return case.finding(Verdict.REFUTED, message, culprit=culprit, help=help)
    goals = [Value(frame, Ref(number)) for number in frame.graph.outputs] if goal is None else [goal]
    if not search.reaches(latent.draws, latent.value, goals):
        return None
    what = "an output" if goal is None else f"`{goal}`"
    message = (
        f"{drawn}, and `{latent.draws}` reaches {what} past `{latent.value}` too: together they tell more of the mean "
        "than the divergence counts"
    )
    culprit = _at(latent.draws, "noise is drawn here")
    return case.finding(
        Verdict.REFUTED, message, culprit=culprit, help="draw noise of its own for what else needs some"
    )


def _at(value: Value, what: str) -> Culprit:
    return Culprit(str(value), what, value.span, value.call)
