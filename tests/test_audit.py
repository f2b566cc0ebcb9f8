"""The audit: proofs of shipped specs are confirmed, and a false proof of every kind is contradicted."""

from __future__ import annotations

import json
from dataclasses import replace

import archlang
import pytest
import torch
from archlang.cli.main import run
from archlang.compiler import claims
from archlang.compiler.analysis.biases.findings import Finding, Verdict
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Ref
from archlang.compiler.source import Source
from archlang.runtime.audit import TESTS, Outcome, audit, audited, check_claim
from archlang.runtime.audit.bench import Bench, compiled, sliced
from archlang.runtime.checkpoint import save_weights
from archlang.runtime.module import build

SIGNAL = "network N {{\n  input x: [B, D=4, T~24]\n  output y = x -> {body}\n}}\n"
ROWS = "network N {{\n  input x: [B, T~12, D=4]\n  output y = {body}\n}}\n"


def window(lo: int = 0, hi: int = 0, stride: int = 1, period: int = 1, along: int | None = 2) -> dict:
    entry = {"input": "x", "axis": "T", "along": along, "sees": "window", "stride": str(stride), "period": str(period)}
    return {"windows": [entry | {"lo": str(lo), "hi": str(hi), "width": hi - lo + 1}], "period": period}


def everything(along: int | None = 2, period: int = 1) -> dict:
    return {"windows": [{"input": "x", "axis": "T", "along": along, "sees": "all", "period": str(period)}]}


def outcome(text: str, claim: claims.Claim, figures: dict, pair: tuple[int, int] = (0, 2)) -> Outcome:
    """What the audit says of a proof that we made up."""
    program = compile_program(Source(text, "made_up.arch"))
    graph = program.graph
    ref = graph.values.get("y", Ref(graph.outputs[0]))
    finding = Finding(
        "N", claim, Verdict.PROVED, "so it is", "y", ref, (pair,), ("T",), figures=figures, span=graph.span
    )
    result = check_claim(program, graph, finding, seeds=(3,))
    assert (result.diagnostic() is not None) == (result.outcome is Outcome.CONTRADICTED)
    return result.outcome


CONV = "conv(4, kernel=3, pad=1)"
CELL = "cell Sum {\n  input x: [B, D]\n  state h: [B, D]\n  h' = (h, x) -> linear(D) -> tanh\n  output h'\n}\n"
STEP = "h * ((h, x) -> linear(D) -> GATE) + ((h, x) -> linear(D))"
GATED = CELL.replace("(h, x) -> linear(D) -> tanh", STEP) + ROWS.format(body="x -> scan Sum over T")
TIMES = "(x * (x -> {}))"

