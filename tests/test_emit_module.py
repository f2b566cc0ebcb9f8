"""Generated modules run: equal to hand-written ones, under compile, export, autocast and copy."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from types import FrameType

import pytest
import torch
from archlang.compiler.emit.python import emit
from archlang.runtime.module import build
from by_hand import LENET, RESNET, LeNet5, SmallResNet
from emit_harness import HOLES, MANY, TIED, Builder, compiled, lint, saved
from processes import finished
from torch import nn
from torch.nn import functional as F

NETS = {"lenet": (LENET, LeNet5, (4, 1, 32, 32)), "resnet": (RESNET, SmallResNet, (4, 3, 32, 32))}


@pytest.fixture(params=NETS)
def pair(request):
    """A generated module, the hand-written one with the same weights, and an input."""
    text, klass, shape = NETS[request.param]
    torch.manual_seed(0)
    made, written = build(compiled(text)), klass()
    made.load_state_dict(written.state_dict())
    return made, written, torch.randn(shape)


def test_equals_hand_written_code(pair):
    made, written, x = pair
    for mode in (True, False):
        made.train(mode)
        written.train(mode)
        a, b = made(x), written(x)
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    a.sum().backward()
    b.sum().backward()
    grads = {name: p.grad for name, p in written.named_parameters()}
    torch.testing.assert_close({name: p.grad for name, p in made.named_parameters()}, grads)
    assert list(made.state_dict()) == saved(made.program)


def test_objective_is_outputs_and_named_losses(pair):
    made, written, x = pair
    label = torch.tensor([1, 2, 3, 4])
    outputs, losses = made.objective(x, label)
    assert list(losses) == ["nll"] and made.loss_weights == {"nll": 1.0}
    torch.testing.assert_close(losses["nll"], F.cross_entropy(written(x), label))
    torch.testing.assert_close(outputs, written(x))


@pytest.mark.slow
def test_compiles_to_one_graph(pair):
    made, written, x = pair
    whole = torch.compile(made, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(x), written(x))
    objective = torch.compile(made.objective, fullgraph=True, backend="eager")
    label = torch.tensor([1, 2, 3, 4])
    torch.testing.assert_close(objective(x, label)[1]["nll"], F.cross_entropy(written(x), label))


def test_exports_with_any_batch(pair):
    made, written, x = pair
    made.eval()
    written.eval()
    exported = torch.export.export(made, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    torch.testing.assert_close(exported(x[:3]), written(x[:3]))


def test_autocast(pair):
    made, written, x = pair
    with torch.autocast("cpu", torch.bfloat16):
        a, b = made(x), written(x)
    assert a.dtype == torch.bfloat16
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_moves_and_copies(pair):
    made, _, x = pair
    twin = copy.deepcopy(made).double()
    assert twin.program is made.program and twin.source == made.source
    assert {p.dtype for p in twin.parameters()} == {torch.float64}
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    made.eval()
    twin.eval()
    torch.testing.assert_close(twin(x.double()).float(), made(x), rtol=1e-4, atol=1e-5)


class TestMany:
    """Module parameters, shared modules, lists in loops, bare tensors, two losses, an entry."""

    @pytest.fixture
    def net(self):
        torch.manual_seed(0)
        return build(compiled(MANY)).eval()

    @staticmethod
    def written(net, x, t):
        s = net.state_dict()
        a = F.conv2d(x, s["conv1.weight"], s["conv1.bias"], padding=1)
        for i in range(3):
            scale = F.linear(F.silu(t), s[f"films.{i}.proj.weight"], s[f"films.{i}.proj.bias"])[:, :, None, None]
            a = a * (1 + scale) - scale
        a = a * s["gain"] + s["pos"]
        pooled = a.mean((-2, -1))
        both = F.linear(F.relu(F.linear(pooled, s["head.0.weight"], s["head.0.bias"])), s["head.out.weight"])
        shared = lambda v: F.linear(v, s["shared.weight"], s["shared.bias"])  # noqa: E731
        u = shared(F.relu(shared(t)))
        side = F.linear(shared(u) + u, s["aux_head.weight"], s["aux_head.bias"])
        return both + s["head.out.bias"] + torch.arange(5), pooled, side

    def test_outputs_and_losses(self, net):
        x, t, y = torch.randn(2, 3, 9, 7), torch.randn(2, 6), torch.randn(2, 5)
        both, pooled, side = self.written(net, x, t)
        made = net(x, t)
        torch.testing.assert_close(made, (both, pooled))
        outputs, losses = net.objective(x, t, y)
        torch.testing.assert_close(outputs, (both, pooled))
        torch.testing.assert_close(losses, {"main": F.mse_loss(both, y), "aux": F.mse_loss(side, y)})
        assert net.loss_weights == {"main": 1.0, "aux": 0.3}

    def test_entry(self, net):
        z = torch.randn(3, 6)
        torch.testing.assert_close(net.encode(z), net.shared(z))

    def test_state(self, net):
        assert set(net.state_dict()) == set(saved(net.program))
        assert "ramp" not in net.state_dict() and net.table.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
        assert net.gain.item() == 2.5 and 0 < net.pos.abs().max().item() < 0.2

    def test_compiles_and_exports(self, net):
        x, t = torch.randn(2, 3, 8, 8), torch.randn(2, 6)
        whole = torch.compile(net, fullgraph=True, backend="eager")
        torch.testing.assert_close(whole(x, t), net(x, t))
        batch = torch.export.Dim("batch")
        exported = torch.export.export(net, (x, t), dynamic_shapes=({0: batch}, {0: batch})).module()
        torch.testing.assert_close(exported(x, t), net(x, t))


def test_blocks_with_arguments_compute_what_each_variant_says():
    torch.manual_seed(0)
    net = build(compiled(HOLES)).eval()
    x, image = torch.randn(2, 5, 12), torch.randn(2, 3, 8, 6)
    v = x
    for block, heads in ((net.a, 2), (net.b, 3), (None, 0), (net.c, 4)):
        if block is None:
            v = net.linear1(v)
            continue
        q, k, w = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in block.qkv(v).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, w).transpose(1, 2).flatten(2)
        v = mixed @ block.proj.weight + block.proj.bias
    y = image
    for i, block in enumerate((net.mixed1, net.mixed2, net.mixed3)):
        y = F.avg_pool2d(y, 2) if i == 2 else y
        channels = y.shape[1]
        y = y * (torch.arange(channels) / channels * block.scale)[:, None, None]
        y = block.linear1(y.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(net(x, image), (v, y))
    batch = torch.export.Dim("batch")
    exported = torch.export.export(net, (x, image), dynamic_shapes=({0: batch}, {0: batch})).module()
    torch.testing.assert_close(exported(x, image), (v, y))


DATA_PARALLEL = """
import torch
from by_hand import RESNET
from emit_harness import compiled
from torch import nn
from archlang.runtime.module import build

