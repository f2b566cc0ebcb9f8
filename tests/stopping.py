"""Runs of `archc train` that are killed or told to stop on their way. A process of its own imports all once; each run
is a child of it that does nothing else, so that its end is the end of a process and costs no start.

    python stopping.py FOLDER < RUNS

RUNS is JSON: for each run the arguments of `archc`, and where it is stopped or null. Printed: how each run ended, as
`subprocess` says it: 0 where all went well, -9 where it was killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import lightning_fabric  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import torch
import torch.utils.tensorboard
from archlang.cli.main import run as archc
from archlang.runtime import train  # noqa: F401

At = tuple[str, str, int]  # what is cut short, of which name, at which time


def arm(at: At) -> None:
    """Sets the moment at which this process dies, or is told to stop.

    `("SIGINT", "", 33)`: it gets this signal in the 33rd backward pass. `("half", "last.safetensors", 2)`: it dies
    while that file is written for the second time, half of it being there. `("whole", …)`: when it is written and not
    yet in its place. `("placed", …)`: right after that."""
    what, name, number = at
    if what in signal.Signals.__members__:
        torch.Tensor.backward = counted(torch.Tensor.backward, number, signal.Signals[what])  # type: ignore[method-assign]
    else:
        os.replace = cut(os.replace, what, name, number)


def counted(work: Callable, number: int, sent: signal.Signals) -> Callable:
    left = [number]

    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), sent)
        return work(*args, **kwargs)

    return call


def cut(replace: Callable, what: str, name: str, number: int) -> Callable:
    left = [number]

    def call(source, target):
        left[0] -= Path(target).name == name
        if left[0] > 0 or Path(target).name != name:
            return replace(source, target)
        if what == "half":
            os.truncate(source, os.path.getsize(source) // 2)
        if what == "placed":
            replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


def ended(arguments: list[str], at: At | None) -> int:
    """How a run in a process of its own ends."""
    child = os.fork()
    if not child:
        code = 1
        try:
            if at is not None:
                arm(at)
            code = archc(arguments)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    torch.set_num_threads(1)
    print(json.dumps([ended(arguments, at) for arguments, at in json.load(sys.stdin)]))
