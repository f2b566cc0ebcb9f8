"""The gradient probe: what it measures, vanishing and exploding gradients, residual paths, sequences, plots."""

from __future__ import annotations

import json

import archlang
import numpy
import pytest
import torch
from archlang.cli.main import run
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.checkpoint import save_weights
from archlang.runtime.module import build
from archlang.runtime.probe import Along, Probe, bar, probe

PLAIN = """
network Plain(depth: int = 50) {
  input x: [B, D=32]
  output y = x -> repeat depth { linear(32) -> tanh }
}
"""
RESIDUAL = """
network Residual(depth: int = 50) {
  input x: [B, D=32]
  output y = x -> repeat depth { skip { linear(32) -> tanh } }
}
"""
SEQUENCE = """
network Sums {
  input tokens: int[B, T~8]
  output y = tokens -> embedding(5, 16) -> cumsum(axis=T) -> linear(3)
}
"""


def test_a_plain_network_of_fifty_layers_loses_its_gradient_and_a_residual_one_keeps_it():
    plain, residual = archlang.probe(PLAIN, RESIDUAL)
    assert len(plain.layers) == len(residual.layers) == 50
    assert plain.ratio < 1e-6
    assert 0.1 < residual.ratio < 1000
    norms = [norm for _, norm in plain.layers]
    assert norms[0] < norms[25] < norms[49]


def test_the_norms_are_those_of_autograd():
    text = "network N {\n  input x: [B, D=3]\n  output y = x -> a: linear(4) -> b: linear(2)\n}\n"
    program = archlang.compile(text).program
    torch.manual_seed(1)
    module = build(program)
    found = dict(probe(program, module, seed=5, batches=1).layers)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn((4, 3), generator=generator, dtype=torch.float64).float()
    y = module(x)
    (y * torch.randn(y.shape, generator=generator)).sum().div(y.numel() ** 0.5).backward()
    for name in ("a", "b"):
        layer = getattr(module, name)
        expected = float((layer.weight.grad.square().sum() + layer.bias.grad.square().sum()) ** 0.5)
        assert found[name] == pytest.approx(expected, rel=1e-5)


def test_weights_that_are_too_large_explode():
    program = archlang.compile(PLAIN).program
    module = build(program)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(4.0)
    assert probe(program, module).ratio > 1e3


def test_positions_of_a_sequence():
    (found,) = archlang.probe(SEQUENCE)
    ((name, axis, gradients),) = [(s.input, s.axis, s.gradients) for s in found.sequences]
    assert (name, axis, len(gradients)) == ("tokens", "T", 8)
    assert gradients == pytest.approx([gradients[0]] * 8)  # the last sum knows all positions alike
    (causal,) = archlang.probe("biases", name="CausalConvolutions")
    (along,) = causal.sequences
    reached = [value > 0 for value in along.gradients]
    assert sum(reached) == 16  # the proved window of the last place
    assert reached == sorted(reached)


SCANNED = """
import "std/recurrent" use GRU
cell Twice(step: module) {
  input x: [B, 4]
  state h: [B, 4]
  y, last = x -> step from (h=h)
  h' = last.h
  output y -> more: linear(4)
}
network Net {
  input x: [B, T~6, 4]
  module step = GRU(4)
  output y = x -> a: scan Twice(step) over T -> b: bidirectional GRU(2) over T
}
"""


def test_layers_of_cells():
    (found,) = archlang.probe(SCANNED)
    gates = ["reset", "update", "candidate", "recall"]
    paths = [path for path, _ in found.layers]
    assert sorted(paths) == sorted(
        ["a.more", *(f"{cell}.{gate}" for cell in ("step", "b.ahead", "b.back") for gate in gates)]
    )
    assert all(norm > 0 for _, norm in found.layers)
    assert len(found.sequences[0].gradients) == 6


def test_repeatable_and_of_the_seed():
    assert archlang.probe(PLAIN, depth=3) == archlang.probe(PLAIN, depth=3)
    assert archlang.probe(PLAIN, depth=3) != archlang.probe(PLAIN, depth=3, seed=1)


