"""Small programs, hand-written modules that follow the contract of generated ones, and data for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from archlang.compiler.diagnostics import ArchError, Diagnostic
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Program
from archlang.compiler.source import Source
from archlang.compiler.training import TrainPlan, plan
from archlang.runtime import train as training
from torch import Tensor, nn

TABLE = """
network Net {{
  input  x: [B, {features}]
  target y: {target}
  out = x -> linear(8) -> relu -> linear({outputs}){tail}
  output out
  loss fit = (out, y) -> {loss}
}}
"""


@contextmanager
def interrupted_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.ExceptionInfo[training.Interrupted]]:
    """Ctrl-C in the backward pass of a step: what runs inside must stop as if someone had pressed it."""
    backward, steps = torch.Tensor.backward, [0]

    def counted(self, *args, **kwargs):
        steps[0] += 1
        if steps[0] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return backward(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(training.Interrupted) as caught:
        patch.setattr(torch.Tensor, "backward", counted)
        yield caught


def classifier(features: int = 4, classes: int = 3) -> str:
    """A spec that sorts rows into classes."""
    return TABLE.format(features=features, target="int[B]", outputs=classes, tail="", loss="cross_entropy")


def regressor(features: int = 10) -> str:
    """A spec that predicts a number from a row."""
    return TABLE.format(features=features, target="[B]", outputs=1, tail=' -> rearrange("b 1 -> b")', loss="mse")


PICTURES = """
network Net {
  input  x: [B, 3, 16, 16]
  target y: int[B]
  out = x -> conv(4, kernel=3) -> relu -> global_avgpool -> flatten -> linear(2)
  output out
  loss fit = (out, y) -> cross_entropy
}
"""


def compiled(network: str, data: str, body: str, folder: Path) -> tuple[Program, TrainPlan]:
    """A program and its plan, the spec lying in `folder`."""
    text = f"{network}\ntrain Net on {data} {{\n{body}\n}}\n"
    path = folder / "net.arch"
    path.write_text(text, encoding="utf-8")
    program = compile_program(Source(text, str(path)), base=folder)
    return program, plan(program.trains[0], program)


class Hand(nn.Module):
    """A module as the compiler would generate it: `objective` and `loss_weights`."""

    def __init__(self, body: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], weight: float = 1.0) -> None:
        super().__init__()
        self.body, self.loss = body, loss
        self.loss_weights = {"fit": weight}

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def objective(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        out = self(x)
        return out, {"fit": self.loss(out, y)}


def mlp(features: int = 4, classes: int = 3, drop: float = 0.0) -> Hand:
    body = nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Dropout(drop), nn.Linear(16, classes))
    return Hand(body, F.cross_entropy)


def values(features: int = 10) -> Hand:
    body = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    return Hand(body, F.mse_loss)


def lenet() -> Hand:
    """LeNet-5 as the paper draws it, with plain average pooling."""
    body = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    return Hand(body, F.cross_entropy)


def refused(work: Callable[[], object]) -> tuple[Diagnostic, ...]:
    """The diagnostics of work that must fail."""
    with pytest.raises(ArchError) as caught:
        work()
    return caught.value.diagnostics


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Equal to the last bit."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def picture_folder(folder: Path, per_class: int = 12) -> Path:
    """Two classes that a network can tell apart: dark and light noise."""
    from PIL import Image

    noise = np.random.RandomState(0)
    for name, level in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = noise.normal(level, 30, (20, 24, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder
