"""Rewrites for evaluation: the same numbers, the same checkpoints, the graph in order after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import archlang
import pytest
import torch
from archlang.compiler.analysis.biases import prove
from archlang.compiler.emit.python import emit_python
from archlang.compiler.graph import Graph, Program
from archlang.compiler.ops import names, require
from archlang.compiler.ops.base import WeightSpec
from archlang.compiler.passes import FOLD_NORMS, IN_PLACE, LEVELS, MEASURED, QUIET, Pass, optimise
from archlang.compiler.passes.check import BrokenPass
from archlang.compiler.passes.rewrite import each_graph, put, silence
from archlang.compiler.verify import verify
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from emit_harness import compiled, lint
from parity import fill
from spec_harness import IDS, LARGE, PROGRAMS, example
from spec_harness import program as program_of
from torch import nn

SMALL = 64  # height and width, where the spec leaves them open
LARGER = {"InceptionV3": 107}
FIRST = dict(reversed(PROGRAMS))  # of each file the first configuration


def trained(module: nn.Module) -> nn.Module:
    """With weights and statistics as training might leave them, in double precision."""
    fill(module)
    return module.double().eval()


def made(program: Program) -> nn.Module:
    """In double precision from the start, which is quicker than to convert it."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return build(program, started=False).double().eval()
    finally:
        torch.set_default_dtype(usual)


def kind(program: Program) -> frozenset[str]:
    """The blocks and layers that it is made of."""
    graphs = list(program.graph.graphs())
    ops = {graph[n].op.name for graph in graphs for n in graph if graph[n].op is not None}
    return frozenset(ops | {graph.name for graph in graphs[:-1]})


def size(program: Program) -> int:
    return sum(spec.elements for _, spec in program.graph.state())


def stands_for_others(file: Path, name: str) -> bool:
    """Of the configurations of a file that are made of the same blocks and layers, is it the smallest?"""
    program = program_of(file, name)
    alike = [program_of(f, n) for f, n in PROGRAMS if f == file and n not in LARGE]
    return size(program) == min(size(one) for one in alike if kind(one) == kind(program))


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), PROGRAMS, ids=IDS)
def test_every_rewrite_computes_the_same(file: Path, name: str) -> None:
    """Every shipped configuration: the smallest of its kind is run, at a small size and in double precision; the others
    are rewritten, and take the same checkpoint."""
    if name in LARGE:
        pytest.skip("too large to run; the same blocks are run at a small size")
    program = program_of(file, name)
    if not stands_for_others(file, name):
        with torch.device("meta"):
            plain, module = build(program), build(optimise(program, LEVELS[1], checked=True))
        assert tuple(module.load_state_dict(plain.state_dict(), assign=True)) == ([], [])
        return
    first = FIRST[file] == name
    plain = trained(made(program))
    side = LARGER.get(name, SMALL)
    small = replace(program.graph, nominal={axis: min(size, side) for axis, size in program.graph.nominal.items()})
    inputs = [example(small[n].types[0], small, 2 if first else 1) for n in program.input_nodes()]
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    some = ((FOLD_NORMS,), (QUIET, IN_PLACE), LEVELS[1]) if first else (LEVELS[1],)
    with torch.no_grad():
        expected = outputs(plain, inputs)
        for level in some:
            module = made(optimise(program, level, checked=True))
            assert tuple(module.load_state_dict(plain.state_dict(), assign=True)) == ([], [])
            kept = [x.clone() for x in inputs]
            found = outputs(module, inputs)
            assert len(found) == len(expected)
            for i, (y, wanted) in enumerate(zip(found, expected, strict=True)):
                slack = 1e-9 * wanted.abs().max().item()
                if not torch.allclose(y, wanted, rtol=1e-9, atol=slack):
                    slack = max(slack, rounding(plain, inputs)[i])
                torch.testing.assert_close(y, wanted, rtol=1e-9, atol=slack)
            assert all(torch.equal(x, held) for x, held in zip(inputs, kept, strict=True)), "an input was written over"


