"""Claims over axes against numbers: what is proved of small random networks is seen in their outputs, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import archlang
import pytest
import torch
from archlang.compiler.analysis.biases import Finding, Verdict, prove
from archlang.compiler.analysis.receptive import Receptive
from archlang.compiler.frontend import check_source, compile_program
from archlang.compiler.source import Source
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 96
MIDDLE = slice(36, 60)  # where the data is; all around it is constant, so that moves lose and gain the same

POINTWISE = ["tanh", "batchnorm", "conv(3, kernel=1)"]
SLIDING = [
    *POINTWISE,
    "conv(3, kernel=3)",
    "conv(3, kernel=3, pad=1)",
    'conv(3, kernel=2, dilation=2, pad="causal")',
    "conv(3, kernel=2, stride=2)",
    "conv(3, kernel=3, dilation=2, pad=2)",
    "avgpool(2)",
    "maxpool(3, stride=1, pad=1)",
    "upsample(2)",
    "skip { conv(3, kernel=3, pad=1) -> tanh }",
]
GLOBAL = [
    *SLIDING,
    "instancenorm",
    "softmax(axis=T)",
    "Gate",
    "Positions",
    "Mix",
    "flip(T)",
    "cumsum(T)",
]
ORDERLESS = [*POINTWISE, "instancenorm", "softmax(axis=T)", "Gate", "Attend", "conv(3, kernel=3, pad=1)", "cumsum(T)"]

TEXT = """
block Gate {{
  input x: [B, C, T]
  output x * (x -> mean(axis=T, keep=true) -> conv(C, kernel=1) -> sigmoid)
}}
block Positions {{
  input x: [B, C, T]
  param pos: [T] = normal(0, 1)
  output x + pos
}}
block Mix {{
  input x: [B, C, T]
  output x -> linear(T)
}}
block Attend {{
  input x: [B, C, T]
  q = x -> conv(4, kernel=1)
  k = x -> conv(4, kernel=1)
  weights = (q, k) -> einsum("b c q, b c k -> b q k") -> softmax
  output (weights, x) -> einsum("b q k, b c k -> b c q") -> rearrange("b c q -> b c q")
}}
network N {{
  input x: [B, 3, T={size}]
  y = x -> {chain}
  z = y -> mean(axis=2)
  output y
  output z
{claims}}}
"""


@dataclass
class Made:
    """A network with what was proved of it."""

    proved: dict[str, Finding]
    module: torch.nn.Module

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module(x)


def make(chain: list[str], claims: list[str]) -> Made | None:
    """The chain as a network, and which of the claims hold; None when the chain is no network."""
    body = " -> ".join(chain)
    lines = "".join(f"  bias {claim}\n" for claim in claims)
    checked = check_source(Source(TEXT.format(size=SIZE, chain=body, claims=lines), "chain.arch"))
    program = checked.programs.get("N")
    if program is None:
        return None
    text = TEXT.format(size=SIZE, chain=body, claims="")
    torch.manual_seed(0)
    module = archlang.load(text).double().eval()
    proved = {f.claim.name: f for f in program.findings if f.verdict is Verdict.PROVED}
    return Made(proved, module)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def along(finding: Finding) -> tuple[Fraction, Fraction, Fraction, int]:
    """Stride, lower and upper end of what a place sees, and the period."""
    (figures,) = finding.figures["windows"]
    lo, hi = (Fraction(figures.get(end, bound)) for end, bound in (("lo", -SIZE * 4), ("hi", SIZE * 4)))
    return Fraction(figures.get("stride", 1)), lo, hi, int(figures["period"])


CHAINS = st.lists(st.sampled_from(GLOBAL), min_size=1, max_size=4)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(CHAINS, st.integers(0, SIZE - 1))
def test_no_place_sees_more_than_its_window(chain: list[str], position: int) -> None:
    net = make(chain, ["locality on y over T", "causality on y over T"])
    if net is None:
        return
    x = noise(1, 3, SIZE)
    other = x.clone()
    other[..., position] += 1
    changed = ((net(x)[0] - net(other)[0]).abs().amax((0, 1)) > 1e-9).nonzero().flatten().tolist()
    if "locality" in net.proved:
        stride, lo, hi, _ = along(net.proved["locality"])
        assert all(stride * o + lo <= position <= stride * o + hi for o in changed)
    if "causality" in net.proved:
        stride, _, hi, _ = along(net.proved["causality"])
        assert all(position <= stride * o + min(hi, 0) for o in changed)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([s for s in GLOBAL if s != "cumsum(T)"]), min_size=1, max_size=4), st.integers(1, 2))
def test_what_is_said_to_follow_moves_does(chain: list[str], times: int) -> None:
    net = make(chain, ["translation_equivariance on y over T", "translation_invariance on z over T"])
    if net is None or not net.proved:
        return
    x = torch.full((2, 3, SIZE), 0.3, dtype=torch.float64)
    x[..., MIDDLE] = noise(2, 3, MIDDLE.stop - MIDDLE.start)
    if "translation_equivariance" in net.proved:
        stride, _, _, period = along(net.proved["translation_equivariance"])
        move = period * times
        before, after = net(x)[0], net(x.roll(move, -1))[0]
        places = [o for o in range(before.shape[-1]) if MIDDLE.start <= stride * o <= MIDDLE.stop]
        step = int(move / stride)
        torch.testing.assert_close(after[..., [o + step for o in places]], before[..., places], rtol=1e-9, atol=1e-9)
    if "translation_invariance" in net.proved:
        *_, period = along(net.proved["translation_invariance"])
        torch.testing.assert_close(net(x.roll(period * times, -1))[1], net(x)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(ORDERLESS), min_size=1, max_size=4), st.integers(0, 1000))
def test_what_is_said_to_follow_permutations_does(chain: list[str], seed: int) -> None:
    net = make(chain, ["permutation_equivariance on y over T", "permutation_invariance on z over T"])
    if net is None:
        return
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(seed))
    x = noise(2, 3, SIZE)
    before, after = net(x), net(x[..., order])
    if "permutation_equivariance" in net.proved:
        torch.testing.assert_close(after[0], before[0][..., order], rtol=1e-9, atol=1e-9)
    if "permutation_invariance" in net.proved:
        torch.testing.assert_close(after[1], before[1], rtol=1e-9, atol=1e-9)
    orderly = {"conv(3, kernel=3, pad=1)", "cumsum(T)"} & set(chain)
    assert bool(net.proved) == (not orderly)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(CHAINS)
def test_weights_are_shared_exactly_where_their_number_stays(chain: list[str]) -> None:
    net = make(chain, ["weight_sharing on z over T"])
    if net is None:
        return
    counts = []
    for size in (SIZE, 2 * SIZE):
        program = compile_program(Source(TEXT.format(size=size, chain=" -> ".join(chain), claims=""), "chain.arch"))
        counts.append(sum(spec.elements for _, spec in program.graph.state()))
    assert ("weight_sharing" in net.proved) == (counts[0] == counts[1])


@pytest.mark.parametrize(
    ("chain", "claim", "verdict"),
    [
        (["conv(3, kernel=3)"], "locality(window=3) on y over T", Verdict.PROVED),
        (["conv(3, kernel=3)"], "locality(window=2) on y over T", Verdict.REFUTED),
        (["avgpool(2)", "upsample(2)"], "translation_equivariance(stride=2) on y over T", Verdict.PROVED),
        (["avgpool(2)", "upsample(2)"], "translation_equivariance(stride=1) on y over T", Verdict.REFUTED),
        (["flip(T)"], "causality on y over T", Verdict.UNKNOWN),
        (["Mix"], "translation_invariance on z over T", Verdict.REFUTED),
    ],
)
def test_verdicts(chain: list[str], claim: str, verdict: Verdict) -> None:
    text = TEXT.format(size=SIZE, chain=" -> ".join(chain), claims=f"  bias {claim}\n")
    program = check_source(Source(text, "chain.arch")).programs["N"]
    assert [finding.verdict for finding in program.findings] == [verdict]


def test_proofs_grow_with_different_blocks_not_with_depth() -> None:
    def walked(depth: int) -> int:
        claims = "  bias locality on y over T assumed\n  bias translation_equivariance on y over T\n"
        text = TEXT.format(size=SIZE, chain=f"repeat {depth} {{ Gate }}", claims=claims)
        program = check_source(Source(text, "deep.arch")).programs["N"]
        receptive = Receptive()
        prove(program, receptive)
        return len(receptive._done)

    assert walked(2) == walked(40) == 2
