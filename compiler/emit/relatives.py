"""Graphs that differ in plain numbers are examined once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..graph import Graph, Kind, Layer
from ..ops.base import Code
from .facts import Facts, constructor, local_code, stage


def relative(known: Facts, graph: Graph) -> Facts | None:
    """The facts of a graph with the structure of an examined one. None where its numbers change more than numbers in
    its code: one that PyTorch assumes anyway is left out of it."""
    facts = replace(known, graph=graph, codes=dict(known.codes), layers=dict(known.layers), stages=dict(known.stages))
    for number in facts.order:
        node, model = graph[number], known.graph[number]
        if node is not model and node.kind is Kind.SCAN:
            return None  # its equations hold the numbers, too
        if node is model or node.op is None or model.op is None:
            continue
        types = graph.operand_types(number)
        if number in facts.overwrites or node.op.forgets_result(types) != model.op.forgets_result(types):
            return None
        if number in facts.codes:
            facts.codes[number] = local_code(facts, number)
        if number in facts.stages:
            made = stage(facts, number)
            if made is None:
                return None
            facts.stages[number] = made
        layer = graph.modules.get(node.module or "")
        if node.module is not None and isinstance(layer, Layer):
            facts.layers[node.module] = constructor(layer)
    pairs = ((facts.codes, known.codes), (facts.layers, known.layers), (facts.stages, known.stages))
    return facts if all(_alike(*pair) for pair in pairs) else None


def _alike(codes: Mapping[Any, Code | None], known: Mapping[Any, Code | None]) -> bool:
    return all(code is known[key] or _template(code) == _template(known[key]) for key, code in codes.items())


def _template(code: Code | None) -> str | None:
    return None if code is None else code.template
