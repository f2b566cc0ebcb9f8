"""States that one batch leaves to the next: truncated back-propagation through time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from archlang.runtime import train as training
from archlang.runtime.data import load
from archlang.runtime.module import build
from archlang.runtime.predict import evaluate
from archlang.runtime.train import BEST, LAST, RESUME, fit
from sequence_harness import STATEFUL, batches, forecaster, language, written
from torch import nn
from training_harness import compiled, interrupted_at, refused, same_weights

TEXT = "the quick brown fox jumps over the lazy dog\n" * 40
SOURCE = 'text("a.txt", length=9)'
ROWS = len(set(TEXT))
NETWORK = STATEFUL.format(rows=ROWS)
BODY = "epochs 3 batch 5 optimizer sgd(0.5) validation 0.1 carry h"

LSTM = f"""import "std/recurrent" use LSTM
network Net {{ input tokens: int[B, T]  input c: [B, 12]  input h: [B, 12]  target next: int[B, T]
  y, last = tokens -> embedding({ROWS}, 8) -> scan LSTM(12) over T from (h=h, c=c)
  logits = y -> linear({ROWS})
  output h = last.h  output logits  output c = last.c
  loss fit = (logits, next) -> cross_entropy }}"""


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def quick(folder, network=NETWORK, body=BODY, out="run", **options):
    written(folder, "a.txt", TEXT)
    program, plan = compiled(network, SOURCE, body, folder)
    made: list[nn.Module] = []

    def make():
        made.append(build(program))
        return made[-1]

    report = fit(program, make, plan, out=folder / out, device="cpu", progress=False, **options)
    return made[0], report


def test_the_loop_is_the_plain_loop(tmp_path):
    """The same weights and figures as the loop written by hand, for states in any order of inputs and outputs."""
    ours, report = quick(tmp_path, LSTM, BODY.replace("carry h", "carry h, c").replace("0.1", "0"))
    program, plan = compiled(LSTM, SOURCE, BODY.replace("carry h", "carry h, c").replace("0.1", "0"), tmp_path)
    data, parts, _ = load(program, plan)
    torch.manual_seed(0)
    plain = build(program)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.5)
    for epoch in range(3):
        h = c = torch.zeros(5, 12)
        for tokens, target in batches(data, parts, 5, epoch=epoch, even=True, shuffle=True):
            rows = len(tokens)
            h, logits, c = plain(tokens, c[:rows], h[:rows])
            F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
            h, c = h.detach(), c.detach()
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    total, seen = 0.0, 0
    h = c = torch.zeros(5, 12)
    with torch.no_grad():
        for tokens, target in batches(data, parts, 5, "test"):
            h, logits, c = plain.eval()(tokens, c[: len(tokens)], h[: len(tokens)])
            total += float(F.cross_entropy(logits.flatten(0, 1), target.flatten())) * len(tokens)
            seen += len(tokens)
    assert report.metrics["test"]["loss"] == pytest.approx(total / seen, rel=1e-4)
    assert evaluate(program, ours, plan, device="cpu")["loss"] == pytest.approx(total / seen, rel=1e-4)


def test_what_is_carried_matters(tmp_path):
    """Without a state, the same weights know less of a text whose windows begin anywhere."""
    _, carried = quick(tmp_path, LSTM, "epochs 12 batch 8 optimizer adam(lr=2e-2) carry h, c", out="a")
    written(tmp_path, "a.txt", TEXT)
    program, plan = compiled(LSTM, SOURCE, "epochs 12 batch 8 carry h, c", tmp_path)
    module = build(program)
    training.load_weights(module, tmp_path / "a" / BEST)
    data, parts, _ = load(program, plan)
    with torch.no_grad():
        losses = []
        for tokens, target in batches(data, parts, 8, "test"):
            zeros = torch.zeros(len(tokens), 12)
            logits = module.eval()(tokens, zeros, zeros)[1]
            losses.append(float(F.cross_entropy(logits.flatten(0, 1), target.flatten())))
    assert carried.metrics["test"]["loss"] < 0.8 * sum(losses) / len(losses)


@pytest.mark.parametrize("at", [4, 40], ids=["first epoch", "second epoch"])
def test_a_resumed_run_is_the_same_run(at, tmp_path, monkeypatch):
    whole, told = quick(tmp_path, out="whole")
    with interrupted_at(at, monkeypatch):
        quick(tmp_path, out="parts")
    resumed, again = quick(tmp_path, out="parts", resume=True)
    assert same_weights(whole, resumed)
    assert told.history == again.history
    for name in (BEST, LAST, RESUME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_series_goes_on_too(tmp_path):
    network = forecaster(6, 2).replace("target", "input h: [B, 6]  target", 1)
    network = network.replace("values -> flatten", "(values + h) -> flatten  output h = flat -> tanh")
    rows = "".join(f"{i % 9}\n" for i in range(200))
    written(tmp_path, "s.csv", "v\n" + rows)
    program, plan = compiled(network, 'series("s.csv", ["v"])', "batch 4 carry h", tmp_path)
    data, parts, _ = load(program, plan)
    x = [batch[0] for batch in batches(data, parts, 4, shuffle=True)]
    joined = torch.cat([b[:1] for b in x if len(b) == 4], dim=1)[0]
    assert torch.equal(joined, data.sequences.parts["values"].stream[: len(joined), 0])
    report = fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    assert report.epochs == 10


WRONG = [
    ("carry g", SOURCE, "A1046", "g", "no input and no output `g`"),
    ("carry h, h", SOURCE, "A1002", "h", "twice"),
    ("carry 3", SOURCE, "A1003", "3", "names of inputs"),
    ("carry h shuffle true", SOURCE, "A1048", "true", "contradict"),
    ("carry h", 'tagged("a.txt")', "A1048", "h", "stand alone"),
    ("carry tokens, h", SOURCE, "A1046", "tokens", "no output `tokens`"),
]


@pytest.mark.parametrize(("body", "data", "code", "place", "says"), WRONG, ids=[w[0] for w in WRONG])
def test_what_can_not_be_carried(body, data, code, place, says, tmp_path):
    found = refused(lambda: compiled(NETWORK, data, body, tmp_path))[0]
    assert (found.code, found.span.text) == (code, place)
    assert says in found.message


@pytest.mark.parametrize(
    ("change", "says"),
    [(("h = x -> tanh -> mean(T)", "h = x -> tanh"), "leaves as"), (("h: [B, 8]", "h: [B, D]"), "how many zeros")],
)
def test_a_state_keeps_its_form(change, says, tmp_path):
    found = refused(lambda: compiled(NETWORK.replace(*change), SOURCE, "carry h", tmp_path))
    assert [d.code for d in found] in (["A1047"], ["A0320"], ["A0323"])
    if found[0].code == "A1047":
        assert says in found[0].message


def test_nothing_is_carried_unasked(tmp_path):
    written(tmp_path, "a.txt", TEXT)
    program, plan = compiled(language(ROWS), SOURCE, "epochs 1", tmp_path)
    assert load(program, plan)[0].carry == ()


def test_a_phase_carries_what_the_block_carries(tmp_path):
    found = refused(lambda: compiled(NETWORK, SOURCE, "phase a { epochs 1 carry h } phase b { epochs 1 }", tmp_path))
    assert found[0].code == "A1034"
    _, report = quick(tmp_path, body="batch 5 carry h phase a { epochs 1 } phase b { epochs 2 }")
    assert report.epochs == 3
