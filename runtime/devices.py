"""Where a run runs: Fabric, set up from a few words."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Literal

import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.source import Span

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def make_fabric(
    device: str = "auto", precision: str = "fp32", processes: int = 1, *, span: Span | None = None
) -> Fabric:
    """A launched Fabric. `device` is auto, cpu, cuda, cuda:N or mps; under torchrun the processes are torchrun's.

    span: where the precision was asked for. Raises A1042 for what this machine does not have."""
    from lightning_fabric import Fabric

    accelerator, _, number = device.partition(":")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    _check(accelerator, number, device, precision, span)
    world = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    devices: int | list[int] = [int(number)] if number and accelerator == "cuda" else 1
    nodes = 1
    strategy = "auto"
    if world > 1 or processes > 1:
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", world)) if world > 1 else processes
        nodes = max(1, world // devices)
        strategy = "ddp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=_PRECISIONS[precision],
        )
        fabric.launch()
    return fabric


def _check(accelerator: str, number: str, device: str, precision: str, span: Span | None) -> None:
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if accelerator not in there or (number and not number.isdigit()):
        raise error("A1042", f"`{device}` is no device", help="one of auto, cpu, cuda, cuda:0, mps")
    if not there[accelerator]:
        raise error("A1042", f"this machine has no `{accelerator}` device", help="leave the device to `auto`")
    if accelerator == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise error(
            "A1042", f"this machine has {torch.cuda.device_count()} GPUs, numbered from 0", help="see nvidia-smi"
        )
    if precision == "fp16" and accelerator != "cuda":
        raise error(
            "A1042",
            f"fp16 needs a CUDA GPU, and this runs on `{accelerator}`",
            span,
            help="write `precision bf16`, which the CPU can do too",
        )
