"""Data: from what a `train` block names to tensors that fit the network."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.data_sources import (
    Csv,
    Digits,
    Gaussians,
    Images,
    InvertedDigits,
    Nature,
    Npz,
    Sequences,
    Unpaired,
    normalization,
)
from archlang.compiler.diagnostics import Diagnostic, error
from archlang.compiler.graph import Program
from archlang.compiler.source import Span
from archlang.compiler.task import input_type
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor

from . import arrays, bundled, folders, images, tables
from .base import Column, Data, Preprocessing, Split, moments, split
from .match import match
from .paths import locate, spec_folder
from .procedural import gaussians
from .reading import read_sequences
from .roles import label_node

__all__ = ["Column", "Data", "Preprocessing", "Split", "load", "locate", "spec_folder"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SAMPLED = 1000  # images from which mean and deviation are taken


def load(program: Program, plan: TrainPlan, override: Path | None = None) -> tuple[Data, Split, list[Diagnostic]]:
    """Reads the plan's data, checks it against the network, splits it, and normalizes inputs.

    `override` replaces the file or folder that the plan names. Also returns warnings. Raises ArchError."""
    data = _read(program, plan, override)
    notes = match(program, plan, data)
    data.arity = len(program.data_nodes()) + len(program.target_nodes())
    parts = data.parts or split(data.size, data.labels, plan.validation, plan.test, plan.split_seed)
    shared = " in two domains" if data.domains > 1 else ""
    for name, share in (("train", 1.0), ("validation", plan.validation), ("test", plan.test)):
        if share > 0 and any(len(side) == 0 for side in data.sides(parts.part(name))):
            raise error(
                "A1027",
                f"{data.origin} has {data.size} examples{shared}: too few for a {name} part",
                plan.place("data"),
                help="give more data, or a smaller share to `validation` and `test`"
                + (", or make windows shorter" if data.parts is not None and data.sequences is not None else ""),
            )
    if plan.data.nature is not Nature.SEQUENCES:  # those are scaled as they are read
        _normalize(data, parts, plan)
    return data, parts, notes


def _read(program: Program, plan: TrainPlan, override: Path | None) -> Data:
    source, span = plan.data, plan.place("data")
    if isinstance(source, Sequences):
        return read_sequences(program, plan, source, override)
    label = label_node(program)
    shares, seed = (plan.validation, plan.test), plan.split_seed
    if isinstance(source, Images):
        form, path = _image_form(program, source, span), locate(program, source.folder, override, span)
        return folders.load_images(path, form, source.corrupt, span, classes=label is not None)
    if isinstance(source, Unpaired):
        named = [(name, None if override is None else override / Path(name).name) for name in source.folders]
        first, second = (locate(program, name, path, span) for name, path in named)
        form = _image_form(program, source, span)
        return folders.load_unpaired((first, second), form, source.corrupt, shares, seed, span)
    if isinstance(source, Csv):
        path = locate(program, source.file, override, span)
        wants = "float" if label is None else program.graph[label].types[0].dtype
        return tables.load_csv(
            path, source.target, features=source.features, separator=source.separator, wants=wants, span=span
        )
    if isinstance(source, Npz):
        path = locate(program, source.file, override, span)
        return arrays.load_npz(path, source.input, None if label is None else source.target, span)
    if override is not None:
        raise error("A1010", f"`{source.kind}` is built in: there is no path to replace", span)
    if isinstance(source, Gaussians):
        return gaussians(source, _point_shape(program), seed)
    if isinstance(source, InvertedDigits):
        return bundled.inverted_digits(_digit_size(program, source), shares, seed)
    if isinstance(source, Digits):
        return bundled.digits(_digit_size(program, source))
    return bundled.table(source.kind)


def _digit_size(program: Program, source: Digits | InvertedDigits) -> int:
    """Height and width: as the source says, or else as the network's first input fixes them."""
    shape = input_type(program, 0).shape if program.data_nodes() else ()
    square = len(shape) == 4 and isinstance(shape[2], int) and shape[2] == shape[3] and 4 <= shape[2] <= 512
    return source.size or (int(shape[2]) if square else 8)  # type: ignore[arg-type]


