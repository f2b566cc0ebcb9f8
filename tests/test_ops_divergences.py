"""Losses of variational models: divergences against torch.distributions, and sums for each example."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from archlang.compiler.ops import get
from archlang.compiler.ops.base import Need, Op, Refusal
from archlang.compiler.types import tensor
from ops_harness import Case
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

SHAPES = [(7, 3), (4, 2, 5, 3), (6,)]


def op(name: str, **values: Any) -> Op:
    found = get(name)
    assert found is not None
    return found(**values)


def run(layer: Op, *tensors: Tensor) -> Tensor:
    kinds = {torch.int64: "int: "}
    types = tuple(tensor(kinds.get(x.dtype, "") + " ".join(map(str, x.shape))) for x in tensors)
    return Case(layer, 0, types, layer.infer(types, Need()), layer.examples[0], list(tensors), {}).run()[0]


def drawn(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def normal(mean: Tensor, log_variance: Tensor) -> Normal:
    return Normal(mean, (0.5 * log_variance).exp())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_divergence_from_the_standard_normal_is_that_of_torch(shape: tuple[int, ...]) -> None:
    mean, log_variance = drawn(2, *shape)
    each = kl_divergence(normal(mean, log_variance), Normal(0.0, 1.0))
    torch.testing.assert_close(run(op("kl_standard_normal"), mean, log_variance), each.sum() / shape[0])
    for reduction, expected in {"none": each, "sum": each.sum(), "mean": each.mean()}.items():
        torch.testing.assert_close(run(op("kl_standard_normal", reduction=reduction), mean, log_variance), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_divergence_of_two_normals_is_that_of_torch(shape: tuple[int, ...]) -> None:
    given = drawn(4, *shape)
    each = kl_divergence(normal(*given[:2]), normal(*given[2:]))
    torch.testing.assert_close(run(op("kl_normal"), *given), each.sum() / shape[0])
    torch.testing.assert_close(run(op("kl_normal", reduction="none"), *given), each)
    nothing = torch.zeros(shape, dtype=torch.float64)
    standard = run(op("kl_standard_normal"), *given[:2])
    torch.testing.assert_close(run(op("kl_normal"), *given[:2], nothing, nothing), standard)
    assert run(op("kl_normal", reduction="none"), *given[:2], *given[:2]).abs().max() < 1e-12


def test_it_is_exact_where_the_two_are_almost_one() -> None:
    small = torch.full((1, 1), 1e-3, dtype=torch.float32)
    found = run(op("kl_standard_normal"), torch.zeros(1, 1), small).item()
    assert found == pytest.approx(0.25e-6 + 1e-9 / 12, rel=1e-3)  # x²/4 + x³/12; exp(x) − 1 would be off by a tenth


def test_gradients_are_those_of_the_formula() -> None:
    mean, log_variance = (x.requires_grad_() for x in drawn(2, 5, 3))
    loss = run(op("kl_standard_normal"), mean, log_variance)
    by_mean, by_log_variance = torch.autograd.grad(loss, (mean, log_variance))
    torch.testing.assert_close(by_mean, mean.detach() / 5)
    torch.testing.assert_close(by_log_variance, 0.5 * (log_variance.detach().exp() - 1) / 5)


LOSSES = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_sum_for_each_example_and_their_mean(name: str) -> None:
    x, y = drawn(2, 6, 2, 3)
    expected = LOSSES[name](x, y, reduction="none").flatten(1).sum(1).mean()
    torch.testing.assert_close(run(op(name, reduction="batchmean"), x, y), expected)


def test_a_sum_over_positions_and_a_mean_over_sequences() -> None:
    (scores,) = drawn(1, 4, 6, 5)
    targets = torch.arange(24).reshape(4, 6) % 5
    each = F.cross_entropy(scores.movedim(-1, 1), targets, reduction="none")
    found = run(op("cross_entropy", reduction="batchmean"), scores, targets)
    torch.testing.assert_close(found, each.sum(1).mean())


@pytest.mark.parametrize(
    ("name", "types", "message"),
    [
        ("kl_standard_normal", ("B 8", "B 4"), "takes 2 tensors of one shape, found [B, 8] and [B, 4]"),
        ("kl_standard_normal", ("B 8", "B"), "takes 2 tensors of one shape, found [B, 8] and [B]"),
        ("kl_standard_normal", ("B 8", "int: B 8"), "takes floating-point numbers"),
        ("kl_standard_normal", ("", ""), "there are no examples to take a mean over"),
        ("kl_normal", ("B 8", "B 8", "8", "8"), "takes 4 tensors of one shape, found [B, 8] and [8]"),
    ],
)
def test_what_they_refuse(name: str, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        op(name).infer(tuple(map(tensor, types)), Need())
    assert message in caught.value.message


def test_no_mean_over_the_examples_of_one_number() -> None:
    with pytest.raises(Refusal, match="no examples"):
        op("mse", reduction="batchmean").infer((tensor(""), tensor("")), Need())
