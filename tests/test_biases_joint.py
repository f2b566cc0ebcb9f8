"""Inputs that meet must move together: by the same steps, or nothing follows them."""

from __future__ import annotations

import pytest
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source

TEXT = """network N {{
  input x: [B, 2, T=32]
  input y: [B, 2, T=32]
  v = {joined}
  w = v -> mean(axis=T)
  output w
  bias {claim}
}}
"""
SAME = "(x -> avgpool(2)) * (y -> maxpool(2))"
APART = "(x -> avgpool(2)) * y[T=0..16]"
SUMMED = '(x -> avgpool(2), y[T=0..16]) -> einsum("b c t, b d t -> b c d t")'


@pytest.mark.parametrize(
    ("joined", "holds"), [(SAME, True), (APART, False), ("x * y", True), (SUMMED, False), ("x * 2 + y", True)]
)
@pytest.mark.parametrize("claim", ["translation_equivariance on v over T", "translation_invariance on w over T"])
def test_inputs_at_different_strides_follow_no_move(joined: str, holds: bool, claim: str) -> None:
    found = check_source(Source(TEXT.format(joined=joined, claim=claim), "case.arch")).diagnostics
    assert [d.code for d in found] == ([] if holds else ["A1301"])


def test_a_sum_over_places_at_different_strides_follows_no_move() -> None:
    contracted = '(x -> avgpool(2), y[T=0..16]) -> einsum("b c t, b d t -> b c d")'
    text = TEXT.format(joined=contracted, claim="translation_invariance on v over T")
    found = check_source(
        Source(text.replace("  w = v -> mean(axis=T)\n  output w", "  output v"), "case.arch")
    ).diagnostics
    assert [d.code for d in found] == ["A1301"]