def rounding(module: nn.Module, inputs: list[torch.Tensor]) -> list[float]:
    """Deep networks make much of it: what a last digit of the input does is no fault of a rewrite."""
    nudged = outputs(module, [x * (1 + 1e-15) if x.is_floating_point() else x for x in inputs])
    return [10 * (a - b).abs().max().item() for a, b in zip(nudged, outputs(module, inputs), strict=True)]


def outputs(module: nn.Module, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)  # what is drawn is the same for all
    found = module(*inputs)
    return found if isinstance(found, tuple) else (found,)


def test_a_pass_leaves_its_program_alone() -> None:
    program = archlang.compile("cnn/resnet:ResNet18").program
    before = program.graph.nx.number_of_nodes(), [key for key, _ in program.graph.state()]
    optimise(program, LEVELS[1])
    assert before == (program.graph.nx.number_of_nodes(), [key for key, _ in program.graph.state()])
    verify(program)


def test_rewritten_source_reads_well_and_stands_alone() -> None:
    specs = ("lenet5", "cnn/resnet:ResNet50", "cnn/efficientnet:EfficientNetB0")
    texts = [emit_python(optimise(archlang.compile(name).program, LEVELS[1])) for name in specs]
    assert lint(*texts) == ""
    assert "BatchNorm" not in texts[1] + texts[2]
    assert "dropout" not in texts[2]
    assert "import archlang" not in "".join(texts)


def rewritten(text: str, *passes: Pass) -> tuple[nn.Module, nn.Module]:
    """The module of a text and the same after passes, with the same weights."""
    program = compiled(text)
    plain = trained(build(program))
    quick = build(optimise(program, passes)).double().eval()
    quick.load_state_dict(plain.state_dict())
    return plain, quick


HEAD = "network N { input x: [B, C=4, H=6, W=6] "
FOLDED = {
    "conv": ("output x -> conv(8, kernel=3) -> batchnorm }", True),
    "grouped, without bias": ("output x -> conv(8, kernel=3, groups=2, bias=false) -> batchnorm(eps=0.1) }", True),
    "linear": ("output x -> flatten -> linear(5) -> batchnorm }", True),
    "without scale": ("output x -> conv(8, kernel=1) -> batchnorm(affine=false) }", True),
    "labelled": ("output x -> body: { conv(8, kernel=1) -> batchnorm -> relu } }", True),
    "used twice": ("a = x -> conv(4, kernel=1)  output (a -> batchnorm) + a }", False),
    "of the batch": ("output x -> conv(8, kernel=3) -> batchnorm(track=false) }", False),
    "after relu": ("output x -> conv(8, kernel=3) -> relu -> batchnorm }", False),
    "before conv": ("output x -> batchnorm -> conv(8, kernel=3, pad=1) }", False),
    "shared layer": (
        "module M = conv(4, kernel=1)  a = x -> M -> n1: batchnorm  output a -> M -> n2: batchnorm }",
        False,
    ),
    "borrowed weight": (
        "module M = conv(4, kernel=1, bias=false)  a = x -> M -> batchnorm "
        "output a -> conv(4, kernel=1, bias=false) with (weight=M.weight) }",
        False,
    ),
}


@pytest.mark.parametrize(("text", "folds"), FOLDED.values(), ids=FOLDED)
def test_norms_fold_where_that_is_exact(text: str, folds: bool) -> None:
    plain, quick = rewritten(HEAD + text, FOLD_NORMS)
    norms = [part for part in quick.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert (norms == [] and "track" not in text) is folds
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(quick(x), plain(x))
    quick.load_state_dict(quick.state_dict())  # what was folded loads again
    torch.testing.assert_close(quick(x), plain(x))


OVERWRITTEN = {
    "after a layer": ("output x -> conv(4, kernel=1) -> relu }", True),
    "an input": ("output x -> relu }", False),
    "read twice": ("y = x -> conv(4, kernel=1)  output (y -> relu) + y }", False),
    "a view of an input": ("output x -> flatten -> relu }", False),
    "a view of a result": ("output x -> conv(4, kernel=1) -> flatten -> relu }", True),
    "a way around": ("output x -> skip { conv(4, kernel=1) } }", True),
    "broadcast": ("y = x -> global_avgpool  output x * y }", False),
    "a gradient stopped": ("output x -> stop_gradient -> relu }", False),
    "an output too": ("y = x -> conv(4, kernel=1)  output y = y  output z = y -> relu }", False),
}


@pytest.mark.parametrize(("text", "spares"), OVERWRITTEN.values(), ids=OVERWRITTEN)
def test_only_what_nobody_else_reads_is_written_over(text: str, spares: bool) -> None:
    plain, quick = rewritten(HEAD + text, IN_PLACE)
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    kept = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(kept), rtol=0, atol=0)
    assert torch.equal(x, kept)
    assert ("inplace=True" in quick.source or ".add_(x)" in quick.source) is spares


