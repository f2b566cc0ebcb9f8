"""Figures of programs."""

from __future__ import annotations

from .output import FORMATS, SUFFIXES, TEXT_FORMATS, render
from .style import THEMES

__all__ = ["FORMATS", "SUFFIXES", "TEXT_FORMATS", "THEMES", "render"]
