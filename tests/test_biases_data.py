"""Claims against the data of a `train` block: a warning that names both, and silence where they agree."""

from __future__ import annotations

import pytest
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source

TABLE = """network N {{
  input x: [B, F=30]
  target y: int[B]
  h = x -> unsqueeze(1) -> conv(4, kernel=3, pad=1) -> relu
  output logits = h -> flatten -> linear(2)
  loss nll = (logits, y) -> cross_entropy
  bias {claim} on h over F
}}
train N on {data} {{ optimizer adam  epochs 1 }}
"""

IMAGES = """network N {{
  input x: [B, 1, H=8, W=8]
  target y: int[B]
  h = x -> rearrange("b 1 h w -> b (h w) 1") -> linear(8) -> relu -> mean(axis=1)
  output logits = h -> linear(10)
  loss nll = (logits, y) -> cross_entropy
  bias {claim} on h{over}
}}
train N on {data} {{ optimizer adam  epochs 1 }}
"""


def warnings(text: str) -> list[str]:
    found = check_source(Source(text, "case.arch")).diagnostics
    return [d.message for d in found if d.code == "A1306"]


@pytest.mark.parametrize("claim", ["locality", "translation_equivariance"])
def test_neighbourhood_on_a_table_is_a_warning(claim):
    (message,) = warnings(TABLE.format(claim=claim, data="breast_cancer"))
    assert claim in message and "breast_cancer" in message


@pytest.mark.parametrize(
    ("claim", "data"),
    [("weight_sharing", "breast_cancer"), ("locality", 'npz("d.npz")'), ("locality", "digits(size=8)")],
)
def test_no_warning_where_data_and_claim_agree_or_nothing_is_known(claim, data):
    assert warnings(TABLE.format(claim=claim, data=data)) == []


@pytest.mark.parametrize("over", ["", " over H, W"])
def test_order_means_something_in_pictures(over):
    (message,) = warnings(IMAGES.format(claim="permutation_invariance", over=over, data="digits(size=8)"))
    assert "permutation_invariance" in message and "digits" in message


def test_sets_on_a_table_are_fine():
    assert warnings(IMAGES.format(claim="permutation_invariance", over="", data="breast_cancer")) == []
