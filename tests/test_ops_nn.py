"""Layers with weights, pooling, resampling and losses: their refusals, and their sizes against PyTorch's own."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from archlang.compiler.declared import Invalid
from archlang.compiler.diagnostics import explain
from archlang.compiler.ops import get
from archlang.compiler.ops.base import Init, Interval, Need, Op, Refusal
from archlang.compiler.sizes import substitute
from archlang.compiler.types import tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_harness import Case, draw, render
from torch import nn
from torch.nn import functional as F


def op(name: str, **values: Any) -> Op:
    found = get(name)
    assert found is not None
    return found(**values)


def infer(name: str, *inputs: str, **values: Any) -> list[str]:
    return [str(t) for t in op(name, **values).infer(tuple(map(tensor, inputs)), Need())]


def refusal(name: str, *inputs: str, **values: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        op(name, **values).infer(tuple(map(tensor, inputs)), Need())
    return caught.value


REFUSALS = [
    (
        "conv",
        ["B 16"],
        {"out": 8, "kernel": 3},
        "A0310",
        "[B, C, L], [B, C, H, W] or [B, C, D, H, W], but this is [B, 16]",
    ),
    ("conv", ["int: B, 3, 8"], {"out": 8, "kernel": 3}, "A0315", "floating-point numbers, but this is int[B, 3, 8]"),
    ("conv", ["B C 8"], {"out": 8, "kernel": 3}, "A0303", "the number of channels that enter `conv` must be known"),
    ("conv", ["B C=6 8"], {"out": 8, "kernel": 3, "groups": 4}, "A0311", "6 channels that enter do not fall into 4"),
    ("conv", ["B C=6 8"], {"out": 8, "kernel": 3, "groups": 3}, "A0311", "8 channels that leave do not fall into 3"),
    ("conv", ["B C=6 H=4 W=9"], {"out": 8, "kernel": 5}, "A0312", "spans 5 positions of axis `H`, which has size 4"),
    ("conv", ["B C=6 4 4"], {"out": 8, "kernel": 3, "dilation": 4, "pad": 1}, "A0312", "size 6 with 1 + 1 of padding"),
    (
        "conv",
        ["B 3 8 8"],
        {"out": 8, "kernel": 3, "stride": 2, "pad": "same"},
        "A0313",
        "keeps the size, but a stride of 2",
    ),
    (
        "conv",
        ["B 3 8 8"],
        {"out": 8, "kernel": 3, "pad": "causal"},
        "A0310",
        "one spatial axis, but [B, 3, 8, 8] has 2",
    ),
    ("conv", ["B 3 8 8"], {"out": 8, "kernel": [3, 3, 3]}, "A0314", "lists 3 numbers, but there are 2 spatial axes"),
    (
        "conv",
        ["B 3 2"],
        {"out": 8, "kernel": 3, "pad": 2, "padding_mode": "reflect"},
        "A0317",
        "needs at least 3 positions",
    ),
    ("conv_transpose", ["B 3 8"], {"out": 8, "kernel": 3, "stride": 2, "output_pad": 2}, "A0313", "`output_pad` of 2"),
    ("conv_transpose", ["B 3 2"], {"out": 8, "kernel": 3, "pad": 2}, "A0312", "leaves nothing"),
    ("conv_transpose", ["B 3 2"], {"out": 8, "kernel": 3, "groups": 2}, "A0311", "3 channels that enter"),
    ("maxpool", ["B C H=1 W=4"], {"kernel": 2}, "A0312", "axis `H`, which has size 1"),
    ("maxpool", ["B C 8"], {"kernel": 2, "pad": 2}, "A0313", "a padding of 2 is more than half the kernel, which is 2"),
    ("avgpool", ["B C"], {"kernel": 2}, "A0310", "but this is [B, C], which has 2 axes"),
    ("adaptive_avgpool", ["B C 8"], {"size": [2, 2]}, "A0314", "`size` lists 2 numbers, but there is 1 spatial axis"),
    ("global_avgpool", ["B C"], {}, "A0310", "[B, C, *spatial]"),
    ("batchnorm", ["B"], {}, "A0310", "which has 1 axis"),
    ("batchnorm", ["B C 8"], {}, "A0303", "the number of channels that enter `batchnorm` must be known, but it is C"),
    ("layernorm", ["B D"], {}, "A0303", "must be known, but it is D"),
    ("layernorm", ["B 4"], {"axes": 3}, "A0310", "over the last 3 axes"),
    ("groupnorm", ["B 6 8"], {"groups": 4}, "A0311", "6 channels do not fall into 4 equal groups"),
    ("instancenorm", ["B 6 1 1"], {}, "A0312", "one position only"),
    ("rmsnorm", [""], {}, "A0310", "scalar"),
    ("local_response_norm", ["B 6"], {"size": 5}, "A0310", "[B, C, *spatial]"),
    ("dropout", ["int: B"], {}, "A0315", "`dropout`"),
    ("dropout_channels", ["B 6"], {}, "A0310", "[B, C, L]"),
    ("stochastic_depth", [""], {"p": 0.1}, "A0310", "no batch axis"),
    ("upsample", ["B C L"], {"scale": 2, "mode": "bilinear"}, "A0310", '"bilinear" is for 2 spatial axes'),
    ("upsample", ["B C L"], {"scale": 2, "align_corners": True}, "A0313", "no corners to align"),
    ("pad", ["B C H W"], {"amount": [1, 1, 1]}, "A0314", "lists 3 entries, but there are 2 spatial axes"),
    ("pad", ["B C 3"], {"amount": 3, "mode": "reflect"}, "A0317", "needs at least 4 positions"),
    ("pad", ["B C 3"], {"amount": 4, "mode": "circular"}, "A0317", "needs at least 4 positions; axis 2 has 3"),
    ("pad", ["B C 3"], {"amount": 1, "mode": "circular", "value": 1.0}, "A0313", '`value` is what "zeros" adds'),
    ("pixel_shuffle", ["B 6 4 4"], {"factor": 2}, "A0311", "6 channels do not fall into squares of 2 × 2"),
    ("pixel_unshuffle", ["B 6 4 5"], {"factor": 2}, "A0311", "a resolution of 5"),
    ("linear", ["B D"], {"out": 3}, "A0303", "the number of features that enter `linear` must be known, but it is D"),
    ("linear", ["int: B, 4"], {"out": 3}, "A0315", "floating-point numbers"),
    ("linear", [""], {"out": 3}, "A0310", "scalar"),
    ("embedding", ["B T"], {"count": 9, "dim": 3}, "A0315", "looks up indices, but this is [B, T]"),
    ("embedding", ["int: B, T"], {"count": 9, "dim": 3, "pad": 9}, "A0313", "no row 9 in a table of 9"),
    ("mse", ["B", "B 1"], {}, "A0316", "the prediction is [B] and the target [B, 1]"),
    ("l1", ["B 4", "B 1"], {}, "A0316", "the prediction is [B, 4] and the target [B, 1]"),
    ("bce", ["int: B", "B"], {}, "A0315", "`bce`"),
    ("cross_entropy", ["B 5", "B 5"], {}, "A0315", "indices of classes, but the target is [B, 5]"),
    ("cross_entropy", ["B 5", "int: B, 1"], {}, "A0316", "one target for each set of class scores"),
    ("cross_entropy", ["B 5 8 9", "int: B, 9, 8"], {}, "A0316", "the target int[B, 9, 8]"),
    ("cross_entropy", ["B 5", "int: B"], {"weight": [1.0, 1.0]}, "A0314", "2 factors, but there are 5 classes"),
    ("nll", ["B", "int: B"], {}, "A0316", "`nll`"),
]


@pytest.mark.parametrize(
    ("name", "inputs", "values", "code", "text"), REFUSALS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_refusals(name: str, inputs: list[str], values: dict, code: str, text: str) -> None:
    found = refusal(name, *inputs, **values)
    assert found.code == code
    assert text in found.message
    assert found.operand is not None or found.setting in values
    page = explain(code)
    assert page is not None and page.startswith(f"# {code}: ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("conv", {"out": 0, "kernel": 3}),
        ("conv", {"out": 8, "kernel": 0}),
        ("conv", {"out": 8, "kernel": [3, 0]}),
        ("conv", {"out": 8, "kernel": 3, "pad": -1}),
        ("conv", {"out": 8, "kernel": 3, "pad": "full"}),
        ("conv", {"out": True, "kernel": 3}),
        ("conv", {"out": 8.0, "kernel": 3}),
        ("dropout", {"p": 1.1}),
        ("batchnorm", {"eps": 0}),
        ("pad", {"amount": [[1, 2, 3]]}),
        ("linear", {"out": 2, "layout": "io; import os"}),
        ("cross_entropy", {"weight": [-1.0]}),
        ("cross_entropy", {"weight": [float("inf")]}),
        ("huber", {"delta": float("nan")}),
        ("mse", {"reduction": "max"}),
    ],
)
def test_settings_out_of_bounds(name: str, values: dict) -> None:
    with pytest.raises(Invalid):
        op(name, **values)


def test_ops_with_lists_can_be_hashed() -> None:
    left, right = op("conv", out=8, kernel=[3, 5], pad=[1, 2]), op("conv", out=8, kernel=[3, 5], pad=[1, 2])
    assert left == right and hash(left) == hash(right)
    assert hash(op("pad", amount=[[0, 1], 2])) == hash(op("pad", amount=[[0, 1], 2]))


def test_channel_names() -> None:
    assert infer("conv", "B 3 H=8 W=8", out=4, kernel=3) == ["[B, C=4, H=6, W=6]"]
    assert infer("conv", "B K=3 8", out=4, kernel=3) == ["[B, K=4, 6]"]
    assert infer("conv", "B 3 C=8", out=4, kernel=3) == ["[B, 4, C=6]"]
    assert infer("linear", "B T D=8", out=4) == ["[B, T, D=4]"]
    assert infer("embedding", "int: B, T", count=9, dim=4) == ["[B, T, 4]"]


def test_symbolic_sizes() -> None:
    assert infer("conv", "B 3 H W", out=4, kernel=3, pad=1) == ["[B, C=4, H, W]"]
    assert infer("conv", "B 3 H W", out=4, kernel=7, stride=2, pad=3) == ["[B, C=4, H=(H + 1) // 2, W=(W + 1) // 2]"]
    assert infer("maxpool", "B C H W", kernel=2) == ["[B, C, H=H // 2, W=W // 2]"]
    assert infer("conv", "B 3 T", out=4, kernel=5, dilation=8, pad="causal") == ["[B, C=4, T]"]
    assert infer("conv_transpose", "B 3 H", out=4, kernel=4, stride=2, pad=1) == ["[B, C=4, H=2 * H]"]
    assert infer("pixel_shuffle", "B C H W", factor=2) == ["[B, C=C // 4, H=2 * H, W=2 * W]"]


def test_open_questions_become_checks() -> None:
    """A kernel that fits some sizes only is checked at a run; one that fits all sizes is not."""
    need = Need()
    op("conv", out=4, kernel=3).infer((tensor("B 3 H 8"),), need)
    (check,) = need.open
    assert (check.test, str(check.left), check.right) == ("at_least", "H - 2", 1)
    assert check.message == "the kernel spans 3 positions of axis `H`, which has size H"
    for name, values, types in [
        ("conv", {"out": 4, "kernel": 3, "pad": 1}, ["B 3 H W"]),
        ("upsample", {"scale": 2}, ["B C H W"]),
        ("cross_entropy", {}, ["B T K=5", "int: B, T"]),
        ("mse", {}, ["B T", "B T"]),
    ]:
        need = Need()
        op(name, **values).infer(tuple(map(tensor, types)), need)
        assert not need.open, name
    need = Need()
    op("mse").infer((tensor("B T"), tensor("B S")), need)
    assert [(c.test, str(c.left), str(c.right)) for c in need.open] == [("equal", "T", "S")]


def _agree(name: str, values: dict, sizes: tuple[int, ...]) -> None:
    """The op's size rule, for numbers and for a symbol, gives what PyTorch makes of the same settings."""
    layer = op(name, **values)
    axes = len(sizes)
    known = tensor(f"1 2 {' '.join(map(str, sizes))}")
    module = eval(render(layer.module((known,)), 0), {"nn": nn})  # type: ignore[arg-type]
    try:
        expected = tuple(module(torch.zeros(known.shape)).shape)  # type: ignore[arg-type]
    except RuntimeError:
        expected = None
    symbolic = tensor(f"1 2 {' '.join('HWD'[:axes])}")
    need = Need()
    (general,) = layer.infer((symbolic,), need)
    given_sizes = dict(zip("HWD", sizes, strict=False))
    holds = all(substitute(c.left, given_sizes) >= c.right for c in need.open)
    try:
        (result,) = layer.infer((known,), Need())
    except Refusal as refused:
        assert expected is None, refused
        assert not holds
        return
    assert result.shape == expected
    assert general.substitute(given_sizes).shape == expected
    assert holds


