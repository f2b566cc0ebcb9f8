"""Every bundled spec: checks, is in canonical form, draws, compiles to a module that runs, takes a training step."""

from __future__ import annotations

from pathlib import Path

import archlang
import pytest
import torch
from archlang.compiler.graph import Program
from archlang.compiler.source import Source
from archlang.compiler.syntax.printer import format_source
from archlang.compiler.verify import verify
from archlang.runtime.module import build
from oracles import ORACLES
from spec_harness import FILES, IDS, LARGE, PROGRAMS, ROOT, checked, example, networks
from spec_harness import program as program_of
from torch import nn


@pytest.mark.parametrize("file", FILES, ids=[f"{f.parent.name}/{f.stem}" for f in FILES])
def test_file(file: Path) -> None:
    assert [str(d) for d in checked(file).diagnostics] == []
    assert list(checked(file).programs) == networks(file)
    text = file.read_text(encoding="utf-8")
    assert format_source(Source(text, file.name)) == text


@pytest.mark.parametrize(("file", "name"), PROGRAMS, ids=IDS)
def test_program(file: Path, name: str) -> None:
    program = program_of(file, name)
    graph = program.graph
    verify(program)
    assert f">{name}<" in archlang.render(f"{file}:{name}").replace("&#45;", "-")
    if f"{file.parent.name}/{file.stem}:{name}" in ORACLES:
        return  # tests/test_parity.py runs it
    with torch.device("meta" if name in LARGE else "cpu"):
        module = build(program)
    assert sorted(module.state_dict()) == sorted(path for path, spec in graph.state() if spec.role != "scratch")
    module.train()
    where = "meta" if name in LARGE else "cpu"
    inputs = [example(graph[n].types[0], graph).to(where) for n in program.input_nodes()]
    outputs = module(*inputs)
    found = outputs if isinstance(outputs, tuple) else (outputs,)
    for tensor, node in zip(found, graph.outputs, strict=True):
        declared = graph[node].types[0].substitute({"B": 4, **graph.nominal}).shape
        assert tuple(tensor.shape) == declared
    if program.game is not None:
        _, losses = played(module, inputs)
        if name not in LARGE:
            sides_learn(program, module, losses)
    elif graph.losses:
        targets = [example(graph[n].types[0], graph) for n in program.target_nodes()]
        _, losses = module.objective(*inputs, *targets)
        total = sum(module.loss_weights[key] * loss for key, loss in losses.items())
        total.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def played(module: nn.Module, inputs: list[torch.Tensor]) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """What a game makes, and the whole loss of each side."""
    made = module.play(*inputs)
    judged, _ = module.discriminator_losses(*inputs, *made)
    fooled = module.generator_losses(*inputs, *made)
    sides = {"discriminator": judged, "generator": fooled}
    return made, {side: sum(module.loss_weights[k] * v for k, v in terms.items()) for side, terms in sides.items()}


def sides_learn(program: Program, module: nn.Module, losses: dict[str, torch.Tensor]) -> None:
    """Each side's loss reaches all of its parameters."""
    for side, loss in losses.items():
        team = [p for n in program.game.team(side) for p in module.get_submodule(n).parameters()]
        gradients = torch.autograd.grad(loss, team, retain_graph=True, allow_unused=True)
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)


def test_two_small_kernels_see_what_a_large_one_sees_with_fewer_parameters() -> None:
    programs = checked(ROOT / "foundations" / "convolution.arch").programs
    one, two = (
        sum(s.elements for _, s in programs[name].graph.state() if s.role == "param")
        for name in ("OneFive", "TwoThrees")
    )
    assert (one, two) == (25 * 64 * 64, 2 * 9 * 64 * 64)
    assert two < one


def test_no_spec_is_left_out() -> None:
    assert {f"{f.parent.name}/{f.stem}" for f in FILES} >= {
        "cnn/alexnet",
        "cnn/convnext",
        "cnn/densenet",
        "cnn/efficientnet",
        "cnn/googlenet",
        "cnn/inception_v3",
        "cnn/lenet5",
        "cnn/mobilenet_v1",
        "cnn/mobilenet_v2",
        "cnn/mobilenet_v3",
        "cnn/resnet",
        "cnn/resnet_cifar",
        "cnn/squeezenet",
        "cnn/vgg",
        "foundations/activations",
        "foundations/convolution",
        "foundations/fully_connected",
        "foundations/mlp",
        "foundations/perceptron",
        "std/conv",
        "std/mlp",
        "std/mobile",
        "std/residual",
    }
