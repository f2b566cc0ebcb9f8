"""What one graph needs of code, before anything is named or laid out: the form of every node, and its labelled
sequences."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from ..graph import Graph, Kind, Layer, Node, Ref
from ..ops.base import Check, Code
from ..recurrent.extract import Extracted
from ..sizes import Dim, symbol, symbols
from ..source import Span
from .expr import lift, parse, show
from .least import Asked, Least, least
from .recurrences import Extractor, examples
from .scans import lengths, like_operand, starts, zeros
from .sizing import Local, is_local, symbols_of


class Form(Enum):
    """How a node appears in code."""

    NOTHING = auto()  # inputs, outputs, weights
    ALIAS = auto()  # another name for its operand
    NUMBER = auto()  # a Python number, where its users take one
    MODULE = auto()  # `self.conv1(x)`
    CODE = auto()  # an expression over its operands
    CALL = auto()  # a block
    SCAN = auto()  # a cell that runs along an axis: a loop, or one call
    INNER = auto()  # within a sequence that is called as a whole


COMPUTED = (Form.MODULE, Form.CODE, Form.CALL, Form.SCAN)
_REUSED = ("block", "cell")  # kinds of graphs that others call


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an nn.Sequential: a node, or a sequence within."""

    node: int | None
    level: str
    entry: Ref
    result: Ref


@dataclass
class Facts:
    """Derived from one graph, once."""

    graph: Graph
    local: Local
    order: list[int] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)
    forms: dict[int, Form] = field(default_factory=dict)
    codes: dict[int, Code] = field(default_factory=dict)  # of CODE, NUMBER and ALIAS nodes; sizes for SCANs
    layers: dict[str, Code | None] = field(default_factory=dict)  # how own layers are constructed; None: functional
    stages: dict[int, Code] = field(default_factory=dict)  # how parameter-free nodes of sequences are constructed
    sequences: dict[str, list[Element]] = field(default_factory=dict)  # those that are nn.Sequential, by level
    helpers: dict[int, str] = field(
        default_factory=dict
    )  # blocks without weights or label: the attribute each lives at
    free: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # free symbols of callees
    children: dict[str, int] = field(default_factory=dict)  # how many modules stand right below a path
    checks: list[tuple[Check, Span | None]] = field(default_factory=list)  # those that a run must answer
    least: dict[str, Least] = field(default_factory=dict)  # of axes of a network's or entry's inputs, by local symbol
    losses_least: dict[str, Least] = field(default_factory=dict)  # the same, where only losses ask for it
    unknown: tuple[str, ...] = ()  # symbols that the code needs and the inputs do not tell: the caller passes them
    users: dict[Ref, list[int]] = field(default_factory=dict)  # who consumes a result, aliases looked through
    recurrences: dict[int, Extracted] = field(default_factory=dict)  # SCANs that one call runs: their equations
    begun: dict[int, Ref] = field(default_factory=dict)  # zeros at which a state starts, and what they are to be like
    overwrites: dict[int, int] = field(default_factory=dict)  # nodes that write over an operand, and its position

    def resolve(self, ref: Ref) -> Ref:
        """The result that this is another name for."""
        while self.forms.get(ref.node) is Form.ALIAS:
            ref = self.graph.operands(ref.node)[0]
        return ref

    def operands(self, number: int) -> list[Ref]:
        """What a node's code reads, aliases looked through."""
        if number in self.begun:
            return [self.resolve(self.begun[number])]
        return [self.resolve(ref) for ref in self.graph.operands(number)]

    def passed_sizes(self, number: int) -> dict[str, int | Dim]:
        """What a call passes for the symbols that its callee can't read off its inputs."""
        node = self.graph[number]
        if node.graph is None or number in self.recurrences:
            return {}
        sizes = dict(node.sizes)
        return {s: self.local.size(sizes.get(s, symbol(s))) for s in self.free[id(node.graph)]}

    def code_holes(self, number: int) -> tuple[str, ...]:
        """The holes of a node's code."""
        return parse(self.codes[number].template)[1]


def constructor(layer: Layer) -> Code | None:
    """How to construct a layer's nn.Module. None when no module fits, or when some of its weights are not its own."""
    code = layer.op.module(layer.inputs)
    if code is None or {w.name for w in layer.made} != {w.name for w in layer.op.weights(layer.inputs)}:
        return None
    return _complete(code)


# Keywords of convolutions that ops leave out when they are as PyTorch assumes. Here they are put back, so that layers
# which differ only in a stride have one form; `without_defaults` leaves them out again.
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_ORDER = ("kernel_size", *_DEFAULTS)


