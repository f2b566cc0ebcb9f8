"""Programs to draw, and what is found in their figures."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import draw_graphs as graphs
from archlang.compiler.draw import render
from archlang.compiler.draw.outline import outline
from archlang.compiler.draw.stacks import tidy
from archlang.compiler.graph import Program

SVG = "{http://www.w3.org/2000/svg}"
PROGRAMS: dict[str, Callable[[], Program]] = {
    "lenet": graphs.lenet,
    "resnet": graphs.resnet,
    "unet": graphs.unet,
    "inception": graphs.inception,
    "transformer": graphs.transformer,
}


def figure(program: Program, depth: int = 99):
    return tidy(outline(program, program.graph, depth, False, 10_000))


def texts(program: Program, depth: int = 99) -> list[str]:
    return [item.text for item in figure(program, depth).items.values() if item.text.strip()]


def svg_of(program: Program, **options) -> ElementTree.Element:
    return ElementTree.fromstring(render(program, "svg", **options))


def by_class(svg: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [g for g in svg.iter(f"{SVG}g") if g.get("class") == name]


def written(element: ElementTree.Element) -> str:
    return " ".join(" ".join(text.itertext()) for text in element.iter(f"{SVG}text")).replace("\xa0", " ")


def chain(count: int, op: str = "linear", **settings) -> Program:
    b = graphs.Builder("Chain", "network")
    x = b.input("x", "B 8")
    for _ in range(count):
        x = b.op(op, x, **settings)
    b.output(x)
    return b.program()