def test_from_a_checkpoint(tmp_path):
    program = archlang.compile(PLAIN, depth=3).program
    module = build(program)
    with torch.no_grad():
        for p in list(module.parameters())[-2:]:
            p.zero_()
    save_weights(module, tmp_path / "dead.safetensors")
    (found,) = archlang.probe(PLAIN, depth=3, weights=tmp_path / "dead.safetensors")
    norms = [norm for _, norm in found.layers]
    assert norms[:2] == [0, 0]  # nothing passes a layer of zeros
    assert norms[2] > 0
    assert found.ratio == 0


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_plots(tmp_path, form):
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    archlang.probe(PLAIN, RESIDUAL, SEQUENCE, output=tmp_path / f"probe.{form}")
    assert (tmp_path / f"probe.{form}").read_bytes().startswith(starts[form])


def test_the_command(tmp_path, capsys):
    file = tmp_path / "plain.arch"
    file.write_text(PLAIN)
    assert run(["probe", str(file), "lenet5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["networks"]
    assert [n["network"] for n in found] == ["Plain", "LeNet5"]
    assert [row["layer"] for row in found[1]["layers"]] == ["c1", "c3", "f5", "f6", "out"]
    assert run(["probe", str(file), "-p", "depth=4", "-o", str(tmp_path / "p.svg")]) == 0
    shown = capsys.readouterr()
    assert "first layer / last layer" in shown.out
    assert "█" in shown.out
    assert (tmp_path / "p.svg").exists()
    assert run(["probe", str(file), "-o", str(tmp_path / "p.txt")]) == 2
    assert "error[A1231]" in capsys.readouterr().err
    assert run(["probe", str(file), "lenet5", "-w", "x.safetensors"]) == 2


def test_nothing_to_measure():
    with pytest.raises(ArchError, match="has no layers with weights"):
        archlang.probe("network N {\n  input x: [B, D=3]\n  output y = x -> relu\n}\n")


def test_bars_and_ratios():
    assert len(bar(1.0, 1e-6, 1.0, 12)) == 12
    assert len(bar(1e-3, 1e-6, 1.0, 12)) == 6
    assert bar(0.0, 1e-6, 1.0) == ""
    dead = Probe("N", (("a", 0.0), ("b", 2.0)), (Along("x", "T", (1.0, 2.0)),))
    assert dead.ratio == 0
    assert dead.as_json()["sequences"] == [{"input": "x", "axis": "T", "gradients": [1.0, 2.0]}]


TRAINED = """
network Lines {
  input x: [B, D=2]
  target y: int[B]
  output logits = x -> a: linear(3) -> tanh -> b: linear(2)
  loss nll = (logits, y) -> cross_entropy
}
train Lines on npz("given.npz") { epochs 1 }
"""


def test_examples_of_the_train_block(tmp_path, capsys):
    numpy.savez(tmp_path / "given.npz", x=numpy.zeros((40, 2), "float32"), y=numpy.arange(40) % 2)
    numpy.savez(tmp_path / "other.npz", x=numpy.ones((40, 2), "float32"), y=numpy.arange(40) % 2)
    path = tmp_path / "lines.arch"
    path.write_text(TRAINED)
    (found,) = archlang.probe(path, on="npz")
    (random,) = archlang.probe(path)
    (other,) = archlang.probe(path, data=tmp_path / "other.npz")
    assert len({found.layers, random.layers, other.layers}) == 3
    assert archlang.probe(path, on="npz") == [found]
    assert run(["probe", str(path), "--data", str(tmp_path / "other.npz"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["networks"][0]["layers"]
    assert [entry["gradient"] for entry in shown] == [norm for _, norm in other.layers]
    assert run(["probe", str(path), "--data", str(tmp_path / "none.npz")]) == 1
    assert run(["probe", str(path), "--on", "digits"]) == 2
    assert "A1217" in capsys.readouterr().err
