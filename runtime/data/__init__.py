"""Data: from what a `train` block names to tensors that fit the network."""

from __future__ import annotations

from pathlib import Path

import torch
from archlang.compiler.data_sources import Csv, Digits, Images, Nature, Npz, Sequences
from archlang.compiler.diagnostics import Diagnostic, error
from archlang.compiler.graph import Program
from archlang.compiler.task import input_type, target_type
from archlang.compiler.training_plan import TrainPlan

from . import arrays, bundled, images, tables
from .base import Column, Data, Preprocessing, Split, moments, split
from .match import match
from .paths import locate, spec_folder
from .reading import read_sequences

__all__ = ["Column", "Data", "Preprocessing", "Split", "load", "locate", "spec_folder"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SAMPLED = 1000  # images from which mean and deviation are taken


def load(program: Program, plan: TrainPlan, override: Path | None = None) -> tuple[Data, Split, list[Diagnostic]]:
    """Reads the plan's data, checks it against the network, splits it, and normalizes inputs.

    `override` replaces the file or folder that the plan names. Also returns warnings. Raises ArchError."""
    data = _read(program, plan, override)
    notes = match(program, plan, data)
    data.arity = len(program.input_nodes()) + len(program.target_nodes())
    parts = data.parts or split(data.size, data.labels, plan.validation, plan.test, plan.split_seed)
    for name, share in (("train", 1.0), ("validation", plan.validation), ("test", plan.test)):
        if share > 0 and len(parts.part(name)) == 0:
            raise error(
                "A1027",
                f"{data.origin} has {data.size} examples: too few for a {name} part",
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
    if isinstance(source, Images):
        path = locate(program, source.folder, override, span)
        size, grey = _image_form(program, source)
        if source.resize is not None and source.resize < size:
            message = f"images resized to {source.resize} are too small for a middle of {size}"
            raise error("A1037", message, span, help=f"write `resize={size * 8 // 7}`, or leave it out")
        return images.load_images(path, size, grey, span, source.resize)
    if isinstance(source, Csv):
        path = locate(program, source.file, override, span)
        wants = target_type(program, 0).dtype if program.target_nodes() else "float"
        return tables.load_csv(
            path, source.target, features=source.features, separator=source.separator, wants=wants, span=span
        )
    if isinstance(source, Npz):
        path = locate(program, source.file, override, span)
        return arrays.load_npz(path, source.input, source.target, span)
    if override is not None:
        raise error("A1010", f"`{source.kind}` is built in: there is no path to replace", span)
    return bundled.digits(source.size) if isinstance(source, Digits) else bundled.table(source.kind)


def _image_form(program: Program, source: Images) -> tuple[int, bool]:
    """Size and channels: as the source says, or else as the network's input has them."""
    axes = input_type(program, 0).axes if program.input_nodes() else ()
    sizes = [program.graph.nominal.get(str(a.size), a.size) for a in axes]
    height = sizes[2] if len(sizes) == 4 and isinstance(sizes[2], int) else 224
    grey = len(sizes) == 4 and sizes[1] == 1
    return source.size or height, grey if source.grey is None else source.grey


def _normalize(data: Data, parts: Split, plan: TrainPlan) -> None:
    """Takes the statistics from the training part, and applies them to what is in memory."""
    how = plan.normalize or ("none" if isinstance(plan.data, Npz) else "standard")
    prep = data.preprocessing
    if data.inputs[0].dtype == "float" and how != "none":
        if how == "imagenet":
            mean, std = _imagenet(data, plan)
        elif data.pictures is not None:
            rows = parts.train[:: max(1, len(parts.train) // _SAMPLED)]
            batch = data.pictures.__getitems__([int(r) for r in rows])
            if isinstance(batch, images.Unreadable):
                images.unreadable(batch, plan.place("data"))
            mean, std = moments(batch[0].to(torch.float32) / 255)
        else:
            x = data.tensors[0][torch.from_numpy(parts.train)]
            mean, std = moments(x if x.ndim > 1 else x[:, None])
        data.preprocessing = prep = prep.model_copy(update={"mean": mean, "std": std})
    if data.tensors:
        x = data.tensors[0]
        ready = prep.apply(x) if x.ndim > 1 else prep.apply(x[:, None])[:, 0]
        data.tensors = (ready, *data.tensors[1:])


def _imagenet(data: Data, plan: TrainPlan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if len(data.inputs[0].shape) != 3 or data.inputs[0].shape[0] != 3:
        raise error(
            "A1023",
            f"`normalize imagenet` is for images of three channels, and {data.origin} gives {data.inputs[0]}",
            plan.place("normalize") or plan.place("data"),
            help="write `normalize standard`",
        )
    return _IMAGENET
