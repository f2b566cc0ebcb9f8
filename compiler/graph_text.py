"""Graphs as text that reads well and parses back: what `--print-after` and `archc graph` show, and tests compare.

    network Net {
      module c1 = conv {"out": 6, "kernel": 5} of [B, 1, H=32, W=32] makes weight, bias
      %0 image = input : [B, 1, H=32, W=32]
      %1 c1 = conv(%0) module "c1" : [B, C=6, H=28, W=28]
      %2 = output(%1) : [B, C=6, H=28, W=28]
    }

A cell also lists its states, and a scan says how its cell is run:

      states h, c
      %2 rnn = scan "LSTM"(%1, %0:gate) module "rnn" over {"axes": [1], "starts": [false], "masked": true} : …

Graphs that are called come first. One statement a line; settings and whatever else has a structure are JSON. Settings
of a node are left out where they are those of its module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import ValidationError

from .emit.models import (
    GraphModel,
    ModuleModel,
    NodeModel,
    WeightModel,
    graph_models,
    make_graphs,
    program_model,
    weight_model,
)
from .encoding import Undecodable, make_op
from .graph import Graph, Program
from .types import parse_type

_KINDS = ("input", "target", "weight", "output", "loss", "call", "scan")
_CALLS = ("call", "scan")


def print_graph(graph: Graph, *, lines: bool = False) -> str:
    """A graph and all that it calls as text. `lines`: with the line of the source at the end of each node, which does
    not parse back."""
    return "\n".join(_graph_text(model, lines) for model in graph_models(graph))


def graph_text(program: Program) -> str:
    """Every graph of a program as text: callees, the network, its entries."""
    return "\n".join(_graph_text(model, lines=True) for model in program_model(program).graphs)


def parse_graph(text: str) -> Graph:
    """The graph that `print_graph` printed: the last in the text. Raises ValueError with the line."""
    models = _Parser(text).graphs()
    if not models:
        raise ValueError("no graph")
    return make_graphs(tuple(models))[models[-1].id]


def same(left: Graph, right: Graph) -> bool:
    """Are two graphs, with all that they call, the same in everything but where they stand in a text?"""
    return _bare(left) == _bare(right)


def _bare(graph: Graph) -> list[GraphModel]:
    return [
        model.model_copy(update={"nodes": tuple(n.model_copy(update={"line": None}) for n in model.nodes)})
        for model in graph_models(graph)
    ]


# ---------------------------------------------------------------- printing


def _graph_text(model: GraphModel, lines: bool) -> str:
    head = f"{model.kind} {model.name}"
    if model.id != model.name:
        head += f" as {_json(model.id)}"
    out = [head + " {"]
    for key, value in (("arguments", model.arguments), ("nominal", model.nominal)):
        if value:
            out.append(f"  {key} {_json(value)}")
    if model.shares is not None:
        out.append(f"  shares {_json(model.shares)}")
    if model.states:
        out.append(f"  states {', '.join(model.states)}")
    if model.module_parameters:
        out.append(f"  takes {', '.join(model.module_parameters)}")
    out += (f"  {_module_text(module)}" for module in model.modules)
    out += (f"  weight {path} = {_json(_dump(weight))}" for path, weight in model.weights)
    modules = {module.path: module for module in model.modules}
    out += (f"  {_node_text(node, modules, lines)}" for node in model.nodes)
    out += (f"  value {name} = {_operand(*at)}" for name, at in model.values.items())
    out += (f"  gate {gate.name} = {_operand(*gate.value)} {_json(gate.bounds)}" for gate in model.gates)
    for check in model.checks:
        out.append(f"  check {check.test} {_json([check.left, check.right])} {_json(check.message)}")
    return "\n".join([*out, "}", ""])


def _module_text(module: ModuleModel) -> str:
    if module.graph is not None:
        return f"module {module.path} = call {_json(module.graph)}"
    text = f"module {module.path} = {module.op}{_settings(module.settings)}"
    if module.inputs:
        text += f" of {' ; '.join(module.inputs)}"
    if not module.made:
        return text
    if module.made == tuple(_made_by_default(module, [w.name for w in module.made])):
        return f"{text} makes {', '.join(w.name for w in module.made)}"
    return f"{text} makes {_json([_dump(w) for w in module.made])}"


def _made_by_default(module: ModuleModel, names: list[str]) -> list[WeightModel]:
    specs = make_op(module.op or "", module.settings).weights(tuple(map(parse_type, module.inputs)))
    by_name = {spec.name: spec for spec in specs}
    if any(name not in by_name for name in names):
        return []
    return [weight_model(by_name[name]) for name in names]


def _node_text(node: NodeModel, modules: dict[str, ModuleModel], lines: bool) -> str:
    name = f" {node.name}" if node.name else ""
    called = f" {_json(node.graph)}" if node.kind in _CALLS else ""
    head = node.op if node.kind == "op" else node.kind + called
    operands = ", ".join(_operand(o.node, o.result) + (f":{o.kind}" if o.kind != "data" else "") for o in node.operands)
    text = f"%{node.id}{name} = {head}"
    if node.operands or node.kind in ("op", *_CALLS):
        text += f"({operands})"
    owner = modules.get(node.module or "")
    if owner is None or owner.op != node.op:
        text += _settings(node.settings)
    elif owner.settings != node.settings:
        text += f" {_json(node.settings)}"
    for key, value, default in _extras(node):
        if value != default:
            text += f" {key} {_json(value)}"
    text += f" : {' ; '.join(node.types)}"
    return f"{text}  # line {node.line}" if lines and node.line is not None else text


def _extras(node: NodeModel) -> list[tuple[str, Any, Any]]:
    return [
        ("module", node.module, None),
        ("from", node.weight, None),
        ("replacing", list(node.replaced), []),
        ("sizes", node.sizes, {}),
        ("passing", node.bindings, {}),
        ("level", node.level, ""),
        ("times", node.loss_weight, 1.0),
        ("players", list(node.over), []),
        ("over", node.scan.model_dump(mode="json", exclude_defaults=True) if node.scan else None, None),
    ]


def _operand(node: int, result: int) -> str:
    return f"%{node}.{result}" if result else f"%{node}"


def _settings(settings: dict[str, Any]) -> str:
    return f" {_json(settings)}" if settings else ""


def _dump(weight: WeightModel) -> dict[str, Any]:
    return weight.model_dump(mode="json", exclude_defaults=True)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


# ---------------------------------------------------------------- parsing

_SPACE = re.compile(r"[ \t]*")
_WORD = re.compile(r"[A-Za-z0-9_.']+")
_REF = re.compile(r"%(\d+)(?:\.(\d+))?(?::(\w+))?")
_DECODER = json.JSONDecoder()
_FIELDS = {
    "module": "module",
    "from": "weight",
    "replacing": "replaced",
    "sizes": "sizes",
    "passing": "bindings",
    "level": "level",
    "times": "loss_weight",
    "players": "over",
    "over": "scan",
}


class _Line:
    """A cursor over one line."""

    def __init__(self, text: str, number: int) -> None:
        self.text, self.number, self.at = text, number, 0
        self.skip()

    def skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def fail(self, wanted: str) -> NoReturn:
        raise ValueError(f"line {self.number}: expected {wanted}, found {self.text[self.at : self.at + 40]!r}")

    def sees(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if not self.sees(text):
            return False
        self.at += len(text)
        self.skip()
        return True

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(f"`{text}`")

    def match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fail(wanted)
        self.at = found.end()
        self.skip()
        return found

    def word(self, wanted: str = "a name") -> str:
        return self.match(_WORD, wanted).group()

    def json(self) -> Any:
        try:
            value, self.at = _DECODER.raw_decode(self.text, self.at)
        except (ValueError, RecursionError):
            self.fail("JSON")
        self.skip()
        return value

    def rest(self, end: str | None = None) -> str:
        """What is left, up to `end`."""
        stop = self.text.find(end, self.at) if end else -1
        stop = len(self.text) if stop < 0 else stop
        found, self.at = self.text[self.at : stop].strip(), stop
        self.skip()
        return found


class _Parser:
    def __init__(self, text: str) -> None:
        found = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
        self.lines = iter([_Line(line, number) for number, line in found if line])
        self.statements: dict[str, Callable[[_Line, dict[str, Any]], None]] = {
            "arguments": lambda line, g: g.__setitem__("arguments", line.json()),
            "nominal": lambda line, g: g.__setitem__("nominal", line.json()),
            "shares": lambda line, g: g.__setitem__("shares", line.json()),
            "states": lambda line, g: g.__setitem__("states", line.rest().split(", ")),
            "takes": lambda line, g: g.__setitem__("module_parameters", line.rest().split(", ")),
            "module": self._module,
            "weight": self._weight,
            "value": self._value,
            "check": self._check,
            "gate": self._gate,
        }

    def graphs(self) -> list[GraphModel]:
        return [self._graph(line) for line in self.lines]

    def _graph(self, head: _Line) -> GraphModel:
        kind, name = head.word("block, cell, network or entry"), head.word()
        given: dict[str, Any] = {"kind": kind, "name": name, "id": head.json() if head.take("as") else name}
        given |= {"modules": [], "weights": [], "nodes": [], "values": {}, "checks": [], "gates": []}
        head.need("{")
        for line in self.lines:
            if line.take("}"):
                try:
                    return GraphModel.model_validate_json(json.dumps(given))
                except ValidationError as failure:
                    raise ValueError(f"graph `{name}`: {failure}") from failure
            if line.sees("%"):
                self._node(line, given)
            else:
                word = line.word("a statement")
                if word not in self.statements:
                    raise ValueError(f"line {line.number}: no statement starts with {word!r}")
                self.statements[word](line, given)
            if not line.done:
                line.fail("the end of the line")
        raise ValueError(f"graph `{name}` has no end")

    def _module(self, line: _Line, given: dict[str, Any]) -> None:
        path = line.word()
        line.need("=")
        word = line.word()
        if word == "call":
            given["modules"].append({"path": path, "graph": line.json()})
            return
        settings = line.json() if line.sees("{") else {}
        inputs = line.rest(" makes ").split(" ; ") if line.take("of ") else []
        module: dict[str, Any] = {"path": path, "op": word, "settings": settings, "inputs": inputs, "made": []}
        if line.take("makes "):
            if line.sees("["):
                module["made"] = line.json()
            else:
                try:
                    bare = ModuleModel(path=path, op=word, settings=settings, inputs=tuple(inputs))
                    module["made"] = [_dump(w) for w in _made_by_default(bare, line.rest().split(", "))]
                except (ValidationError, Undecodable) as failure:
                    raise ValueError(f"line {line.number}: {failure}") from failure
        given["modules"].append(module)

    def _weight(self, line: _Line, given: dict[str, Any]) -> None:
        path = line.word()
        line.need("=")
        given["weights"].append([path, line.json()])

    def _value(self, line: _Line, given: dict[str, Any]) -> None:
        name = line.word()
        line.need("=")
        number, result, _ = line.match(_REF, "`%n`").groups()
        given["values"][name] = [int(number), int(result or 0)]

    def _gate(self, line: _Line, given: dict[str, Any]) -> None:
        name = line.word()
        line.need("=")
        number, result, _ = line.match(_REF, "`%n`").groups()
        given["gates"].append({"name": name, "value": [int(number), int(result or 0)], "bounds": line.json()})

    def _check(self, line: _Line, given: dict[str, Any]) -> None:
        test, (left, right), message = line.word(), line.json(), line.json()
        given["checks"].append({"test": test, "left": left, "right": right, "message": message})

    def _node(self, line: _Line, given: dict[str, Any]) -> None:
        node: dict[str, Any] = {"id": int(line.match(_REF, "`%n`").group(1))}
        if not line.sees("="):
            node["name"] = line.word()
        line.need("=")
        head = line.word("an op")
        node |= {"kind": head} if head in _KINDS else {"kind": "op", "op": head}
        if head in _CALLS:
            node["graph"] = line.json()
        node["operands"] = self._operands(line) if line.take("(") else []
        settings = line.json() if line.sees("{") else None
        while not line.sees(":"):
            word = line.word("a setting or `:`")
            if word not in _FIELDS:
                raise ValueError(f"line {line.number}: no such setting: {word!r}")
            node[_FIELDS[word]] = line.json()
        if settings is None:
            owner = next((m for m in given["modules"] if m["path"] == node.get("module") and m.get("op") == head), None)
            settings = owner["settings"] if owner is not None else {}
        node["settings"] = settings
        line.need(":")
        node["types"] = line.rest(" # ").split(" ; ")
        line.rest()
        given["nodes"].append(node)

    def _operands(self, line: _Line) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while not line.take(")"):
            if found:
                line.need(",")
            number, result, kind = line.match(_REF, "`%n`").groups()
            found.append({"node": int(number), "result": int(result or 0), "kind": kind or "data"})
        return found
