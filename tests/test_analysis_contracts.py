"""Contracts: what holds is silent, what does not is said with numbers and place."""

from __future__ import annotations

import re

import pytest
from archlang.compiler.analysis.contracts import check_contracts
from archlang.compiler.diagnostics import ArchError, explain, plain
from archlang.compiler.frontend import Frontend, check_source, compile_program
from archlang.compiler.source import Source

NET = """network Small(classes: int = 10, depth: int = 3) {{
  input  image: [B, 1, H={H}, W=32]
  target digit: int[B]
  x = image -> conv(6, kernel=5) -> tanh -> avgpool(2)
  features = x -> conv(16, kernel=5) -> tanh -> avgpool(2)
  output logits = features -> global_avgpool -> rearrange("b c h w -> b (c h w)") -> linear(classes)
  loss nll = (logits, digit) -> cross_entropy
  {expect}
}}
"""
PARAMS = 6 * 25 + 6 + 16 * 6 * 25 + 16 + 170
FLOPS = 2 * (28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 160)


def judged(expect, H="32"):
    text = NET.format(expect=expect, H=H).replace("H=~", "H~")
    front = Frontend(Source(text))
    program = front.program(front.choose(None))
    front.sink.raise_if_failed()
    return check_contracts(program)


@pytest.mark.parametrize(
    "contract",
    [
        f"params == {PARAMS}",
        f"params ~= {PARAMS + 20} within 1%",
        f"params < {PARAMS + 1}",
        f"params >= {PARAMS}",
        "params != 5",
        f"flops == {FLOPS}",
        f"macs == {FLOPS // 2}",
        "flops < 2 * 1M",
        "depth == 3",
        "depth == depth",
        "layers == 3",
        "buffers == 0",
        "outputs == 1",
        "loss_params == 0",
        "shape(features) == [B, 16, 5, 5]",
        "shape(x) == [B, 2 * depth, 14, 14]",
        "shape(x)[1] == 6",
        "len(shape(logits)) == 2",
        "receptive_field(features) == 16",
        "receptive_field(features, W) == 16",
        "receptive_field(x, H) < receptive_field(features, H)",
        "receptive_field(logits) == all",
        "stride(features) == 4",
        "centre(features) == 7.5",
        "centre(image, H) == 0",
        "centre(x, W) < centre(features, W)",
        "bottleneck(features) == 400",
        "bottleneck(logits) == 10",
        "bottleneck(image) == 32 * 32",
        "gradient_path(logits) == depth",
        "gradient_path(image) == 0",
        "identity_path(x) >= identity_path(image)",
        "classes % 2 == 0",
        "memory > 4 * 6 * 28 * 28",
    ],
)
def test_what_holds_is_silent(contract):
    assert judged(f"expect {contract}") == []


@pytest.mark.parametrize(
    ("contract", "code", "words"),
    [
        (f"params == {PARAMS - 2}", "A0601", f"params is {PARAMS:,}, expected {PARAMS - 2:,}: 2 too many, 0.073%"),
        ("params ~= 2600 within 1%", "A0601", "expected about 2,600 (within 1%)"),
        ("params < 100", "A0601", "expected less than 100"),
        (f"params != {PARAMS}", "A0601", f"expected not {PARAMS:,}"),
        ("shape(features) == [B, 16, 5, 6]", "A0601", "axis 3 is 5, not 6"),
        ("shape(features) == [B, 16]", "A0601", "it has 4 axes, not 2"),
        ("receptive_field(logits) <= 100", "A0601", "is all, expected at most 100"),
        ("receptive_field(features) == 17", "A0601", "1 too few"),
        ("shape(features) == [4, 16, 5, 5]", "A0602", "it is [B, 16, 5, 5]"),
        ("parms == 5", "A0603", "did you mean `params`?"),
        ("volume(features) == 5", "A0603", "`volume`"),
        ("params == clases", "A0603", "did you mean `classes`?"),
        ("shape(feature) == [B]", "A0603", "did you mean `features`?"),
        ("shape == [B]", "A0604", "write `shape(x)`"),
        ("params(x) == 5", "A0604", "write `params`"),
        ("shape(x, H) == [B]", "A0604", "one named value"),
        ("shape(2) == [B]", "A0604", "one named value"),
        ("receptive_field(x, K) == 5", "A0604", "named axes: `B`, `H`, `W`"),
        ("shape(x) < 5", "A0604", "compares numbers"),
        ("stride(logits) == 5", "A0604", "through a window"),
        ("centre(logits) == 5", "A0604", "through a window"),
        ("centre(x, K) == 5", "A0604", "named axes: `B`, `H`, `W`"),
        ("bottleneck(x, H) == 5", "A0604", "one named value: `bottleneck(x)`"),
        ("bottleneck == 5", "A0604", "write `bottleneck(x)`"),
        ("bottleneck(logits) == 16", "A0601", "is 10, expected 16: 6 too few"),
        ("gradient_path(digit) == 1", "A0604", "no gradient flows from `digit`"),
        ("identity_path(digit) == 1", "A0604", "no path from an input to `digit`"),
        ("params ~= 5 within [1]%", "A0604", "number of per cent"),
        ("params == 5 // 0", "A0410", "division by zero"),
    ],
)
def test_what_fails_says_by_how_much_and_where(contract, code, words):
    (found,) = judged(f"expect {contract}")
    assert found.code == code
    assert words in f"{found.message} {found.help}"
    assert found.span is not None
    assert found.span.line == 8


def test_a_failing_shape_shows_where_the_value_was_made():
    (found,) = judged("expect shape(features) == [B, 16, 5, 6]")
    assert [label.span.line for label in found.labels] == [5]
    assert "[B, C=16, H=5, W=5]" in plain(found)


def test_nominal_sizes_decide_what_symbols_leave_open():
    assert judged("expect shape(features) == [B, 16, 5, 5]", H="~32") == []
    assert judged("expect shape(x) == [B, 6, (H - 4) // 2, 14]", H="~32") == []
    assert judged(f"expect flops == {FLOPS}", H="~32") == []
    (found,) = judged("expect shape(features) == [B, 16, 6, 5]", H="~32")
    assert found.code == "A0601"


@pytest.mark.parametrize("code", ["A0601", "A0602", "A0603", "A0604"])
def test_the_page_of_a_code_shows_exactly_it(code):
    page = explain(code)
    assert page is not None
    wrong, right = re.findall(r"```arch(?: fixed)?\n(.*?)```", page, re.DOTALL)
    assert [d.code for d in check_source(Source(wrong)).diagnostics] == [code]
    assert check_source(Source(right)).diagnostics == []


def test_with_other_parameters_only_contracts_about_parameters_are_asked() -> None:
    text = NET.format(expect=f"expect params == {PARAMS}\n  expect shape(x)[1] == 6\n  expect classes < 20", H="32")
    assert compile_program(Source(text)).parameters["classes"] == 10
    assert compile_program(Source(text), parameters={"classes": 12}).parameters["classes"] == 12
    with pytest.raises(ArchError) as refusal:
        compile_program(Source(text), parameters={"classes": 20})
    (problem,) = refusal.value.diagnostics
    assert problem.code == "A0601"
    assert problem.message == "classes is 20, expected less than 20"
