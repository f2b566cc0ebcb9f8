"""Ordinary source: activations that write over what they alone read, as torchvision's do, unseen by gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from archlang.compiler.emit.python import emit
from archlang.compiler.graph import Program
from archlang.runtime.module import build, module_class
from emit_harness import compiled
from parity import fill
from torch import nn
from torch.nn.parallel import DistributedDataParallel

HEAD = "network N { input x: [B, C=4, H=6, W=6] "
FLAT = "network N { input x: [B, D=8] "
WRITTEN = {
    "after a convolution": (HEAD + "output x -> conv(4, kernel=1) -> relu }", True),
    "after a norm": (HEAD + "output x -> conv(4, kernel=1) -> batchnorm -> relu6 }", True),
    "after a sum": (HEAD + "output (x -> conv(4, kernel=1)) + x -> leaky_relu(0.2) }", True),
    "after a concatenation": (HEAD + "y = x -> conv(4, kernel=1)  output (x, y) -> concat(axis=C) -> relu }", True),
    "after a linear layer": (FLAT + "output x -> linear(8) -> hardtanh(0.0, 1.0) }", True),
    "in a sequence": (HEAD + "output x -> body: { conv(4, kernel=1) -> relu -> conv(4, kernel=1) -> relu } }", True),
    "under another name": (HEAD + "output x -> conv(4, kernel=1) -> identity -> relu }", True),
    "after what another activation made": (HEAD + "output x -> conv(4, kernel=1) -> silu -> relu }", False),
    "after a softmax": (HEAD + "output x -> conv(4, kernel=1) -> softmax -> relu }", False),
    "one whose gradient needs its operand": (HEAD + "output x -> conv(4, kernel=1) -> silu }", False),
    "a view": ("network N { input x: [B, T=3, D=8]  output x -> linear(8) -> relu }", False),
    "an input": (HEAD + "output x -> relu }", False),
    "the first of a sequence": (HEAD + "output x -> body: { relu -> conv(4, kernel=1) } }", False),
    "read twice": (HEAD + "y = x -> conv(4, kernel=1)  output (y -> relu) + y }", False),
    "an output too": (HEAD + "y = x -> conv(4, kernel=1)  output y = y  output z = y -> relu }", False),
    "of a loss too": (HEAD + "y = x -> conv(4, kernel=1)  output y -> relu  loss l = (y, x) -> mse }", False),
    "of a block's input": ("block A { input x: [B, C, H, W]  output x -> relu }" + HEAD + "output x -> A }", False),
}


def pair(program: Program) -> tuple[nn.Module, nn.Module]:
    """The module as written, and the same where nothing writes over anything."""
    emitted = emit(program)
    apart = without(emitted.text)
    first, second = module_class(program, emitted)(), module_class(program, replace(emitted, text=apart))()
    fill(first)
    second.load_state_dict(first.state_dict())
    return first, second


def without(text: str) -> str:
    return text.replace(", inplace=True", "").replace("inplace=True", "")


def learn(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Outputs, and gradients of the input and of all weights."""
    x = x.clone().requires_grad_()
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.manual_seed(1)
    sum((y * torch.randn_like(y)).sum() for y in outputs).backward()
    return [*outputs, x.grad, *(p.grad for p in module.parameters() if p.grad is not None)]


def image(program: Program) -> torch.Tensor:
    torch.manual_seed(0)
    shape = program.graph[program.graph.inputs[0]].types[0].shape
    return torch.randn(2, *(size for size in shape if isinstance(size, int))) * 3


@pytest.mark.parametrize(("text", "over"), WRITTEN.values(), ids=WRITTEN)
def test_overwritten_where_no_gradient_can_tell(text: str, over: bool) -> None:
    program = compiled(text)
    first, second = pair(program)
    assert ("inplace=True" in first.source) is over
    assert "inplace=True" not in second.source
    x = image(program)
    kept = x.clone()
    for a, b in zip(learn(first, x), learn(second, x), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(x, kept)


NET = compiled(
    "block Part { input x: [B, C, H, W]  y = x -> conv1: conv(C, kernel=3, pad=1) -> bn1: batchnorm -> relu6 "
    "output (y -> conv2: conv(C, kernel=1)) + x -> relu }"
    + HEAD
    + "output x -> Part -> Part -> flatten -> linear(8) -> leaky_relu -> linear(3) }"
)


def test_special_values() -> None:
    """Where the gradient turns: at zero, at the bounds, at infinities and at what is no number."""
    edge = torch.tensor([[0.0, -0.0, 6.0, 7.0, -1.0, 1.0, torch.inf, -torch.inf, torch.nan, 1e-45]])
    for act in ("relu", "relu6", "leaky_relu", "leaky_relu(0.0)", "hardtanh", "hardtanh(0.0, 6.0)"):
        first, second = pair(compiled(f"network N {{ input x: [B, D=10]  output x + 0.0 -> {act} }}"))
        assert "inplace" in first.source
        for a, b in zip(learn(first, edge), learn(second, edge), strict=True):
            assert torch.equal(a.nan_to_num(9), b.nan_to_num(9))
            assert torch.equal(a.isnan(), b.isnan())


def test_a_step_in_low_precision() -> None:
    first, second = pair(NET)
    with torch.autocast("cpu", torch.bfloat16):
        for a, b in zip(learn(first, image(NET)), learn(second, image(NET)), strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_exports_and_compiles() -> None:
    first, second = pair(NET)
    first.eval()
    expected = second.eval()(image(NET))
    exported = torch.export.export(first, (image(NET),)).run_decompositions()
    assert not any(str(node.target).partition(".")[0].endswith("_") for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(image(NET)), expected)
    for a, b in zip(
        learn(torch.compile(first, backend="aot_eager"), image(NET)), learn(second, image(NET)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_functional_transforms() -> None:
    first, second = (net.eval() for net in pair(NET))
    x = image(NET)

    def each(net: nn.Module) -> dict[str, torch.Tensor]:
        """Gradients of every example."""
        weights = dict(net.named_parameters())

        def loss(w: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(net, w, (one[None],)).square().sum()

        return torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)

    for a, b in zip(each(first).values(), each(second).values(), strict=True):
        torch.testing.assert_close(a, b)
    many = {k: torch.stack([v, v + 0.1]) for k, v in first.named_parameters()}
    made = [torch.vmap(lambda w, net=net: torch.func.functional_call(net, w, (x,)))(many) for net in (first, second)]
    torch.testing.assert_close(*made)
    tangents = [torch.func.jvp(net, (x,), (torch.ones_like(x),))[1] for net in (first, second)]
    assert torch.equal(*tangents)


def test_data_parallel(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        first, second = pair(NET)
        for a, b in zip(learn(DistributedDataParallel(first), image(NET)), learn(second, image(NET)), strict=True):
            assert torch.equal(a, b)
    finally:
        torch.distributed.destroy_process_group()


def test_a_hook_copies_what_it_keeps() -> None:
    """A layer's result may be overwritten after its forward hooks have run."""
    net = build(NET)
    fill(net)
    seen: dict[str, torch.Tensor] = {}
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, args, y: seen.update(held=y, copied=y.clone()))
    net(image(NET))
    assert seen["copied"].min() < 0
    assert torch.equal(seen["held"], seen["copied"].clamp(0, 6))
