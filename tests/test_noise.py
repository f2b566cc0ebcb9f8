"""`sample`: what is drawn, with which type and where, and that it is drawn anew each time."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.emit.json import from_json, to_json
from archlang.compiler.emit.python import emit_python
from archlang.compiler.flatten import flatten
from archlang.compiler.graph_text import parse_graph, print_graph, same
from archlang.compiler.source import Source
from archlang.compiler.syntax.printer import format_source
from archlang.runtime.export import save_onnx
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from archlang.runtime.seeding import fixed_noise
from distributions import CHANCE
from emit_harness import compiled
from torch import Tensor, distributions

MANY = 40_000
DRAWN = {
    "normal(0, 1)": distributions.Normal(0.0, 1.0),
    "normal(-2, 0.5)": distributions.Normal(-2.0, 0.5),
    "normal": distributions.Normal(0.0, 1.0),
    "uniform": distributions.Uniform(0.0, 1.0),
    "uniform(-1, 3)": distributions.Uniform(-1.0, 3.0),
    "gumbel": distributions.Gumbel(0.0, 1.0),
}
CELL = """
cell Walk() {
  input x: [B, D]
  state h: [B, D]
  sample eps ~ normal(0, 1): [B, D]
  h' = h + x + eps
  output h'
}
network N {
  input x: [B, T, D=3]
  output x -> scan Walk over T
}
"""


def drawn(distribution: str, shape: str = "[N]", seed: int = 0, n: int = MANY) -> Tensor:
    """What the generated module draws."""
    text = f"network N {{ input x: [N]\n sample e ~ {distribution}: {shape}\n output e }}"
    module = build(compiled(text))
    torch.manual_seed(seed)
    return module(torch.zeros(n))


@pytest.mark.parametrize("distribution", DRAWN)
def test_real_numbers_follow_their_distribution(distribution):
    theirs = DRAWN[distribution]
    ours = drawn(distribution).double()
    assert ours.mean().item() == pytest.approx(theirs.mean.item(), abs=CHANCE * theirs.stddev.item() / math.sqrt(MANY))
    assert ours.std().item() == pytest.approx(theirs.stddev.item(), rel=3 * CHANCE / math.sqrt(MANY))
    share = theirs.cdf(ours.sort().values)
    below = torch.arange(1, MANY + 1) / MANY
    assert (share - below).abs().max() < 2 / math.sqrt(MANY)  # Kolmogorov–Smirnov: by chance once in a thousand


@pytest.mark.parametrize(("prefix", "dtype"), [("", torch.float32), ("bool", torch.bool), ("int", torch.int64)])
def test_yes_or_no_in_three_kinds(prefix, dtype):
    found = drawn("bernoulli(0.3)", f"{prefix}[N]")
    assert found.dtype is dtype
    assert set(found.tolist()) == {0, 1}
    assert found.double().mean().item() == pytest.approx(0.3, abs=CHANCE * math.sqrt(0.3 * 0.7 / MANY))


@pytest.mark.parametrize("p", [0, 1])
def test_what_is_certain_is_certain(p):
    for prefix in ("", "bool", "int"):
        assert drawn(f"bernoulli({p})", f"{prefix}[N]").double().eq(p).all()


def test_whole_numbers_are_equally_likely_up_to_the_last():
    found = drawn("uniform_int(-3, 5)", "int[N]")
    assert found.dtype is torch.int64
    counts = torch.bincount(found + 3, minlength=8).double()
    assert len(counts) == 8
    assert ((counts - MANY / 8) ** 2 / (MANY / 8)).sum() < 24.3  # χ² of 7: by chance once in a thousand


def test_a_deviation_of_zero_is_the_mean():
    assert drawn("normal(2.5, 0)").eq(2.5).all()


def test_the_seed_decides_and_calls_differ():
    one, same_, other = (drawn("normal(0, 1)", seed=seed, n=50) for seed in (1, 1, 2))
    assert torch.equal(one, same_)
    assert not torch.equal(one, other)
    module = build(compiled("network N { input x: [N]\n sample e ~ normal(0, 1): [N]\n output e }"))
    assert not torch.equal(module(torch.zeros(9)), module(torch.zeros(9)))


def test_measuring_draws_the_same_each_time_and_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with fixed_noise(torch.device("cpu")):
        one = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    with fixed_noise(torch.device("cpu")):
        assert torch.equal(torch.rand(4), one)


# -- type and device


ENTRY = """
network N {
  input tokens: int[B]
  module decoder = linear(3)
  output tokens -> embedding(5, 4) -> decoder
  entry generate { sample z ~ normal(0, 1): [B, 4]  output z -> decoder  output z }
  entry noisy { input h: [B, 4]  sample z ~ normal(0, 1): [B, 4]  output h + z -> decoder  output h + z }
}
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_is_of_the_type_that_the_weights_or_inputs_are(dtype):
    module = build(compiled(ENTRY)).to(dtype)
    y, z = module.generate(b=7)
    assert y.dtype is z.dtype is dtype
    assert (y.shape, z.shape) == ((7, 3), (7, 4))
    y, z = module.noisy(torch.zeros(2, 4, dtype=dtype))
    assert y.dtype is z.dtype is dtype