def _complete(code: Code) -> Code:
    if not code.template.startswith("nn.Conv"):
        return code
    tree, _ = parse(code.template)
    assert isinstance(tree, ast.Call)
    given = [k.arg for k in tree.keywords]
    missing = [k for k in _DEFAULTS if k not in given]
    if not missing or any(k in code.values and k not in given for k in missing):
        return code
    head, _, tail = code.template.partition(", kernel_size={kernel_size}")
    if not tail:
        return code
    rest = [k for k in given if k not in _ORDER]
    keywords = ", ".join(f"{k}={{{k}}}" for k in (*_ORDER, *rest) if k is not None)
    values = {**code.values, **{k: _DEFAULTS[k] for k in missing}}
    return Code(f"{head}, {keywords})", {k: values[k] for k in sorted(values, key=_place)})


def _place(key: str) -> int:
    return _ORDER.index(key) if key in _ORDER else -1 if key.startswith("arg") else len(_ORDER)


def without_defaults(tree: ast.expr) -> ast.expr:
    """The construction of a layer as people write it."""
    if isinstance(tree, ast.Call) and show(tree.func).startswith("nn.Conv"):
        tree.keywords = [k for k in tree.keywords if not _is_default(k)]
    return tree


def _is_default(keyword: ast.keyword) -> bool:
    return (
        keyword.arg in _DEFAULTS
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value == _DEFAULTS[keyword.arg]
    )


def examine(
    graph: Graph, free: Mapping[int, tuple[str, ...]], asked: Asked, extractor: Extractor | None = None
) -> Facts:
    """The facts of a graph. `free` has the free symbols of its callees, by id; `asked` is what it asks of its sizes.
    Without an `extractor` all scans are loops."""
    facts = Facts(graph, Local.of(graph), graph.order(), free=free)
    if extractor is not None:
        scans = ((n, extractor.of(graph, n)) for n in facts.order if graph[n].kind is Kind.SCAN)
        facts.recurrences = {n: found for n, found in scans if found is not None}
    facts.index = {n: i for i, n in enumerate(facts.order)}
    for path in graph.modules:
        above = path.rpartition(".")[0]
        facts.children[above] = facts.children.get(above, 0) + 1
    facts.layers = {path: constructor(m) for path, m in graph.modules.items() if isinstance(m, Layer)}
    facts.begun = zeros(graph)
    for number in facts.order:
        position = graph[number].overwrites
        if position is not None:
            facts.overwrites[number] = position
        facts.forms[number] = _form(facts, number, graph[number])
    for number in facts.order:
        if facts.forms[number] is not Form.ALIAS:
            for ref in facts.operands(number):
                facts.users.setdefault(ref, []).append(number)
    _overwrite(facts)
    _plain_numbers(facts)
    if graph.kind != "entry":
        _sequences(facts)
    _inline_plain(facts)
    taken = set(graph.modules) | set(graph.weights)
    for number in facts.order:
        node = graph[number]
        homeless = node.kind in (Kind.CALL, Kind.SCAN) and graph.module_at(node.module or "") is None
        if homeless and node.graph is not None and (node.module is None or not _foreign(graph, node.module)):
            facts.helpers[number] = _free(node.module or node.graph.name.lower(), taken)
    for number, code in facts.codes.items():
        facts.codes[number] = _localised(facts, code)
    _questions(facts, asked)
    facts.unknown = tuple(sorted({s for s in _needed(facts) if not is_local(s)}))
    return facts


def local_code(facts: Facts, number: int) -> Code:
    """The functional form of a node, over the sizes that the graph can read."""
    return _localised(facts, _call(facts, number))


def _localised(facts: Facts, code: Code) -> Code:
    return facts.local.code(lift(code) if facts.graph.kind in _REUSED else code)


def _questions(facts: Facts, asked: Asked) -> None:
    """What a run must answer, over the axes that the code can read."""
    checks = list(asked.rest)
    if facts.graph.kind not in _REUSED:
        for needs, kept in ((asked.least, facts.least), (asked.losses, facts.losses_least)):
            for name, need in needs.items():
                message = f"`{name}` must be at least {need.size}"
                check = Check("at_least", facts.local.size(symbol(name)), need.size, message)
                found = least(check)
                if found is None or not is_local(found[0]):
                    checks.append((check, need.span))
                elif found[0] not in facts.least or facts.least[found[0]].size < found[1]:
                    kept[found[0]] = Least(found[1], need.span)
    for check, span in checks:
        open_ = facts.local.check(check)
        if open_ is not None and (open_, span) not in facts.checks:
            facts.checks.append((open_, span))
    least_sizes = [symbol(name) for name in facts.least]
    facts.checks += [found for found in lengths(facts.graph, facts.local) if found[0].left not in least_sizes]


