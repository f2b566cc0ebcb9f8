"""Colours and line styles of figures. Hues are Paul Tol's light scheme, which colour-blind readers can tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..graph import EdgeKind
from ..ops.base import Glyph


class Extra(StrEnum):
    """What is drawn beside ops."""

    INPUT = "input"
    TARGET = "target"
    OUTPUT = "output"
    WEIGHT = "weight"
    BLOCK = "block"
    LEVEL = "level"
    STATE = "state"
    GENERATOR = "generator"
    DISCRIMINATOR = "discriminator"


Role = Glyph | Extra
ROLES: tuple[Role, ...] = (*Glyph, *Extra)
LAYERS: frozenset[Role] = frozenset({Glyph.CONV, Glyph.LINEAR, Glyph.EMBED})
SMALL: frozenset[Role] = frozenset({Glyph.NORM, Glyph.ACTIVATION, Glyph.DROPOUT})


@dataclass(frozen=True)
class Line:
    """How one kind of edge is drawn: colour, width in points, a style of Graphviz, an arrow head."""

    colour: str
    width: float = 1.0
    style: str = "solid"
    head: str = "normal"


@dataclass(frozen=True)
class Theme:
    """Every colour of a figure, as `#rrggbb`. `clusters` alternate from the outside in; `fills` hold each role's."""

    name: str
    background: str
    text: str
    muted: str
    border: str
    width: float
    fills: dict[Role, str]
    clusters: tuple[str, ...]
    cluster_border: str
    loss: str
    lines: dict[EdgeKind, Line]


def _fills(**named: str) -> dict[Role, str]:
    by_name = {str(role): role for role in ROLES}
    return {by_name[name]: colour for name, colour in named.items()}


_LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1b1e23",
    muted="#474e59",
    border="#5b6370",
    width=0.8,
    fills=_fills(
        conv="#a9c9ec",
        linear="#f6b79d",
        pool="#8fd3bd",
        norm="#dfe1e6",
        activation="#f3e2a0",
        embed="#fbc9d2",
        dropout="#fbfbfc",
        shape="#fefefe",
        merge="#fdfdfd",
        arithmetic="#fcfcfc",
        select="#d9e3a8",
        reduce="#bfe3ea",
        loss="#fdecea",
        constant="#eef0f3",
        sample="#e0d3f0",
        input="#f7f8fa",
        target="#f8f4f3",
        output="#f6f8fb",
        weight="#ecebe4",
        block="#d3ddf2",
        level="#e4e9f3",
        state="#d5efe9",
        generator="#cdeac0",
        discriminator="#ffd6a5",
    ),
    clusters=("#f4f6fa", "#eaeef5"),
    cluster_border="#9aa4b5",
    loss="#b3261e",
    lines={
        EdgeKind.DATA: Line("#434a55"),
        EdgeKind.SKIP: Line("#c2410c", 1.7),
        EdgeKind.GATE: Line("#6b3fa0", 1.2, "solid", "odot"),
        EdgeKind.STATE: Line("#0f766e", 1.2, "dashed"),
    },
)

_DARK = Theme(
    name="dark",
    background="#14171c",
    text="#f1f3f6",
    muted="#cfd5de",
    border="#8b95a5",
    width=0.8,
    fills=_fills(
        conv="#27527f",
        linear="#84402a",
        pool="#1c6350",
        norm="#434954",
        activation="#665711",
        embed="#7c3548",
        dropout="#1d2127",
        shape="#14181d",
        merge="#22262d",
        arithmetic="#23272e",
        select="#4c5a1b",
        reduce="#205763",
        loss="#48201d",
        constant="#2f343c",
        sample="#4d3a6b",
        input="#242932",
        target="#2e2728",
        output="#252b34",
        weight="#38362c",
        block="#33415f",
        level="#2a3244",
        state="#14443e",
        generator="#2f5226",
        discriminator="#6b4413",
    ),
    clusters=("#1b1f26", "#232831"),
    cluster_border="#5d6878",
    loss="#ff8f86",
    lines={
        EdgeKind.DATA: Line("#aab3c0"),
        EdgeKind.SKIP: Line("#ff9d5c", 1.7),
        EdgeKind.GATE: Line("#c4a5f0", 1.2, "solid", "odot"),
        EdgeKind.STATE: Line("#5ed3c3", 1.2, "dashed"),
    },
)

_PRINT = Theme(
    name="print",
    background="#ffffff",
    text="#000000",
    muted="#404040",
    border="#000000",
    width=0.6,
    fills=_fills(
        conv="#d4d4d4",
        linear="#e6e6e6",
        pool="#c4c4c4",
        norm="#f6f6f6",
        activation="#ffffff",
        embed="#dcdcdc",
        dropout="#ffffff",
        shape="#ffffff",
        merge="#ffffff",
        arithmetic="#ffffff",
        select="#efefef",
        reduce="#ececec",
        loss="#ffffff",
        constant="#fafafa",
        sample="#fafafa",
        input="#ffffff",
        target="#ffffff",
        output="#ffffff",
        weight="#fafafa",
        block="#e9e9e9",
        level="#f2f2f2",
        state="#ffffff",
        generator="#f0f0f0",
        discriminator="#d0d0d0",
    ),
    clusters=("#ffffff", "#f7f7f7"),
    cluster_border="#8a8a8a",
    loss="#000000",
    lines={
        EdgeKind.DATA: Line("#000000", 0.7),
        EdgeKind.SKIP: Line("#000000", 1.5),
        EdgeKind.GATE: Line("#000000", 0.7, "solid", "odot"),
        EdgeKind.STATE: Line("#000000", 0.9, "dashed"),
    },
)

THEMES: dict[str, Theme] = {theme.name: theme for theme in (_LIGHT, _DARK, _PRINT)}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours after WCAG 2: from 1 (the same) to 21 (black on white)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