# claim, a network of which it is true, one of which it is false, the axis of T, the same made-up figures for both
FALSE = {
    "locality": (
        claims.Locality(),
        SIGNAL.format(body=CONV),
        SIGNAL.format(body=f"{CONV} -> {CONV}"),
        window(-1, 1),
        (0, 2),
    ),
    "translation_equivariance": (
        claims.TranslationEquivariance(),
        SIGNAL.format(body="conv(4, kernel=3, pad=1)"),
        SIGNAL.format(body="cumsum(axis=T)"),
        window(-1, 1),
        (0, 2),
    ),
    "translation_equivariance, stride": (
        claims.TranslationEquivariance(),
        SIGNAL.format(body="conv(4, kernel=2)"),
        SIGNAL.format(body="conv(4, kernel=2, stride=2) -> upsample(scale=2)"),
        window(-1, 1),
        (0, 2),
    ),
    "translation_invariance": (
        claims.TranslationInvariance(),
        SIGNAL.format(body=f"{CONV} -> mean(axis=T)"),
        SIGNAL.format(body=f"{CONV} -> cumsum(axis=T) -> mean(axis=T)"),
        everything(None),
        (0, 2),
    ),
    "weight_sharing": (
        claims.WeightSharing(),
        SIGNAL.format(body=CONV),
        SIGNAL.replace("T~24", "T=24").format(body="linear(3)"),
        {},
        (0, 2),
    ),
    "causality": (
        claims.Causality(),
        SIGNAL.format(body="cumsum(axis=T)"),
        SIGNAL.format(body=CONV),
        window(-2, 0),
        (0, 2),
    ),
    "sequential": (
        claims.Sequential(),
        CELL + ROWS.format(body="x -> scan Sum over T"),
        ROWS.format(body="x -> cumsum(axis=T)"),
        {},
        (0, 1),
    ),
    "causality of a fixed range": (
        claims.Causality(),
        ROWS.format(body='x + (x[T=0] -> rearrange("b d -> b 1 d"))'),
        ROWS.format(body='x + (x[T=1] -> rearrange("b d -> b 1 d"))'),
        window(along=1),
        (0, 1),
    ),
    "causality of a scan": (
        claims.Causality(),
        CELL + ROWS.format(body="x -> scan Sum over T"),
        CELL + ROWS.format(body="x -> bidirectional Sum over T"),
        window(along=1),
        (0, 1),
    ),
    "gating in a cell": (
        claims.Gating(),
        GATED.replace("GATE", "sigmoid"),
        GATED.replace("GATE", "tanh"),
        {},
        (0, 1),
    ),
    "permutation_equivariance": (
        claims.PermutationEquivariance(),
        ROWS.format(body="x + (x -> linear(4) -> mean(axis=T, keep=true))"),
        ROWS.format(body="x + (x -> cumsum(axis=T))"),
        window(along=1),
        (0, 1),
    ),
    "permutation_invariance": (
        claims.PermutationInvariance(),
        ROWS.format(body="x -> linear(4) -> relu -> max(axis=T)"),
        ROWS.format(body="x -> cumsum(axis=T) -> mean(axis=T)"),
        everything(None),
        (0, 1),
    ),
    "global_context": (
        claims.GlobalContext(),
        ROWS.format(body="x + (x -> mean(axis=T, keep=true))"),
        ROWS.format(body="x -> linear(4)"),
        everything(1),
        (0, 1),
    ),
    "bottleneck": (
        claims.Bottleneck(n=3),
        "network N {\n  input x: [B, D=8]\n  input alpha: []\n  output y = (x -> linear(3) -> linear(8)) + alpha\n}\n",
        "network N {\n  input x: [B, D=8]\n  output y = x + (x -> linear(3) -> linear(8))\n}\n",
        {},
        (0, 1),
    ),
    "residual": (
        claims.Residual(),
        ROWS.format(body="x + (x -> linear(4) -> relu -> linear(4))"),
        ROWS.format(body="x -> linear(4) -> relu -> linear(4)"),
        {"projections": 0},
        (0, 1),
    ),
    "gating": (
        claims.Gating(),
        ROWS.format(body="x * (x -> linear(4) -> sigmoid)"),
        ROWS.format(body="x * (x -> linear(4) -> tanh)"),
        {},
        (0, 1),
    ),
}


@pytest.mark.parametrize("kind", FALSE)
def test_false_proofs_are_contradicted(kind):
    claim, holds, breaks, figures, pair = FALSE[kind]
    assert outcome(holds, claim, figures, pair) is Outcome.AGREES
    assert outcome(breaks, claim, figures, pair) is Outcome.CONTRADICTED


STAIRS = [
    {"input": "x", "axis": "T", "stride": "1", "receptive_field": 3},
    {"input": "x", "axis": "T", "stride": "2", "receptive_field": 5},
]


def test_a_false_hierarchy_is_contradicted():
    claim = claims.Hierarchy()
    figures = window(-1, 3) | {"stages": STAIRS}
    climbs = SIGNAL.format(body="conv(4, kernel=3, pad=1) -> conv(4, kernel=3, stride=2, pad=1)")
    assert outcome(climbs, claim, figures) is Outcome.AGREES
    sees_no_more = SIGNAL.format(body="conv(4, kernel=3, pad=1) -> conv(4, kernel=1, stride=2)")
    assert outcome(sees_no_more, claim, figures) is Outcome.CONTRADICTED


def test_every_claim_that_can_hold_has_a_test_that_can_fail():
    elsewhere = {"hierarchy", "smooth_latent", "adversarial"}
    assert set(TESTS) == set(claims.CLAIMS)
    assert {kind.partition(",")[0].partition(" ")[0] for kind in FALSE} | elsewhere == set(TESTS)


@pytest.mark.parametrize(
    "name", ["CausalConvolutions", "CausalAttention", "SetAttention", "DeepSet", "Autoencoder", "Highway"]
)
def test_the_shown_biases_are_confirmed(name):
    results = archlang.verify("biases", name=name)
    assert results
    assert {r.outcome for r in results} == {Outcome.AGREES}
    assert all(r.tight for r in results if r.finding.claim.name == "locality")


def test_lenet_sees_what_was_proved_and_no_less():
    results = {r.finding.claim.name: r for r in archlang.verify("lenet5")}
    assert {r.outcome for r in results.values()} == {Outcome.AGREES}
    assert results["locality"].tight
    first, last = results["locality"].figures["footprint H"]
    assert last - first + 1 == 16


def test_a_checkpoint_is_audited(tmp_path):
    program = archlang.compile("biases", "Highway").program
    module = build(program)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    save_weights(module, tmp_path / "zeros.safetensors")
    (result,) = archlang.verify("biases", name="Highway", weights=tmp_path / "zeros.safetensors")
    assert result.outcome is Outcome.CONTRADICTED  # sigmoid(0): a gate that never moves is none


