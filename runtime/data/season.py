"""The forecast that every other one must beat: what was seen one season before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Season:
    """Repeats the last season of what the network sees.

    period: time points in a season. columns: which of the network's columns are predicted. horizon: how many time
    points are. input: which input of the network holds the values, [B, T, C] or [B, T]."""

    period: int
    columns: tuple[int, ...]
    horizon: int
    input: int = 0

    def forecast(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The seasonal naive forecast [B, horizon, columns]."""
        x = inputs[self.input]
        x = x if x.ndim == 3 else x[:, :, None]
        step = torch.arange(self.horizon, device=x.device)
        places = x.shape[1] - self.period + step % self.period
        return x[:, places][:, :, list(self.columns)]
