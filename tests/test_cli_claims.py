"""Claims and derived figures as check, show and Python give them."""

from __future__ import annotations

import json

import archlang
import pytest

CLAIMING = """block Down(width: int) {
  input x: [B, C, H, W]
  y = x -> conv(width, kernel=3, stride=2, pad=1) -> relu -> conv(width, kernel=3, pad=1)
  output y + (x -> projection: conv(width, kernel=1, stride=2) -> batchnorm) -> relu
  bias residual(projections=1)
}
network N {
  input image: [B, 8, H=16, W=16]
  features = image -> avgpool(2) -> first: Down(16) -> second: Down(32)
  output y = features -> global_avgpool -> flatten -> linear(5)
  bias residual(projections=2) on features
  bias bottleneck(5) on y
}
"""
ASSUMING = """network N {
  input x: [B, T, D=8]
  output y = x -> linear(2)
  bias bottleneck(9) on y assumed
}
"""


@pytest.fixture(autouse=True)
def specs(tmp_path):
    (tmp_path / "right.arch").write_text(CLAIMING)
    (tmp_path / "assumed.arch").write_text(ASSUMING)
    (tmp_path / "wrong.arch").write_text(CLAIMING.replace("bottleneck(5)", "bottleneck(4)"))


def test_check_counts_claims(run):
    done = run("check", "right.arch", "assumed.arch")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith("right.arch: ok, 3 claims proved, 2 with caveats: N (")
    assert second.startswith("assumed.arch: ok, 1 claim assumed: N (")
    assert "note[A1305]" in done.err


def test_check_lists_claims_and_a_refused_one_fails(run):
    done = run("check", "--claims", "right.arch")
    assert done.code == 0
    listed = done.out.splitlines()[1:]
    assert listed[:2] == [
        "  proved  Down: residual(projections=1) on output: an identity path leads to it, past 1 layer with weights: "
        "`projection`",
        "          activation on the path: `relu`",
    ]
    assert listed[-1].endswith("N: bottleneck(n=5) on y: everything passes through `y` (5)")
    done = run("check", "--claims", "wrong.arch")
    assert done.code == 1
    assert "  refuted  N: bottleneck(n=4) on y" in done.out
    assert "error[A1301]" in done.err


def test_claims_for_programs(run):
    done = run("check", "--json", "right.arch", "wrong.arch")
    assert done.code == 1
    right, wrong = json.loads(done.out)["files"]
    claims = right["networks"][0]["claims"]
    assert [(c["graph"], c["claim"], c["verdict"]) for c in claims] == [
        ("Down", "residual", "proved"),
        ("N", "residual", "proved"),
        ("N", "bottleneck", "proved"),
    ]
    assert claims[2]["figures"] == {"elements": 5, "cut": [{"path": "y", "elements": 5}]}
    assert claims[2]["place"]["line"] == 12
    (refuted,) = [c for c in wrong["networks"][0]["claims"] if c["verdict"] == "refuted"]
    assert refuted["culprit"]["path"] == "y"


def test_show_tells_of_outputs_and_claims(run):
    done = run("show", "right.arch")
    assert done.code == 0
    notes = done.out[done.out.index("output y") :].splitlines()
    assert notes[:5] == [
        "output y",
        "  bottleneck     5 elements at `y`",
        "  gradient path  3 of 5 layers: `first.projection`, `second.projection`, `linear1`",
        "  identity path  past 3 layers with weights: `first.projection`, `second.projection`, `linear1`; "
        "through 2 activations, 2 poolings",
        "  resolutions    stride 1 sees 1, stride 2 sees 2, stride 4 sees 14, stride 8 sees 38",
    ]
    assert notes[5] == "3 claims proved, 2 with caveats"
    assert len(notes) == 5 + 1 + 3 + 3


def test_show_for_programs(run):
    found = json.loads(run("show", "right.arch", "--json", "--depth", "1").out)
    rows = {row["path"]: row for row in found["rows"]}
    assert rows["second"]["strides"] == {"H": 8, "W": 8}
    assert rows["second"]["centres"] == {"H": 0.5, "W": 0.5}
    assert rows["first.projection"]["strides"] == {"H": 4, "W": 4}
    assert found["outputs"]["y"]["bottleneck"] == {"elements": 5, "cut": [{"path": "y", "elements": 5}]}
    assert found["outputs"]["y"]["gradient_path"]["layers"] == 3
    assert found["outputs"]["y"]["identity_path"]["through"] == [
        "avgpool",
        "first.relu",
        "second.relu",
        "global_avgpool",
    ]
    assert [claim["verdict"] for claim in found["claims"]] == ["proved"] * 3


def test_findings_from_python(tmp_path):
    report = archlang.check(tmp_path / "wrong.arch")
    assert not report
    assert [f.verdict for f in report.findings if f.graph == "N"] == ["proved", "refuted"]
    compiled = archlang.compile(tmp_path / "right.arch")
    assert {str(f) for f in compiled.findings if f.graph == "N"} == {
        "residual(projections=2) on features",
        "bottleneck(n=5) on y",
    }
    assert "3 claims proved" in compiled.summary()