SIZE = st.integers(1, 20)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size=SIZE,
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    pad=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_conv_sizes(size: int, kernel: int, stride: int, pad: int, dilation: int) -> None:
    _agree("conv", {"out": 3, "kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation}, (size,))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    size=SIZE,
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    pad=st.integers(0, 4),
    extra=st.integers(0, 2),
    dilation=st.integers(1, 3),
)
def test_conv_transpose_sizes(*, size: int, kernel: int, stride: int, pad: int, extra: int, dilation: int) -> None:
    extra = min(extra, max(stride, dilation) - 1)
    values = {"kernel": kernel, "stride": stride, "pad": pad, "output_pad": extra, "dilation": dilation}
    _agree("conv_transpose", {"out": 3, **values}, (size,))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    size=SIZE,
    kernel=st.integers(1, 6),
    stride=st.none() | st.integers(1, 7),
    pad=st.integers(0, 3),
    dilation=st.integers(1, 3),
    ceil=st.booleans(),
)
def test_pool_sizes(*, size: int, kernel: int, stride: int | None, pad: int, dilation: int, ceil: bool) -> None:
    values = {"kernel": kernel, "stride": stride, "pad": min(pad, kernel // 2), "ceil": ceil}
    _agree("maxpool", {**values, "dilation": dilation}, (size,))
    _agree("avgpool", values, (size,))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_sizes_of_every_rank(axes: int) -> None:
    for kernel, stride, pad in product((1, 2, 3), (1, 2), (0, 1)):
        sizes = (7, 6, 5)[:axes]
        pads = min(pad, kernel // 2)
        _agree("conv", {"out": 3, "kernel": kernel, "stride": [stride, 1, 2][:axes], "pad": pads}, sizes)
        _agree("maxpool", {"kernel": kernel, "stride": stride, "pad": pads, "ceil": True}, sizes)
        _agree("avgpool", {"kernel": [kernel, 1, 2][:axes], "stride": stride}, sizes)
        _agree("adaptive_avgpool", {"size": [kernel, stride, 2][:axes]}, sizes)


def _run(layer: Op, *types: str, high: int = 2, training: bool = False) -> tuple[list[torch.Tensor], torch.Tensor]:
    inputs = tuple(map(tensor, types))
    generator = torch.Generator().manual_seed(3)
    tensors = [draw(t, "", high, generator) for t in inputs]
    outputs = layer.infer(inputs, Need())
    case = Case(layer, 0, inputs, outputs, layer.examples[0], tensors, {})
    return tensors, case.run(training=training)[0]


@pytest.mark.parametrize("values", [{}, {"smoothing": 0.2}, {"ignore": 1}, {"weight": [1.0, 0.5, 3.0, 2.0]}])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_pytorchs(values: dict, reduction: str) -> None:
    """Whichever axis holds the classes, the value is nn.CrossEntropyLoss's."""
    options: dict[str, Any] = {"label_smoothing": values.get("smoothing", 0.0), "reduction": reduction}
    options |= {"ignore_index": values["ignore"]} if "ignore" in values else {}
    options |= {"weight": torch.tensor(values["weight"], dtype=torch.float64)} if "weight" in values else {}
    layer, reference = op("cross_entropy", reduction=reduction, **values), nn.CrossEntropyLoss(**options)
    (x, y), last = _run(layer, "3 5 4", "int: 3, 5", high=4)
    torch.testing.assert_close(last, reference(x.transpose(1, 2), y))
    (x, y), second = _run(layer, "3 4 5 2", "int: 3, 5, 2", high=4)
    torch.testing.assert_close(second, reference(x, y))
    (x, y), ambiguous = _run(layer, "3 4 4", "int: 3, 4", high=4)  # both axes fit: the last holds the classes
    torch.testing.assert_close(ambiguous, reference(x.transpose(1, 2), y))


@pytest.mark.parametrize("name", ["mse", "l1", "huber", "bce_with_logits"])
def test_scalar_target_stands_for_every_element(name: str) -> None:
    (x, y), loss = _run(op(name), "3 4", "")
    functions = {
        "mse": F.mse_loss,
        "l1": F.l1_loss,
        "huber": F.huber_loss,
        "bce_with_logits": F.binary_cross_entropy_with_logits,
    }
    torch.testing.assert_close(loss, functions[name](x, y.expand(3, 4)))
    code = op(name).call((tensor("3 4"), tensor("")), (tensor(""),))
    text = render(code, 2).replace("x1", "0.5")  # a number of the spec is put in as it is
    torch.testing.assert_close(
        eval(text, {"torch": torch, "F": F, "x0": x}), functions[name](x, torch.full_like(x, 0.5))
    )


def test_causal_convolution_is_a_padded_one() -> None:
    layer, x = op("conv", out=3, kernel=3, dilation=2, pad="causal"), tensor("2 4 9")
    weights = {"weight": torch.randn(3, 4, 3).double(), "bias": torch.randn(3).double()}
    data = torch.randn(2, 4, 9).double()
    case = Case(layer, 0, (x,), layer.infer((x,), Need()), layer.examples[0], [data], weights)
    expected = F.conv1d(F.pad(data, (4, 0)), weights["weight"], weights["bias"], dilation=2)
    torch.testing.assert_close(case.run()[0], expected)
    assert layer.module((x,)) is None
    reference = nn.Conv1d(4, 3, 3).state_dict()
    assert {s.name: s.shape for s in layer.weights((x,))} == {k: tuple(v.shape) for k, v in reference.items()}


@pytest.mark.parametrize(
    ("values", "module"), [({"layout": "io"}, nn.Linear(48, 5)), ({"pad": "causal"}, nn.Conv1d(16, 5, 3))]
)
def test_weights_made_here_start_as_pytorchs(values: dict, module: nn.Module) -> None:
    """The bound that the spec declares is the one that nn.Linear and nn.Conv1d draw from."""
    if "layout" in values:
        specs = op("linear", out=5, **values).weights((tensor("B 48"),))
    else:
        specs = op("conv", out=5, kernel=3, **values).weights((tensor("B 16 L"),))
    for spec in specs:
        low, high = spec.init.values
        assert spec.init.kind == "uniform" and low == -high
        drawn = getattr(module, spec.name).abs().max().item()
        assert drawn <= high + 1e-7
    assert module.get_parameter("weight").abs().max().item() > 0.9 * specs[0].init.values[1]


def test_init_setting_reaches_the_weight_only() -> None:
    start = Init("normal", (0.0, 0.02))
    for layer, x in [
        (op("linear", out=5, init=start), tensor("B 4")),
        (op("linear", out=5, init=start, layout="io"), tensor("B 4")),
        (op("conv", out=5, kernel=3, init=start), tensor("B 4 L")),
        (op("embedding", count=5, dim=3, init=start), tensor("int B")),
    ]:
        weight, *rest = layer.weights((x,))
        assert weight.init == start
        assert all(spec.init != start for spec in rest)


def test_stochastic_depth_drops_whole_examples() -> None:
    (x,), y = _run(op("stochastic_depth", p=0.25), "400 3 2", training=True)
    kept = (y != 0).flatten(1)
    assert torch.equal(kept.all(1), kept.any(1))
    assert 0.65 < kept[:, 0].double().mean() < 0.85
    torch.testing.assert_close(y[kept[:, 0]], x[kept[:, 0]] / 0.75)
    (x,), y = _run(op("stochastic_depth", p=0.25), "400 3 2")
    assert torch.equal(x, y)


def test_bounds_of_losses_and_pads() -> None:
    assert op("bce_with_logits").bounds((Interval(), Interval(0, 1))) == (Interval(0.0),)
    assert op("bce_with_logits").bounds((Interval(), Interval(-1, 1))) == (Interval(),)
    assert op("nll").bounds((Interval(hi=0.0), Interval())) == (Interval(0.0),)
    assert op("avgpool", kernel=3, pad=1).bounds((Interval(1, 2),)) == (Interval(0, 2),)
    assert op("avgpool", kernel=3, pad=1, count_pad=False).bounds((Interval(1, 2),)) == (Interval(1, 2),)
    assert op("pad", amount=1, value=-3.0).bounds((Interval(1, 2),)) == (Interval(-3, 2),)
    assert op("dropout", p=0.5).bounds((Interval(1, 2),)) == (Interval(0, 4),)


@pytest.mark.parametrize(
    ("name", "values", "x", "text"),
    [
        ("conv", {"out": 8, "kernel": 3}, "B 3 8 8", "nn.Conv2d(3, 8, kernel_size=3)"),
        (
            "conv",
            {"out": 8, "kernel": 3, "stride": 2, "pad": 1, "bias": False},
            "B 3 8 8",
            "nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, bias=False)",
        ),
        ("maxpool", {"kernel": 2}, "B 3 8 8", "nn.MaxPool2d(2)"),
        ("avgpool", {"kernel": 3, "stride": 2}, "B 3 8", "nn.AvgPool1d(3, stride=2)"),
        ("batchnorm", {}, "B 3 8 8", "nn.BatchNorm2d(3)"),
        ("layernorm", {"eps": 1e-6}, "B T 8", "nn.LayerNorm(8, eps=1e-06)"),
        ("layernorm", {"bias": False}, "B T 8", "nn.LayerNorm(8, bias=False)"),
        ("linear", {"out": 8}, "B 3", "nn.Linear(3, 8)"),
        ("dropout", {"p": 0.1}, "B 3", "nn.Dropout(0.1)"),
        ("upsample", {"scale": 2}, "B 3 8 8", "nn.Upsample(scale_factor=2)"),
    ],
)
def test_modules_read_as_people_write_them(name: str, values: dict, x: str, text: str) -> None:
    code = op(name, **values).module((tensor(x),))
    assert code is not None and render(code, 0) == text
