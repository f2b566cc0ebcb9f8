"""Rewrites for evaluation: the same numbers, the same checkpoints, the graph in order after each."""

from __future__ import annotations

import archlang
import pytest
import torch
from archlang.compiler.emit.python import emit_python
from archlang.compiler.ops import names, require
from archlang.compiler.passes import FOLD_NORMS, IN_PLACE, LEVELS, QUIET, Pass, optimise
from archlang.compiler.verify import verify
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from emit_harness import compiled, lint
from parity import fill
from torch import nn

SPECS = {
    "lenet5": (1, 32),
    "cnn/resnet_cifar:ResNet20": (3, 32),
    "cnn/resnet:ResNet18": (3, 64),
    "cnn/densenet:DenseNet121": (3, 64),
    "cnn/mobilenet_v2:MobileNetV2_050": (3, 64),
    "cnn/mobilenet_v3:MobileNetV3Small": (3, 64),
    "cnn/efficientnet:EfficientNetB0": (3, 64),
    "cnn/convnext:ConvNeXtTiny": (3, 64),
    "cnn/squeezenet:SqueezeNet1_0": (3, 64),
    "cnn/googlenet:GoogLeNet": (3, 64),
    "cnn/vgg:VGG11BN": (3, 32),
}


def trained(module: nn.Module) -> nn.Module:
    """With weights and statistics as training might leave them, in double precision."""
    fill(module)
    return module.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_every_rewrite_computes_the_same(name: str) -> None:
    channels, side = SPECS[name]
    program = archlang.compile(name).program
    plain = trained(build(program))
    image = torch.randn(2, channels, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected = plain(image)
        for level in ((FOLD_NORMS,), (QUIET, IN_PLACE), LEVELS[1]):
            after = optimise(program, level, lambda step, made: verify(made, spans=True))
            module = build(after).double().eval()
            assert tuple(module.load_state_dict(plain.state_dict())) == ([], [])
            kept = image.clone()
            torch.testing.assert_close(module(image), expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
            assert torch.equal(image, kept), "an input was written over"


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
