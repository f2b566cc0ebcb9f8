"""Runs of two processes that diverge. One process imports everything, and two children of it go through the runs.

    python diverging.py FOLDER

Each process leaves `told0.json` or `told1.json`: by run what it told, which is a message's code, itself, the text that
it points to and what is said there; and how often a step met the random numbers of the first one."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime import train as training
from archlang.runtime.data import load
from archlang.runtime.games import GameSteps
from archlang.runtime.module import build
from archlang.runtime.steps import NetworkSteps
from game_harness import compiled as playing
from game_harness import game
from lightning_fabric import Fabric  # noqa: F401  (for both processes)
from training_harness import compiled

DATA = 'npz("rows.npz")'
ROWS = 96  # more steps of an epoch than lie between two rounds
NETWORK = """
network Net {{
  input x: [B, 6]
  target y: [B, 1]
  init linear.weight = constant(0.5)
  init linear.bias = zeros
  out = x -> fc: linear(4, bias=false) -> {function} -> linear(1)
  output out
  loss fit = (out, y) -> mse
}}
"""
GAME = game("wasserstein(gradient_penalty=1, pool=6)").replace("output x ->", "output x -> log ->")
GAME = GAME.replace("-> linear(6)", "-> linear(6) -> exp")
STEPS = "epochs 1 batch 2 validation 0.25 test 0 optimizer sgd(1e-6)"
RUNS = {  # of the part that has one row of other values: the program, what is added to the plan, and that value
    "values": (NETWORK.format(function="log"), "", "train", -3.0),
    "gradients": (NETWORK.format(function="sqrt"), "", "train", 0.0),
    "measured": (NETWORK.format(function="log"), "", "validation", -3.0),
    "game": (GAME, "accumulate 2 ema 0.9", "train", -3.0),
    "measured game": (GAME, "ema 0.9", "validation", -3.0),
}


def main(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"TORCHELASTIC_RUN_ID": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in range(2):
        child = os.fork()
        if not child:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            go(folder, rank)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def go(folder: Path, rank: int) -> None:
    training._TICK = 0.0 if rank else 1e9  # one process reads its losses after every step, the other never
    training.draw_curves = lambda report, path: None
    began = noted(GameSteps, noted(NetworkSteps, []))
    all_told = {}
    for number, (name, (text, more, part, value)) in enumerate(RUNS.items()):
        own = folder / f"{number}{rank}"
        own.mkdir()
        compile_ = playing if "game" in name else lambda text, body, folder: compiled(text, DATA, body, folder)
        rows(own)
        program, plan = compile_(text, f"{STEPS} {more}", own)
        rows(own, getattr(load(program, plan)[1], part)[-1], value)
        began.clear()
        try:
            training.fit(
                program, lambda p=program: build(p), plan, out=folder / str(number), device="cpu", progress=False
            )
            told = ["nothing"]
        except ArchError as failure:
            (found,) = failure.diagnostics
            told = [found.code, found.message, found.span.text if found.span is not None else "", found.underline]
        except RuntimeError as failure:  # another process has left
            told = [str(failure)]
        all_told[name] = [told, began.count(began[0])]
        (folder / f"told{rank}.json").write_text(json.dumps(all_told))


def rows(folder: Path, at: int | None = None, value: float = 0.0) -> None:
    x = 1 + np.arange(ROWS * 6, dtype=np.float32).reshape(ROWS, 6) / 600
    if at is not None:
        x[at] = value
    tensors = {"x": x, "y": x[:, :1]}
    np.savez(folder / "rows.npz", **tensors)


def noted(steps: type, began: list[bytes]) -> list[bytes]:
    """Writes down the state of the random numbers at each step."""
    learn = steps.learn

    def call(self, *given):
        began.append(torch.get_rng_state().numpy().tobytes())
        return learn(self, *given)

    steps.learn = call
    return began


if __name__ == "__main__":
    main(Path(sys.argv[1]))
