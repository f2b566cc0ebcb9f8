"""How weights start: the statement `init`, a layer's own settings, and the distributions that the code draws from."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.emit.json import from_json, to_json
from archlang.compiler.emit.python import emit_python
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source
from archlang.runtime.module import build
from distributions import same_distribution
from emit_harness import compiled, lint
from torch import nn

LAYERS = """
network Net {
  input x: [B, C=48, H=8, W=8]
  %s
  y = x -> conv(96, kernel=3, pad=1) -> depthwise: conv(96, kernel=5, pad=2, groups=96) -> conv(96, kernel=1)
  output y -> global_avgpool -> flatten -> linear(200) -> head: linear(300)
}
"""

# A start, and what torch.nn.init (or a published definition) does for it.
STARTS = {
    "conv.weight = kaiming_normal": nn.init.kaiming_normal_,
    'conv.weight = kaiming_normal(mode="fan_out", nonlinearity="relu")': lambda w: nn.init.kaiming_normal_(
        w, mode="fan_out", nonlinearity="relu"
    ),
    "conv.weight = kaiming_uniform(0.5)": lambda w: nn.init.kaiming_uniform_(w, 0.5),
    "conv.weight = xavier_uniform(gain=2)": lambda w: nn.init.xavier_uniform_(w, 2.0),
    "linear.weight = xavier_normal": nn.init.xavier_normal_,
    "linear.weight = normal(0.5, 0.01)": lambda w: nn.init.normal_(w, 0.5, 0.01),
    "linear.weight = uniform(-0.25, 0.5)": lambda w: nn.init.uniform_(w, -0.25, 0.5),
    "linear.weight = trunc_normal(0, 1.5, -2, 2)": lambda w: nn.init.trunc_normal_(w, 0, 1.5, -2, 2),
    "linear.weight = orthogonal": nn.init.orthogonal_,
    "linear.weight = constant(0.125)": lambda w: nn.init.constant_(w, 0.125),
    "linear.bias = ones": nn.init.ones_,
    "linear.weight = 0.5": lambda w: nn.init.constant_(w, 0.5),
    'linear.weight = variance_scaling(1 / 3, "fan_out", "uniform")': lambda w: nn.init.uniform_(
        w, -1 / sqrt(w.shape[0]), 1 / sqrt(w.shape[0])
    ),
    'conv.weight = variance_scaling(2, "fan_avg", "normal")': lambda w: nn.init.xavier_normal_(w, sqrt(2)),
    'conv.weight = variance_scaling(1, "fan_in", "truncated_normal")': lambda w: nn.init.trunc_normal_(
        w, std=(s := w[0].numel() ** -0.5 / 0.87962566), a=-2 * s, b=2 * s
    ),
    'conv.weight = variance_scaling(2, "fan_out_per_group")': lambda w: nn.init.normal_(
        w, std=sqrt(2 / (w.shape[0] * w[0, 0].numel() // (96 if w.shape[1] == 1 else 1)))
    ),
}


def built(text: str) -> nn.Module:
    torch.manual_seed(0)
    return build(compiled(text)).eval()


@pytest.mark.parametrize("rule", STARTS)
def test_a_rule_draws_from_the_distribution_of_torch(rule: str) -> None:
    kind, weight = rule.partition(" = ")[0].split(".")
    net = built(LAYERS % f"init {rule}")
    torch.manual_seed(1)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d if kind == "conv" else nn.Linear)]
    assert len(layers) == (3 if kind == "conv" else 2)
    for layer in layers:
        ours = layer.get_parameter(weight).detach()
        same_distribution(ours, STARTS[rule](torch.empty_like(ours)))


@pytest.mark.parametrize("rule", STARTS)
def test_a_setting_of_one_layer_draws_from_the_same(rule: str) -> None:
    """The fans of a layer by itself are numbers in the code."""
    (kind, weight), start = rule.partition(" = ")[0].split("."), rule.partition(" = ")[2]
    setting = "init" if weight == "weight" else "bias_init"
    groups = "" if kind == "linear" else ", kernel=5, pad=2, groups=96"
    enters = "D=64" if kind == "linear" else "C=96, H=8, W=8"
    net = built(f"network N {{ input x: [B, {enters}]  output x -> it: {kind}(192{groups}, {setting}={start}) }}")
    ours = net.get_parameter(f"it.{weight}").detach()
    torch.manual_seed(1)
    theirs = STARTS[rule](torch.empty_like(ours))
    if "per_group" in rule:
        theirs = nn.init.normal_(theirs, std=sqrt(2 / (192 * 25 // 96)))
    same_distribution(ours, theirs)


NEAR = """
block Unit(width: int) {
  input x: [B, C, H, W]
  output x -> skip { conv(width, kernel=3, pad=1, bias=false) -> batchnorm -> relu }
}
block Odd(width: int) {
  input x: [B, C, H, W]
  init conv.weight = constant(2)
  output x -> Unit(width) -> conv(4, kernel=1)
}
network Net {
  input x: [B, 4, H=8, W=8]
  init conv.weight = ones
  init conv.bias = constant(3)
  output x -> repeat 3 { Unit(4) } -> Odd(4) -> own: conv(4, kernel=1, init=constant(5), bias_init=zeros)
  entry again { input z: [B, 4, H=8, W=8]  output z -> extra: conv(4, kernel=1) }
}
"""


def test_the_nearest_rule_wins_and_a_setting_over_all() -> None:
    values = {key: w.unique().tolist() for key, w in built(NEAR).named_parameters() if "conv" in key or key[:1] == "o"}
    assert values == {
        "unit1.conv1.weight": [1], "unit2.conv1.weight": [1], "unit3.conv1.weight": [1], "odd1.unit1.conv1.weight": [2],
        "odd1.conv1.weight": [2], "odd1.conv1.bias": [3], "own.weight": [5], "own.bias": [0],
    } | {key: value for key, value in values.items() if "batchnorm" in key}  # fmt: skip
    extra = built(NEAR).get_submodule("extra")
    assert extra.weight.unique().tolist() == [1] and extra.bias.unique().tolist() == [3]


def test_one_loop_and_what_differs_after_it() -> None:
    text = emit_python(compiled(NEAR))
    start = text.index("        for module in self.modules():")
    lines = [line.partition("  #")[0] for line in text[start : text.index("def forward", start)].splitlines()]
    assert [line for line in lines if line.strip()] == [
        "        for module in self.modules():",
        "            if isinstance(module, nn.Conv2d):",
        "                nn.init.ones_(module.weight)",
        "                if module.bias is not None:",
        "                    nn.init.constant_(module.bias, 3.0)",
        "        nn.init.constant_(self.odd1.unit1.conv1.weight, 2.0)",
        "        nn.init.constant_(self.odd1.conv1.weight, 2.0)",
        "        nn.init.constant_(self.own.weight, 5.0)",
        "        nn.init.zeros_(self.own.bias)",
    ]
    assert text.count("nn.init.") == 6


def test_classes_with_equal_rules_share_a_branch() -> None:
    rules = "init conv.weight = trunc_normal(std=0.02)  init linear.weight = trunc_normal(0, 0.02)"
    text = emit_python(compiled(LAYERS % rules))
    assert "if isinstance(module, nn.Conv2d | nn.Linear):" in text
    assert "nn.init.trunc_normal_(module.weight, std=0.02)" in text


def test_a_single_layer_is_started_where_it_is_made() -> None:
    text = emit_python(
        compiled("""
    network N {
      input x: [B, 8]
      init linear.weight = normal(0, 0.01)
      output x -> fc: linear(3)
    }""")
    )
    assert "for module" not in text
    assert "nn.init.normal_(self.fc.weight, std=0.01)" in text


def test_layers_that_start_as_pytorch_does_are_left_alone() -> None:
    """A last batch norm of zero in every block, as in Goyal et al.: the others keep their ones."""
    text = """
    block Unit(width: int) {
      input x: [B, C, H, W]
      output x -> skip { bn1: batchnorm -> conv(width, kernel=1) -> bn2: batchnorm(init=zeros) }
    }
    network N { input x: [B, 4, H=4, W=4]  output x -> repeat 5 { Unit(4) } }
    """
    net = built(text)
    assert {key: w.unique().tolist() for key, w in net.named_parameters() if "bn" in key and "weight" in key} == {
        f"unit{i}.bn{j}.weight": [2 - j] for i in range(1, 6) for j in (1, 2)
    }
    assert "for module" not in emit_python(compiled(text))


def test_ruff_is_content() -> None:
    texts = [NEAR, *(LAYERS % f"init {rule}" for rule in STARTS)]
    assert lint(*(emit_python(compiled(text)) for text in texts)) == ""


def test_a_block_with_equal_arguments_and_rules_is_elaborated_once() -> None:
    program = compiled(NEAR)
    assert [graph.name for graph in program.graph.graphs()] == ["Unit", "Unit", "Odd", "Net"]
    assert emit_python(program).count("class Unit") == 1  # their code is one: the rules are not in it


def test_numbers_that_differ_between_uses_of_a_block() -> None:
    net = built("""
    block Gain(start: float) {
      input x: [B, D]
      param scale: [3] = start
      output (x -> l: linear(3, init=constant(start))) * scale
    }
    network N { input x: [B, 3]  output x -> a: Gain(0) -> b: Gain(0.5) -> c: Gain(1) }
    """)
    for name, value in (("a", 0), ("b", 0.5), ("c", 1)):
        assert net.get_parameter(f"{name}.scale").tolist() == [value] * 3
        assert net.get_parameter(f"{name}.l.weight").unique().tolist() == [value]


def test_a_weight_stored_the_other_way_around_counts_its_fans_so() -> None:
    for start in ('kaiming_normal(mode="fan_out")', 'variance_scaling(2, "fan_out")'):
        net = built(f'network N {{ input x: [B, 30]  output x -> it: linear(1000, layout="io", init={start}) }}')
        assert net.get_parameter("it.weight").std().item() == pytest.approx(sqrt(2 / 1000), rel=0.05)


def test_a_rule_is_unused_only_if_no_network_of_the_file_uses_it() -> None:
    text = """
    network Base(normed: bool) {
      input x: [B, 3, H=4, W=4]
      init batchnorm.weight = zeros
      init conv.weight = zeros
      y = x -> conv(4, kernel=1)
      output if normed then y -> batchnorm else y
    }
    network Plain = Base(false)
    """
    found = check_source(Source(text, "case.arch")).diagnostics
    assert [(d.code, str(d.severity)) for d in found] == [("A0521", "warning")]
    for both in (f"{text} network Normed = Base(true)", f"network Normed = Base(true) {text}"):
        assert check_source(Source(both, "case.arch")).diagnostics == []


def test_starts_survive_json() -> None:
    rules = 'init conv.weight = kaiming_normal(mode="fan_out")  init linear.weight = variance_scaling(2, "fan_avg")'
    text = to_json(compiled(LAYERS % rules))
    again = emit_python(from_json(text))
    assert again[again.index("for module") :].split("def")[0] in emit_python(compiled(LAYERS % rules))
    assert 'nn.init.kaiming_normal_(module.weight, mode="fan_out")' in again
    for hostile in ('"fan_on"', '"fan_out\\"); import os; (\\""', "3", "null"):
        with pytest.raises(ArchError) as caught:
            from_json(text.replace('"fan_out"', hostile))
        assert [d.code[:4] for d in caught.value.diagnostics] == ["A069"]