def test_noise_beside_inputs_of_indices_has_the_weights_type():
    text = """
    network N {
      input tokens: int[B]
      h = tokens -> embedding(5, 4)
      sample z ~ normal(0, 1): [B, 4]
      output h + z
    }
    """
    assert build(compiled(text)).double()(torch.zeros(3, dtype=torch.int64)).dtype is torch.float64
    bare = "network N { input tokens: int[B]\n sample z ~ normal(0, 1): [B, 4]\n output z }"
    assert build(compiled(bare))(torch.zeros(3, dtype=torch.int64)).dtype is torch.float32


def test_noise_is_made_where_the_input_is():
    module = build(compiled("network N { input x: [N]\n sample e ~ normal(0, 1): [N]\n output x + e }"))
    assert module(torch.zeros(4, device="meta")).device.type == "meta"
    assert build(compiled(ENTRY)).to("meta").generate(b=2)[0].device.type == "meta"


# -- anew


TWICE = """
block Jitter() { input x: [B, D]  sample eps ~ normal(0, 1): [B, D]  output x * 0 + eps }
network N {
  input x: [B, D=3]
  module once = Jitter()
  output a = x -> Jitter
  output b = x -> Jitter
  output c = x -> once
  output d = x -> once
  sample e ~ normal(0, 1): [B, D]
  sample f ~ normal(0, 1): [B, D]
  output e
  output f
}
"""


@pytest.mark.parametrize("level", [0, 1])
def test_each_use_draws_its_own(level):
    program = compiled(TWICE)
    found = for_inference(program, build(program), level)(torch.zeros(2, 3))
    assert len({tuple(y.flatten().tolist()) for y in found}) == 6


@pytest.mark.parametrize("way", ["as it trains", "standalone", "for inference"])
def test_each_step_of_a_scan_draws_its_own(way):
    program = compiled(CELL)
    module = build(program, standalone=way == "standalone")
    if way == "for inference":
        module = for_inference(program, module)
    torch.manual_seed(0)
    y = module(torch.zeros(2000, 5, 3))
    steps = torch.cat([y[:, :1], y.diff(dim=1)], 1).double()
    covariance = torch.corrcoef(steps.permute(1, 0, 2).flatten(1))
    torch.testing.assert_close(covariance, torch.eye(5, dtype=torch.float64), rtol=0, atol=CHANCE / math.sqrt(6000))
    torch.manual_seed(0)
    assert torch.equal(module(torch.zeros(2000, 5, 3)), y)


def test_a_scan_that_draws_is_a_loop():
    text = emit_python(compiled(CELL))
    assert "archlang" not in text.partition("\n")[2]
    assert "for x_t in x.unbind(1)" in text


def test_blocks_inlined_draw_as_often():
    flat = flatten(compiled(TWICE).graph)
    assert sum(flat[n].op is not None and flat[n].op.name == "noise" for n in flat) == 6


def test_an_exported_graph_draws_anew(tmp_path):
    program = compiled("network N { input x: [B, 3]\n sample e ~ normal(0, 1): [B, 3]\n output y = x + e }")
    save_onnx(program, build(program), tmp_path / "n.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx")
    x = np.zeros((2000, 3), dtype=np.float32)
    (one,), (other,) = (session.run(None, {"x": x}) for _ in range(2))
    assert not np.array_equal(one, other)
    assert abs(one.std() - 1) < 0.1


# -- forms


def test_graphs_and_text_keep_it():
    for text in (TWICE, CELL, ENTRY):
        program = compiled(text)
        again = from_json(to_json(program))
        for one, other in zip(
            (program.graph, *program.entries.values()), (again.graph, *again.entries.values()), strict=True
        ):
            assert same(one, other)
            assert same(parse_graph(print_graph(one)), one)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"normal"', '"cauchy"'), ("[0.0, 1.0]", "[0.0]"), ("[0.0, 1.0]", "[0.0, -1.0]"), ('["B", "D"]', '["B"]')],
)
def test_a_graph_with_impossible_noise_is_refused(old, new):
    text = to_json(compiled(TWICE))
    assert old in text
    with pytest.raises(ArchError):
        from_json(text.replace(old, new))


def test_it_is_printed_as_it_is_written():
    text = (
        "network N {\n  input x: [B]\n  sample a~ normal( 0,deviation= 2 ) : [B,3]\n sample g ~ gumbel: [B]\noutput a }"
    )
    laid = format_source(Source(text, "net.arch"))
    assert "  sample a ~ normal(0, deviation=2): [B, 3]\n  sample g ~ gumbel: [B]\n" in laid
    assert format_source(Source(laid, "net.arch")) == laid
