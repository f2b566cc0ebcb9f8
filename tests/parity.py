"""Measures a configuration against its reference implementation: keys, counts, outputs and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import archlang
import torch
from archlang.compiler.analysis.cost import at_nominal, cost, nominal_sizes
from archlang.compiler.graph import Program
from archlang.runtime.module import build
from oracles import ORACLES, Oracle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BATCH = 2
RANDOM = ("Dropout", "Dropout2d", "StochasticDepth", "DropPath")


@dataclass(frozen=True)
class Parity:
    """Counts of ours and theirs, and the largest difference relative to the largest magnitude, for the outputs in
    evaluation and in training, the losses and the gradients. `worst` names the tensor with the gradient's."""

    parameters: int
    their_parameters: int
    flops: int
    their_flops: int
    evaluation: float
    training: float
    losses: float
    gradients: float
    worst: str


def measure(name: str) -> Parity:
    """Both networks with the same weights, on the same input. Raises where the keys or shapes of the weights differ."""
    oracle = ORACLES[name]
    program = archlang.compile(name).program
    theirs = on_meta(oracle)
    flops, their_flops = at_nominal(cost(program).flops, program.graph), counted(theirs, nominal_input(program))
    theirs = theirs.to_empty(device="cpu")
    fill(theirs)
    silence(theirs)
    still = archlang.compile(name, parameters=dict(oracle.still)).program if oracle.still else program
    with torch.device("meta"):
        ours = build(still)
    ours = ours.to_empty(device="cpu")
    ours.load_state_dict(theirs.state_dict())
    image, target = inputs(program, oracle.size)
    evaluation = evaluated(ours, theirs, image)
    training, losses, gradients, worst = trained(ours, theirs, oracle, image, target)
    count = sum(p.numel() for p in ours.parameters())
    their_count = sum(p.numel() for p in theirs.parameters())
    return Parity(count, their_count, flops, their_flops, evaluation, training, losses, gradients, worst)


def families() -> list[str]:
    """The first configuration of each file."""
    first = {name.partition(":")[0]: name for name in reversed(ORACLES)}
    return [name for name in ORACLES if name in first.values()]


def on_meta(oracle: Oracle, **settings: Any) -> nn.Module:
    """The reference network without memory: its own way to start its weights costs nothing then."""
    with torch.device("meta"):
        return oracle.make(**settings)


def nominal_input(program: Program) -> tuple[int, ...]:
    (node,) = program.input_nodes()
    return program.graph[node].types[0].substitute(nominal_sizes(program.graph)).shape


def counted(module: nn.Module, shape: tuple[int, ...]) -> int:
    """FLOPs of one forward pass in evaluation, counted while it runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def fill(module: nn.Module) -> None:
    """Weights and statistics at random, of a size that keeps signals near one through any depth."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in module.state_dict(keep_vars=True).items():
            kind = key.rpartition(".")[2]
            if not value.is_floating_point():
                value.zero_()
            elif value.dim() > 1:
                _draw(value, (2 / value[0].numel()) ** 0.5, generator)
            elif kind in ("weight", "running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                value.normal_(0, 0.1, generator=generator)


def _draw(value: Tensor, deviation: float, generator: torch.Generator) -> None:
    """Normal numbers; of a large tensor so many, again and again, which takes a tenth of the time. They are a prime
    number, so that no two rows are alike."""
    fresh = torch.empty(min(value.numel(), 100_003)).normal_(0, deviation, generator=generator)
    flat = value.view(-1)
    whole, rest = divmod(len(flat), len(fresh))
    flat[: whole * len(fresh)].view(whole, -1).copy_(fresh.expand(whole, -1))
    flat[len(flat) - rest :] = fresh[:rest]


def silence(module: nn.Module) -> None:
    """Chances of dropping anything become 0."""
    for part in module.modules():
        if type(part).__name__ in RANDOM:
            setattr(part, "p" if hasattr(part, "p") else "drop_prob", 0.0)


def inputs(program: Program, size: int) -> tuple[Tensor, Tensor]:
    """An image for each example, of `size` × `size`, and a class."""
    generator = torch.Generator().manual_seed(1)
    channels = nominal_input(program)[1]
    classes = program.parameters["classes"]
    image = torch.randn((BATCH, channels, size, size), generator=generator)
    return image, torch.randint(0, classes, (BATCH,), generator=generator)


def evaluated(ours: nn.Module, theirs: nn.Module, image: Tensor) -> float:
    with torch.no_grad():
        return difference(ours.eval()(image), theirs.eval()(image))


def trained(
    ours: nn.Module, theirs: nn.Module, oracle: Oracle, image: Tensor, target: Tensor
) -> tuple[float, float, float, str]:
    """Differences of outputs, losses and gradients in training, and the tensor whose gradient differs most."""
    image = image.requires_grad_()
    outputs, losses = ours.train().objective(image, target)
    sum(ours.loss_weights[key] * value for key, value in losses.items()).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()} | {"image": image.grad}
    image.grad = None
    their_outputs = theirs.train()(image)
    their_losses = oracle.losses(their_outputs, target)
    sum(ours.loss_weights[key] * value for key, value in their_losses.items()).backward()
    their_gradients = {name: p.grad for name, p in theirs.named_parameters()} | {"image": image.grad}
    assert losses.keys() == their_losses.keys()
    assert gradients.keys() == their_gradients.keys()
    output = their_outputs if isinstance(their_outputs, Tensor) else their_outputs[0]
    lost = max(difference(losses[key], their_losses[key]) for key in losses)
    errors = {key: difference(gradients[key], their_gradients[key]) for key in gradients}
    worst = max(errors, key=errors.__getitem__)
    statistics, their_statistics = ours.state_dict(), theirs.state_dict()
    for key in (key for key in statistics if "running" in key):
        torch.testing.assert_close(statistics[key], their_statistics[key])
    return difference(outputs, output), lost, errors[worst], worst


def difference(ours: Any, theirs: Any) -> float:
    """max |Δ| / max |theirs|."""
    assert ours.shape == theirs.shape
    return largest(ours - theirs) / (largest(theirs) or 1.0)


def largest(values: Tensor) -> float:
    """max |values|, in one pass and without a second tensor; nan where one is."""
    low, high = torch.aminmax(values.detach())
    return max(-low.item(), high.item())


def rows(text: str) -> dict[str, dict[str, str]]:
    """The rows of the page: by spec and configuration, each cell under its column's title."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    titles = lines[0]
    return {f"{cells[0]}:{cells[1]}": dict(zip(titles, cells, strict=True)) for cells in lines[2:]}