torch.distributed.init_process_group("gloo", init_method="file://" + {store!r}, rank=0, world_size=1)
net = build(compiled(RESNET))
wrapped = nn.parallel.DistributedDataParallel(net)
wrapped(torch.randn(2, 3, 16, 16)).sum().backward()
assert all(p.grad is not None for p in net.parameters())
torch.distributed.destroy_process_group()
"""


def test_data_parallel(tmp_path):
    # in a process of its own: a process group's threads have no place among those of a test worker
    script = DATA_PARALLEL.format(store=str(tmp_path / "store"))
    done = finished([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr


def test_tied_and_functional_weights():
    torch.manual_seed(0)
    net = build(compiled(TIED))
    s = net.state_dict()
    assert set(s) == {"wte.weight", "wpe.weight", "mix.weight", "mix.bias"} == set(saved(net.program))
    ids = torch.randint(0, 11, (2, 5))
    h = (s["wte.weight"][ids] + s["wpe.weight"][:5]) @ s["mix.weight"] + s["mix.bias"]
    torch.testing.assert_close(net(ids), h @ s["wte.weight"].T)
    assert float(s["mix.weight"].abs().max()) <= 6**-0.5
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="eager")(ids), net(ids))
    long = torch.export.Dim("length", max=32)
    exported = torch.export.export(net, (ids,), dynamic_shapes=({1: long},)).module()
    torch.testing.assert_close(exported(ids[:, :3]), net(ids[:, :3]))
    net(ids).sum().backward()
    assert net.wte.weight.grad is not None


def test_dotted_labels_make_levels():
    b = Builder()
    x = b.input("x", "B D=4")
    h = b.op("linear", x, path="encoder.items.0", out=4)
    h = b.op("linear", h, path="encoder.items.2", out=4)
    h = b.op("linear", h, path="encoder.first", out=4)
    h = b.op("linear", h, path="encoder.class", out=4)
    h = b.op("linear", h, path="7.x", out=4)
    b.output(h)
    net = build(b.program())
    assert set(net.state_dict()) == set(saved(net.program))
    s = net.state_dict()
    y = v = torch.randn(2, 4)
    for path in ("encoder.items.0", "encoder.items.2", "encoder.first", "encoder.class", "7.x"):
        y = F.linear(y, s[f"{path}.weight"], s[f"{path}.bias"])
    torch.testing.assert_close(net(v), y)


def test_a_size_check_speaks_at_run_time():
    text = 'network Fold {\n  input x: [B, T, 4]\n  output x -> rearrange("b (n k) d -> b n (k d)", k=2)\n}\n'
    net = build(compiled(text))
    assert "torch._check(" in net.source
    assert net(torch.zeros(1, 6, 4)).shape == (1, 3, 8)
    with pytest.raises(RuntimeError, match=r"net\.arch:3"):
        net(torch.zeros(1, 5, 4))
    whole = torch.compile(net, fullgraph=True, backend="eager")
    assert whole(torch.zeros(1, 6, 4)).shape == (1, 3, 8)
    length = 2 * torch.export.Dim("half")
    exported = torch.export.export(net, (torch.zeros(1, 6, 4),), dynamic_shapes=({1: length},)).module()
    assert exported(torch.zeros(1, 10, 4)).shape == (1, 5, 8)


def test_an_error_names_the_line_of_the_spec():
    net = build(compiled(LENET, source="lenet5.arch"))
    with pytest.raises(RuntimeError) as caught:
        net(torch.zeros(1, 2, 32, 32))
    assert any(note.startswith("in lenet5.arch:7: c1: conv(6, kernel=5)") for note in caught.value.__notes__)
    with pytest.raises(ValueError) as caught:
        net.objective(torch.zeros(1, 1, 32, 32), torch.zeros(3, dtype=torch.long))
    assert any("lenet5.arch:12" in note for note in caught.value.__notes__)


def test_an_error_in_a_block_names_the_block_and_its_caller():
    net = build(compiled(RESNET))
    net.layer2[0].conv2 = nn.Conv2d(5, 32, 3)
    with pytest.raises(RuntimeError) as caught:
        net(torch.zeros(1, 3, 32, 32))
    first, *others = caught.value.__notes__
    assert first.startswith("in net.arch:") and "conv2" in first
    assert any("layer" in note for note in others)


NUMBERED = """
block Unit(out: int, kernel: int, act: block) {
  input x: [B, C, H, W]
  output x -> `0`: conv(out, kernel=kernel, pad=kernel // 2)
    -> `1`: batchnorm
    -> act
}
block Stack(sizes: list[int]) {
  input x: [B, D]
  for i, n in enumerate(sizes) { x = x -> `{i}`: linear(n) -> tanh }
  output x
}
network Numbered {
  input x: [B, 3, 8, 8]
  x = x -> a: Unit(4, 3, relu) -> b: Unit(5, 5, hardswish)
  output x -> global_avgpool -> flatten -> c: Stack([7, 6])
}
"""


def test_blocks_with_numbers_for_labels_are_containers():
    net = build(compiled(NUMBERED)).eval()
    assert "class Unit(nn.Sequential)" in net.source and "class Stack(nn.ModuleList)" in net.source
    assert net.source.count("class Unit(") == 1 and "getattr" not in net.source and "act(" in net.source
    assert lint(net.source) == ""
    assert set(net.state_dict()) == set(saved(net.program))
    x = y = torch.randn(2, 3, 8, 8)
    for unit, act in ((net.a, torch.relu), (net.b, F.hardswish)):
        y = act(unit[1](unit[0](y)))
    y = torch.tanh(net.c[1](torch.tanh(net.c[0](y.mean((2, 3))))))
    torch.testing.assert_close(net(x), y)
    torch.testing.assert_close(copy.deepcopy(net)(x), y)
    torch._dynamo.reset()  # a process may compile one piece of code only so often
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="eager")(x), y)


def test_an_error_in_a_container_names_the_element():
    net = build(compiled(NUMBERED))
    net.b[0] = nn.Conv2d(9, 5, 3)
    with pytest.raises(RuntimeError) as caught:
        net(torch.randn(2, 3, 8, 8))
    first, *others = caught.value.__notes__
    assert first.startswith("in net.arch:4: conv(out, kernel=kernel") and any("Unit(5, 5" in note for note in others)


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python are called: the same each time, which seconds are not."""
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_thousand_blocks_cost_ten_times_a_hundred():
    """And not a hundred times: each block is looked at so many times, and written once."""
    hundred, thousand = (compiled(RESNET.replace("[2, 2, 2]", f"[{count}, 2, 2]")) for count in (100, 1000))
    more = calls(lambda: emit(thousand)) - calls(lambda: emit(hundred))
    assert more < 150 * 900  # 105 a block
    assert emit(thousand).text.count("\n") < 90