def test_what_is_audited_computes_what_the_network_does():
    program = archlang.compile("resnet_cifar", "ResNet20").program
    graph = program.graph
    whole = build(program).double().eval()
    alone = compiled(program, sliced(graph, [Ref(graph.outputs[0])])).double().eval()
    alone.load_state_dict(whole.state_dict())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(whole(x), alone(x))


def test_what_costs_too_much_is_said_to_be_untested(monkeypatch):
    monkeypatch.setattr("archlang.runtime.audit.bench.BUDGET", 1000)
    (result, *_) = archlang.verify("lenet5", seeds=(0,))
    assert result.outcome is Outcome.UNTESTED
    assert "GFLOPs" in result.note


def test_no_test_is_begun_once_the_time_is_up():
    results = archlang.verify("biases", name="DeepSet", budget=1e-9)
    assert [r.outcome for r in results] == [Outcome.UNTESTED] * 4
    assert results[0].note == "the 1e-09 seconds are used up"


def test_the_first_seed_is_measured_whatever_the_time():
    program = archlang.compile("biases", "Highway").program
    ((graph, finding),) = audited(program)
    assert check_claim(program, graph, finding, seeds=(4, 5), end=0.0).seeds == (4,)
    assert check_claim(program, graph, finding, seeds=(4, 5)).seeds == (4, 5)


def test_axes_that_are_not_tested_are_as_short_as_the_network_allows():
    text = "network N {\n  input x: [B, 3, H~224, W~224]\n  output y = x -> conv(4, kernel=7) -> maxpool(2)\n}\n"
    program = archlang.compile(text).program
    bench = Bench(program, program.graph, (Ref(program.graph.outputs[0]),))
    assert bench.stage({(0, 2): 50}, 0, 1).shapes == {0: (1, 3, 50, 8)}
    assert bench.stage({(0, 2): 50}, 0, 64).shapes == {0: (1, 3, 50, 64)}


def test_the_command(capsys):
    assert run(["verify", "biases:DeepSet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["outcome"] for c in found["claims"]] == ["agrees"] * 4
    assert found["tolerance"] == 1e-9
    assert run(["verify", "biases:Highway"]) == 0
    assert "1 claim confirmed" in capsys.readouterr().out


def test_a_contradicted_proof_ends_in_its_code(monkeypatch, capsys):
    from archlang.runtime import audit as module

    def contradicted(*_args):
        return module.Measured(Outcome.CONTRADICTED, 0.5, (0, 1))

    monkeypatch.setitem(TESTS, "gating", contradicted)
    assert run(["verify", "biases:Highway"]) == 1
    shown = capsys.readouterr().err
    assert "error[A1311]" in shown
    assert "the values differ by 5.0e-01 at [0, 1]" in shown


def test_a_wrong_assumption_is_found():
    text = (
        "network N {\n  input x: [B, T, D=4]\n  output y = x * (x -> linear(4) -> square)\n"
        "  bias gating on y assumed\n}\n"
    )
    program = archlang.compile(text).program
    assert [f.verdict for f in program.findings] == [Verdict.ASSUMED]
    (result,) = audit(program)
    diagnostic = result.diagnostic()
    assert diagnostic is not None
    assert diagnostic.code == "A1312"
    assert replace(result, outcome=Outcome.AGREES).diagnostic() is None


def test_global_statistics_are_exact_where_content_stays_amid_a_background():
    gated = "c: conv(4, kernel=3, pad=1)\n  output y = h * (h -> mean(axis=T, keep=true) -> sigmoid)"
    claim = "\n  bias translation_equivariance on y over T"
    text = SIGNAL.format(body=gated).replace("output y = x", "h = x", 1).replace("sigmoid)", f"sigmoid){claim}")
    (result,) = archlang.verify(text)
    assert "global statistics" in [caveat.name for caveat in result.finding.caveats]
    assert result.outcome is Outcome.AGREES


SLOW = ["resnet_cifar:ResNet20", "resnet:ResNet18", "squeezenet:SqueezeNet1_1", "alexnet"]


@pytest.mark.slow
@pytest.mark.parametrize("target", SLOW)
def test_footprints_of_convolutional_networks_equal_the_proved_ones(target):
    path, _, name = target.partition(":")
    results = archlang.verify(path, name=name or None, seeds=(0,))
    assert all(r.outcome is Outcome.AGREES for r in results), [r.note for r in results]
    local = [r for r in results if r.finding.claim.name == "locality"]
    assert local
    assert all(r.tight for r in local)