def _free(wanted: str, taken: set[str]) -> str:
    found, count = wanted, 2
    while found in taken:
        found, count = f"{wanted}_{count}", count + 1
    taken.add(found)
    return found


def _foreign(graph: Graph, path: str) -> bool:
    return path.partition(".")[0] in graph.module_parameters


def _form(facts: Facts, number: int, node: Node) -> Form:
    graph = facts.graph
    if node.kind is Kind.CALL:
        return Form.CALL
    if node.kind is Kind.SCAN:
        facts.codes[number] = examples(graph, number) if number in facts.recurrences else starts(node)
        return Form.SCAN
    if node.kind is not Kind.OP or node.op is None:
        return Form.NOTHING
    if node.module is not None and not node.replaced:
        layer = graph.module_at(node.module)
        if layer is None and _foreign(graph, node.module) and node.op.module(_types(graph, number)) is not None:
            return Form.MODULE
        if isinstance(layer, Layer) and constructor_of(facts, node.module, layer) is not None:
            return Form.MODULE
    code = like_operand(node) if number in facts.begun else _call(facts, number)
    facts.codes[number] = code
    if code.template.strip() == "{0}":
        return Form.ALIAS
    return Form.NUMBER if node.op.name == "scalar" else Form.CODE


def _call(facts: Facts, number: int) -> Code:
    """The functional form of a node."""
    node, types, position = facts.graph[number], _types(facts.graph, number), facts.overwrites.get(number)
    assert node.op is not None
    spare = node.op.overwrite(position, types, node.types) if position is not None else None
    return spare or node.op.call(types, node.types)


def _overwrite(facts: Facts) -> None:
    """Lets activations write over what they alone read, as `nn.ReLU(inplace=True)` does, where no gradient can tell:
    theirs follows from their result, and that of the layer before them from something else."""
    graph = facts.graph
    for number in facts.order:
        node = graph[number]
        if facts.forms[number] not in (Form.CODE, Form.MODULE) or node.op is None:
            continue
        if number not in facts.overwrites:
            if not node.op.told_by_result or facts.users[facts.operands(number)[0]] != [number]:
                continue
            before = facts.operands(number)[0].node
            op = graph[before].op
            if op is None or not op.forgets_result(_types(graph, before)):
                continue
            facts.overwrites[number] = 0
        if facts.forms[number] is Form.CODE:
            facts.codes[number] = _call(facts, number)
        elif is_plain_stage(graph, node.module) and _follows(facts, number):
            assert node.module is not None
            facts.layers[node.module] = node.op.overwriting_module(_types(graph, number)) or facts.layers[node.module]


def _follows(facts: Facts, number: int) -> bool:
    """Does what it reads come from the sequence in which it stands?"""
    return facts.graph[facts.operands(number)[0].node].level == facts.graph[number].level


def constructor_of(facts: Facts, path: str, layer: Layer) -> Code | None:
    return facts.layers[path] if path in facts.layers else constructor(layer)


def _types(graph: Graph, number: int) -> tuple:
    node = graph[number]
    refs = graph.operands(number)
    return tuple(graph.type(ref) for ref in refs[: len(refs) - len(node.replaced)])


def _plain_numbers(facts: Facts) -> None:
    """Numbers whose users do not take Python numbers become tensors."""
    for number in facts.order:
        if facts.forms[number] is Form.NUMBER and not all(
            _takes_numbers(facts, user) for user in facts.users.get(Ref(number), [])
        ):
            code = facts.codes[number]
            facts.forms[number] = Form.CODE
            facts.codes[number] = Code(f"torch.tensor({code.template}, device={{device}})", code.values)


def _takes_numbers(facts: Facts, user: int) -> bool:
    op = facts.graph[user].op
    if op is None or not op.numbers:
        return False
    return any(facts.forms[ref.node] is not Form.NUMBER for ref in facts.operands(user))


def _inline_plain(facts: Facts) -> None:
    """Layers without weights or a label of their own, outside an nn.Sequential, need no module: `F.relu(x)`."""
    for number in facts.order:
        node = facts.graph[number]
        if facts.forms[number] is Form.MODULE and is_plain_stage(facts.graph, node.module):
            assert node.op is not None
            facts.forms[number] = Form.CODE
            facts.codes[number] = _call(facts, number)


def is_plain_stage(graph: Graph, path: str | None) -> bool:
    """A numbered element of a labelled sequence that owns nothing."""
    module = graph.modules.get(path) if path is not None else None
    return isinstance(module, Layer) and not module.made and path is not None and path.rpartition(".")[2].isdigit()


# -- labelled sequences


