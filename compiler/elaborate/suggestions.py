"""Layers by the names that other libraries have for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .. import ops
from ..diagnostics import did_you_mean
from .builtins import BUILTINS

_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "elman": "RNN"}


def similar(name: str, own: Iterable[str]) -> str | None:
    """What someone may have meant who wrote the name of a layer that is not there."""
    known = [*ops.names(), *own]
    close = did_you_mean(name, known)
    if close:
        return close
    folded = re.sub(r"(1d|2d|3d)$", "", name.lower().replace("_", ""))
    aliases = {
        "dense": "linear",
        "fc": "linear",
        "softmax2d": "softmax",
        "avgpooling": "avgpool",
        "concatenate": "concat",
        "cat": "concat",
        "permute": "rearrange",
        "view": "reshape",
        "layer_norm": "layernorm",
    }
    cell = _CELLS.get(folded.removesuffix("cell"))
    if cell:
        return f'cells are imported: `import "std/recurrent" use {cell}`, then `x -> scan {cell}(256) over T`'
    match = next((n for n in ops.names() if n.replace("_", "") == folded), aliases.get(folded))
    if match:
        return f"did you mean `{match}`?"
    return "`archc ops` lists the layers" if name not in BUILTINS else None
