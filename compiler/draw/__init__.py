"""Figures of programs: `render` draws, `save` writes a file."""

from __future__ import annotations

from .output import FORMATS, TEXT_FORMATS, render, save
from .style import THEMES

__all__ = ["FORMATS", "TEXT_FORMATS", "THEMES", "render", "save"]