def activations() -> list[str]:
    """Activations that can write over their operand."""
    found = []
    for name in names():
        op = require(name)
        if op.glyph.value == "activation":
            example = op.examples[0]
            made = op(**example.settings)
            if made.overwrite(0, example.input_types(), example.output_types()) is not None:
                found.append(name)
    return found


@pytest.mark.parametrize("name", activations())
def test_activations_in_place(name: str) -> None:
    for body in (f"x -> conv(4, kernel=1) -> {name}", f"x -> body: {{ conv(4, kernel=1) -> {name} }}"):
        plain, quick = rewritten(f"{HEAD} output {body} }}", IN_PLACE)
        x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(quick(x), plain(x), rtol=0, atol=0)


def test_for_inference() -> None:
    program = archlang.compile("cnn/resnet_cifar:ResNet20").program
    module = build(program)
    quick = for_inference(program, module)
    assert not quick.training
    assert not any(p.requires_grad for p in quick.parameters())
    assert quick.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert for_inference(program, module, 0) is module
    again = archlang.compile("cnn/resnet_cifar:ResNet20").inference()
    assert again(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def without_span(graph: Graph) -> None:
    put(graph, number := graph.order()[-2], replace(graph[number], span=None))


def without_layer(graph: Graph) -> None:
    silence(graph, next(n for n in graph.order() if graph[n].op is not None and graph[n].op.name == "batchnorm"))


def other_key(graph: Graph) -> None:
    graph.weights["more"] = WeightSpec("more", (3,))


def mixing(graph: Graph) -> None:
    """A softmax over the positions, where a rectifier stood."""
    at = next(n for n in graph.order() if graph[n].op is not None and graph[n].op.name == "relu")
    put(graph, at, replace(graph[at], op=require("softmax")(axis="W")))


CLAIMED = HEAD + "y = x -> conv(4, kernel=3, pad=1) -> batchnorm -> relu  output y  bias locality on y over W }"
BROKEN = {
    "has no span": without_span,
    "a checkpoint leads nowhere": without_layer,
    "no checkpoint has the key `more`": other_key,
    "was proved before, and is not after": mixing,
}


@pytest.mark.parametrize(("said", "change"), BROKEN.items(), ids=[change.__name__ for change in BROKEN.values()])
def test_a_rewrite_that_loses_something_is_named(said: str, change: Callable[[Graph], None]) -> None:
    program = compiled(CLAIMED)
    assert [str(f.verdict) for f in prove(program)] == ["proved"]
    optimise(program, LEVELS[1], checked=True)
    bad = Pass("bad", lambda p: each_graph(p, change), exact=True)
    with pytest.raises(BrokenPass, match="`bad`") as caught:
        optimise(program, (bad,), checked=True)
    assert said in str(caught.value)
    optimise(program, (bad,), checked=False)


def test_measuring_keeps_losses() -> None:
    program = archlang.compile("cnn/resnet_cifar:ResNet20").program
    plain = build(program).eval()
    fill(plain)
    quick = for_inference(program, plain, passes=MEASURED)
    batch = torch.randn(2, 3, 32, 32), torch.tensor([1, 7])
    with torch.no_grad():
        (y, losses), (wanted, expected) = quick.objective(*batch), plain.objective(*batch)
    torch.testing.assert_close((y, losses["nll"]), (wanted, expected["nll"]), rtol=1e-4, atol=1e-4)
    assert "BatchNorm" not in quick.source