def _image_form(program: Program, source: Images | Unpaired, span: Span | None) -> images.Form:
    """Size and channels: as the source says, or else as the network's first input has them."""
    axes = input_type(program, 0).axes if program.data_nodes() else ()
    sizes = [program.graph.nominal.get(str(a.size), a.size) for a in axes]
    height = sizes[2] if len(sizes) == 4 and isinstance(sizes[2], int) else 224
    size, grey = source.size or height, len(sizes) == 4 and sizes[1] == 1
    if source.resize is not None and source.resize < size:
        message = f"images resized to {source.resize} are too small for a middle of {size}"
        raise error("A1037", message, span, help=f"write `resize={size * 8 // 7}`, or leave it out")
    return images.Form(size, grey if source.grey is None else source.grey, source.resize)


def _point_shape(program: Program) -> tuple[int, ...]:
    """The shape of a point's two numbers: that of the network's input, where it holds two, such as [B, 2, 1, 1]."""
    shape = input_type(program, 0).shape[1:] if program.data_nodes() else ()
    sizes = tuple(size for size in shape if isinstance(size, int))
    return sizes if len(sizes) == len(shape) and prod(sizes) == 2 else (2,)


def _normalize(data: Data, parts: Split, plan: TrainPlan) -> None:
    """Takes the statistics from the training part, both domains together, and applies them to what is in memory."""
    how, prep = normalization(plan), data.preprocessing
    if data.inputs[0].dtype == "float" and how != "none":
        if how == "imagenet":
            mean, std = _imagenet(data, plan)
        elif how == "symmetric":
            mean, std = _symmetric(data, plan)
        else:
            x = _some(data, parts.train, plan)
            mean, std = moments(x if x.ndim > 1 else x[:, None])
        data.preprocessing = prep = prep.model_copy(update={"mean": mean, "std": std})
    ready = [prep.apply(x) if x.ndim > 1 else prep.apply(x[:, None])[:, 0] for x in data.tensors[: data.domains]]
    data.tensors = (*ready, *data.tensors[data.domains :])


def _some(data: Data, rows: np.ndarray, plan: TrainPlan) -> Tensor:
    """Inputs of some rows, before they are scaled; of pictures, enough of them to know their statistics."""
    if data.pictures is None:
        sides = zip(data.tensors, data.sides(rows), strict=False)
        return torch.cat([x[torch.from_numpy(side)] for x, side in sides])
    found = data.pictures.read([int(row) for row in rows[:: max(1, len(rows) // _SAMPLED)]])
    if isinstance(found, images.Unreadable):
        images.unreadable([found], plan.place("data"))
    return found.to(torch.float32) / 255


def _symmetric(data: Data, plan: TrainPlan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What brings [0, 1] to [-1, 1]."""
    least, most = data.interval or (0.0, 1.0)
    if least < 0 or most > 1:
        raise error(
            "A1061",
            f"`normalize symmetric` brings [0, 1] to [-1, 1], and {data.origin} runs from {least:g} to {most:g}",
            plan.place("normalize") or plan.place("data"),
            help="write `normalize standard`, or `normalize none` for values that are right as they are",
        )
    shape = data.inputs[0].shape
    half = (0.5,) * (int(shape[0]) if shape else 1)
    return half, half


def _imagenet(data: Data, plan: TrainPlan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if len(data.inputs[0].shape) != 3 or data.inputs[0].shape[0] != 3:
        raise error(
            "A1023",
            f"`normalize imagenet` is for images of three channels, and {data.origin} gives {data.inputs[0]}",
            plan.place("normalize") or plan.place("data"),
            help="write `normalize standard`",
        )
    return _IMAGENET