def _sequences(facts: Facts) -> None:
    """Finds the labelled sequences that run their elements one after the other: those become nn.Sequential."""
    graph = facts.graph
    members: dict[str, list[int]] = {}
    below: dict[str, dict[str, None]] = {}
    for number in facts.order:
        level = graph[number].level
        if not level or facts.forms[number] not in (*COMPUTED, Form.NUMBER):
            continue
        members.setdefault(level, []).append(number)
        while level:
            above = level.rpartition(".")[0]
            below.setdefault(above, {})[level] = None
            level = above
    found: dict[str, list[Element] | None] = {}
    for level in sorted({*members, *below} - {""}, key=lambda text: (-text.count("."), text)):
        found[level] = _sequence(facts, level, members.get(level, []), list(below.get(level, {})), found)
    if graph.kind in _REUSED:
        found[""] = _whole(facts, found)
    outermost = {level for level, elements in found.items() if elements is not None}
    for level in sorted(outermost):
        elements = found[level]
        assert elements is not None
        facts.sequences[level] = elements
        for element in elements:
            if element.node is None:
                continue
            if facts.forms[element.node] is Form.CODE:
                facts.stages[element.node] = stage(facts, element.node)  # type: ignore[assignment]
            facts.forms[element.node] = Form.INNER


def _whole(facts: Facts, found: dict[str, list[Element] | None]) -> list[Element] | None:
    """The elements of a block that is one sequence, its labels 0, 1, 2 …: its class is an nn.Sequential."""
    graph = facts.graph
    if (
        len(graph.inputs) != 1
        or len(graph.outputs) != 1
        or graph.weights
        or graph.module_parameters
        or "0" not in {path.partition(".")[0] for path in graph.modules}
    ):
        return None
    ours = (*COMPUTED, Form.NUMBER)
    members = [n for n in facts.order if not graph[n].level and facts.forms[n] in ours]
    elements = _sequence(facts, "", members, [level for level in found if "." not in level], found)
    if elements is None or elements[0].entry != Ref(graph.inputs[0]):
        return None
    return elements if facts.resolve(graph.operands(graph.outputs[0])[0]) == elements[-1].result else None


def _sequence(
    facts: Facts,
    level: str,
    members: list[int],
    levels: list[str],
    found: dict[str, list[Element] | None],
) -> list[Element] | None:
    """The elements of a level, when each consumes only what the one before it made."""
    elements: list[Element] = []
    for number in members:
        element = _element(facts, level, number)
        if element is None:
            return None
        elements.append(element)
    for inner in levels:
        part = found.get(inner)
        if part is None:
            return None
        elements.append(Element(None, inner, part[0].entry, part[-1].result))
    if not elements:
        return None
    elements.sort(key=lambda e: facts.index[e.result.node])
    owning = 0
    for position, element in enumerate(elements):
        if position:
            before = elements[position - 1].result
            if element.entry != before or len(facts.users.get(before, [])) != 1:
                return None
        path = element.level if element.node is None else facts.graph[element.node].module
        if path is not None and path != child_path(level, str(position)):
            return None
        owning += element.node is not None and path in facts.graph.modules
    return elements if owning == facts.children.get(level, 0) and (owning or levels) else None


def child_path(level: str, label: str) -> str:
    """The path of what stands right below a level."""
    return f"{level}.{label}" if level else label


def _element(facts: Facts, level: str, number: int) -> Element | None:
    node = facts.graph[number]
    operands = facts.operands(number)
    if len(operands) != 1 or len(node.types) != 1 or facts.forms[operands[0].node] is Form.NUMBER:
        return None
    path = node.module
    own = facts.graph.modules.get(path) if path is not None else None
    if node.kind is Kind.SCAN:
        return None
    if node.kind is Kind.CALL:
        assert node.graph is not None
        if node.bindings or facts.free[id(node.graph)] or (path is not None and own is None):
            return None
    elif path is not None and facts.forms[number] is Form.MODULE:
        if own is None:
            return None
    elif facts.forms[number] is not Form.CODE or stage(facts, number) is None:
        return None
    return Element(number, level, operands[0], Ref(number))


def stage(facts: Facts, number: int) -> Code | None:
    """How to construct a node without weights as a module."""
    node = facts.graph[number]
    if node.op is None or node.replaced or (node.module is not None and node.module in facts.graph.modules):
        return None
    types = _types(facts.graph, number)
    if node.op.weights(types):
        return None
    spare = node.op.overwriting_module(types) if number in facts.overwrites else None
    return spare or node.op.module(types)


# -- symbols


def _needed(facts: Facts) -> Iterator[str]:
    """Symbols that the code of a graph needs."""
    for check, _ in facts.checks:
        yield from (*symbols(check.left), *symbols(check.right))
    for code in facts.codes.values():
        for value in code.values.values():
            yield from symbols_of(value)
    for number in facts.order:
        for size in facts.passed_sizes(number).values():
            yield from symbols_of(size)
