"""Graphs as text and as JSON: both read back to the same graph, and hostile files end in a coded message."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from archlang.compiler import ops
from archlang.compiler.diagnostics import ArchError, explain
from archlang.compiler.emit.json import as_data, from_json, json_schema, to_json
from archlang.compiler.encoding import (
    Undecodable,
    Written,
    decode,
    decode_code,
    encode,
    encode_code,
    make_op,
    settings_of,
)
from archlang.compiler.frontend import compile_program
from archlang.compiler.game import Player
from archlang.compiler.graph import Instance, Ref
from archlang.compiler.graph_text import parse_graph, print_graph, same
from archlang.compiler.ops.base import Init
from archlang.compiler.source import Source
from archlang.compiler.verify import BrokenGraph, verify
from hypothesis import given, settings
from hypothesis import strategies as st

RESNET = """
block Basic(width: int, stride: int = 1, act: block = relu) {
  input x: [B, C, H, W]
  shortcut = if stride == 1 and C == width then x
             else x -> downsample: { conv(width, kernel=1, stride=stride, bias=false) -> batchnorm }
  output x
    -> skip from shortcut {
         conv1: conv(width, kernel=3, stride=stride, pad=1, bias=false) -> bn1: batchnorm -> act
      -> conv2: conv(width, kernel=3, pad=1, bias=false) -> bn2: batchnorm
    } -> act
}
network Net(unit: block = Basic, layers: list[int] = [2, 1], classes: int = 10) {
  input image: [B, 3, H~64, W=64]
  target label: int[B]
  x = image -> conv1: conv(8, kernel=7, stride=2, pad=3, bias=false) -> bn1: batchnorm -> relu
  for i, depth in enumerate(layers) {
    width = 8 * 2 ** i
    x = x -> `layer{i + 1}`: { unit(width, stride=if i == 0 then 1 else 2) -> repeat depth - 1 { unit(width) } }
  }
  output logits = x -> global_avgpool -> rearrange("b c h w -> b (c h w)") -> fc: linear(classes)
  loss nll weight 0.5 = (logits, label) -> cross_entropy
}
"""
SHARED = """
block Twice(E: module) { input x: [B, D]  output x -> E -> relu -> E }
network Tied(vocab: int = 50) {
  input tokens: int[B, T]
  const near: bool[q=4, k=4] = k <= q and k > q - 2
  const ramp: float[t=T] = t / T
  param scale: [] = 2.5
  param `enc.pos`: [8] = normal(0, 0.02)
  module table = embedding(vocab, 8)
  module E = linear(8)
  h = tokens -> table
  h = h * scale + `enc.pos`
  pooled: [B, F=8] = h[T=0] -> Twice(E) -> dropout(0.25)
  output logits = pooled -> linear(vocab, bias=false) with (weight=table.weight)
  output mask = near
  output ramp
  entry again { input z: [B, 8]  output z -> E }
}
"""
GAME = """
block Gen { input z: [B, L]  output z -> fc: linear(4) }
block Dis { input x: [B, L]  output x -> fc: linear(1) }
adversarial Play {
  input real: [B, 4]
  sample z ~ normal(0, 1): [B, 3]
  generator E = linear(5)
  generator G = Gen
  discriminator D = Dis
  discriminator C = Dis
  code = z -> E
  fake = code -> G
  pair G vs D on (real, fake) by wasserstein(gradient_penalty=10, critic_steps=2, pool=50)
  pair G vs C on (real, fake) by hinge(r1=0.5, pool=50, critic_steps=2)
  loss near weight 0.5 over E, G = (fake, real) -> l1
  output code
}
"""


def programs():
    texts = {"resnet": RESNET, "shared": SHARED, "game": GAME}
    return {name: compile_program(Source(text)) for name, text in texts.items()}


@pytest.fixture(scope="module", params=["resnet", "shared", "game"])
def program(request):
    return programs()[request.param]


def test_what_the_front_end_makes_keeps_the_invariants(program):
    verify(program, spans=True)
    verify(program.graph.flatten())


def test_text_reads_back_to_the_same_graph(program):
    for graph in (program.graph, program.graph.flatten(), *program.entries.values()):
        text = print_graph(graph)
        again = parse_graph(text)
        verify(again)
        assert same(again, graph)
        assert print_graph(again) == text
        assert same(parse_graph(print_graph(graph, lines=True)), graph)


def test_json_reads_back_to_the_same_program(program):
    again = from_json(to_json(program))
    assert same(again.graph, program.graph)
    assert list(again.entries) == list(program.entries)
    assert all(same(again.entries[name], program.entries[name]) for name in program.entries)
    assert all(entry.modules is again.graph.modules for entry in again.entries.values())
    assert (again.name, again.parameters.keys()) == (program.name, program.parameters.keys())
    assert [key for key, _ in again.graph.state()] == [key for key, _ in program.graph.state()]
    assert to_json(again) == re.sub(r', "line": \d+', "", to_json(program))


def test_json_has_the_game():
    program = programs()["game"]
    data = as_data(program)["game"]
    assert [(p["name"], p["role"]) for p in data["players"]] == [
        ("E", "generator"), ("G", "generator"), ("D", "discriminator"), ("C", "discriminator"),
    ]  # fmt: skip
    assert [(p["objective"], p["settings"]) for p in data["pairs"]] == [
        ("wasserstein", {"critic_steps": 2, "gradient_penalty": 10, "pool": 50}),
        ("hinge", {"critic_steps": 2, "pool": 50, "r1": 0.5}),
    ]
    again = from_json(to_json(program)).game
    assert again.players.keys() == program.game.players.keys()
    assert [replace(pair, span=None) for pair in program.game.pairs] == again.pairs
    assert again.losses(program.graph, "generator") == program.game.losses(program.graph, "generator")


def changed_game(change):
    program = programs()["game"]
    change(program, program.game)
    return program


def over(number, *players):
    def change(program, _):
        node = program.graph[program.graph.losses[number]]
        program.graph.nx.nodes[program.graph.losses[number]]["node"] = replace(node, over=players)

    return change


def other_pair(**values):
    return lambda _, game: game.pairs.__setitem__(0, replace(game.pairs[0], **values))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (over(0), "which are no players of one side"),
        (over(0, "G", "D"), "which are no players of one side"),
        (over(0, "Nobody"), "which are no players of one side"),
        (lambda program, _: setattr(program, "game", None), "there is no game"),
        (lambda _, game: game.players.__setitem__("G", Player("H", "generator")), "is called `H`"),
        (lambda _, game: game.players.__setitem__("G", Player("G", "judge")), "a judge"),
        (other_pair(generator="D"), "`D`, which is no generator"),
        (other_pair(discriminator="X"), "`X`, which is no discriminator"),
        (other_pair(losses=("nothing",)), "which do not exist"),
        (other_pair(made=Ref(99)), "no tensor of real numbers"),
        (other_pair(scores=(Ref(0), Ref(0, 1))), "no tensor of real numbers"),
    ],
)
def test_a_broken_game_is_found(change, words):
    with pytest.raises(BrokenGraph, match=re.escape(words)):
        verify(changed_game(change))


def test_forms_do_not_depend_on_the_run(program):
    (fresh,) = (p for p in programs().values() if p.name == program.name)
    assert to_json(fresh) == to_json(program)
    assert print_graph(fresh.graph) == print_graph(program.graph)


def test_a_difference_anywhere_is_a_difference():
    one = programs()["resnet"].graph
    text = print_graph(one)
    for old, new in (
        ('"pad": 3', '"pad": 4'),
        (":skip", ":gate"),
        ("times 0.5", "times 0.75"),
        ('"H": 64', '"H": 32'),
        ("value logits", "value logit"),
        ('"layer1.0"', '"layer1.1"'),
    ):
        assert old in text
        assert not same(parse_graph(text.replace(old, new, 1)), one)


def test_the_text_of_a_small_graph():
    source = """network Net {
      input image: [B, 1, H=32, W=32]
      output image -> c1: conv(6, kernel=5) -> tanh
    }"""
    assert print_graph(compile_program(Source(source)).graph) == (
        "network Net {\n"
        '  module c1 = conv {"out": 6, "kernel": 5} of [B, 1, H=32, W=32] makes weight, bias\n'
        "  %0 image = input : [B, 1, H=32, W=32]\n"
        '  %1 c1 = conv(%0) module "c1" : [B, C=6, H=28, W=28]\n'
        "  %2 = tanh(%1) : [B, C=6, H=28, W=28]\n"
        "  %3 output = output(%2) : [B, C=6, H=28, W=28]\n"
        "  value image = %0\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no graph"),
        ("network N {", "has no end"),
        ("network N {\n  %0 x = input : [B\n}", "not a tensor type"),
        ("network N {\n  %0 x = relu(%3) : [B]\n}", "does not exist"),
        ("network N {\n  %0 x = nothing(%0) : [B]\n}", "no op `nothing`"),
        ("network N {\n  %0 x = relu(0) : [B]\n}", "line 2"),
        ("network N {\n  %0 x = relu {] : [B]\n}", "line 2: expected JSON"),
        ("network N {\n  twist 3\n}", "'twist'"),
        ("network N {\n  module m = linear of [B] makes weight\n}", "settings"),
        ('network N {\n  module m = call "M"\n}', "does not stand before it"),
        ("graph N {\n}", "kind"),
    ],
)
def test_text_that_is_no_graph_is_refused(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_graph(text)


def test_every_op_survives_with_the_settings_of_its_examples():
    seen = 0
    for name, kind in ops.registry().items():
        for example in kind.examples:
            op = kind(**example.settings)
            again = make_op(name, json.loads(json.dumps(settings_of(op))))
            assert again == op
            assert type(again) is kind
            seen += 1
    assert seen > 50


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def exact(value):
    """A form in which 1, 1.0 and true differ."""
    if isinstance(value, (tuple, list)):
        return [exact(v) for v in value]
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    return type(value).__name__, value


@settings(max_examples=150, deadline=None)
@given(values)
def test_static_values_survive_exactly(value):
    assert exact(decode(json.loads(json.dumps(encode(value))))) == exact(value)


def test_sizes_starts_and_what_has_only_a_text_survive():
    size = compile_program(Source("network N { input x: [B, T]  output x }")).graph[0].types[0].shape[1]
    for value in (size, size // 2 + 1, Init("normal", (0.0, 0.02)), range(2, 9), Written("Bottleneck(width=3)")):
        assert decode(json.loads(json.dumps(encode(value)))) == value


@pytest.mark.parametrize(
    "data", [{"$nothing": 1}, {"a": 1, "b": 2}, {"$size": "T +"}, {"$size": 3}, {"$init": [1]}, {"$range": "x"}]
)
def test_data_that_is_no_value_is_refused(data):
    with pytest.raises(Undecodable):
        decode(data)


@pytest.mark.parametrize(
    "template",
    [
        "__import__('os').system('true')",
        "torch.load({v0})",
        "torch.arange({v0}).__class__",
        "torch.arange({v0}, device={device}); print()",
        "torch.tensor({v0!r})",
        "torch.tensor({v0.__class__})",
        "exec({v0})",
        "torch",
        "\n",
    ],
)
def test_code_from_a_file_is_arithmetic_on_indices_or_nothing(template):
    weight = programs()["shared"].graph.weights["near"]
    good = encode_code(weight.code)
    assert decode_code(good) == weight.code
    with pytest.raises(Undecodable):
        decode_code({**good, "template": template})
    with pytest.raises(Undecodable):
        decode_code({**good, "values": {"$dict": [["v0", "text"]]}})


def broken(change):
    data = as_data(programs()["resnet"])
    change(data)
    return json.dumps(data)


def graph_of(data, name):
    return next(g for g in data["graphs"] if g["id"] == name)


def set_path(path, value):
    def change(data):
        at = data
        for step in path[:-1]:
            at = graph_of(data, step[1:]) if isinstance(step, str) and step.startswith("@") else at[step]
        at[path[-1]] = value

    return change


def broken_game(path, value):
    data = as_data(programs()["game"])
    set_path(["game", *path], value)(data)
    return json.dumps(data)


def endless(data):
    """Blocks of two blocks of two blocks …: few bytes, a boundless module tree."""
    data["graphs"] = [
        {"id": "g0", "name": "g"},
        *(
            {"id": f"g{i}", "name": "g", "modules": [{"path": p, "graph": f"g{i - 1}"} for p in ("a", "b")]}
            for i in range(1, 60)
        ),
    ]
    data["graph"] = "g59"


def deep(data):
    data["graphs"] = [{"id": "g0", "name": "g"}] + [
        {"id": f"g{i}", "name": "g", "modules": [{"path": "a", "graph": f"g{i - 1}"}]} for i in range(1, 5000)
    ]
    data["graph"] = "g4999"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "A0690"),
        ("{", "A0690"),
        ("[" * 100_000, "A0690"),
        ("[]", "A0692"),
        ("{}", "A0691"),
        (broken(set_path(["schema"], "archlang.graph/2")), "A0691"),
        (broken(set_path(["schema"], 1)), "A0691"),
        (broken(set_path(["surprise"], 1)), "A0692"),
        (broken(set_path(["name"], "x; import os")), "A0692"),
        (broken(set_path(["@Net", "name"], "")), "A0692"),
        (broken(set_path(["@Net", "nodes", 0, "types"], ["[B, 3"])), "A0693"),
        (broken(set_path(["@Net", "nodes", 0, "types"], [["[B]"]])), "A0692"),
        (broken(set_path(["@Net", "nodes", 1, "id"], 0)), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "operands"], [])), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "operands"], [{"node": 99}])), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "operands"], [{"node": 0, "result": -1}])), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "op"], "exec")), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "settings"], {"out": "8"})), "A0693"),
        (broken(set_path(["@Net", "nodes", 2, "settings"], {"out": 8, "kernel": {"$size": "(" * 400}})), "A0693"),
        (broken(set_path(["@Net", "modules", 0, "path"], "forward")), "A0693"),
        (broken(set_path(["@Net", "modules", 0, "path"], "a b")), "A0692"),
        (broken(set_path(["@Net", "modules", 0, "made"], [])), "A0693"),
        (broken(set_path(["@Net", "modules"], [])), "A0693"),
        (broken(set_path(["graph"], "Nowhere")), "A0693"),
        (broken(set_path(["graphs"], [])), "A0693"),
        (broken(lambda d: d["graphs"].reverse()), "A0693"),
        (broken(lambda d: d["graphs"].append(d["graphs"][0])), "A0693"),
        (broken(deep), "A0693"),
        (broken_game(["players", 0, "role"], "judge"), "A0692"),
        (broken_game(["players", 1, "name"], "E"), "A0693"),
        (broken_game(["pairs", 0, "objective"], "exec"), "A0693"),
        (broken_game(["pairs", 0, "settings"], {"clip": -1.0}), "A0693"),
        (broken_game(["pairs", 0, "settings"], {"clip": 1.0, "gradient_penalty": 1.0}), "A0693"),
        (broken_game(["pairs", 0, "settings"], {"code": "x"}), "A0693"),
        (broken_game(["pairs", 0, "made"], [99, 0]), "A0693"),
        (broken_game(["pairs", 0, "generator"], "Nobody"), "A0693"),
    ],
)
def test_a_bad_file_ends_in_a_coded_message(text, code):
    with pytest.raises(ArchError) as refused:
        from_json(text)
    assert [d.code for d in refused.value.diagnostics] == [code]
    assert len(str(refused.value)) < 2000
    assert explain(code)


def test_a_boundless_module_tree_is_read_without_being_expanded():
    program = from_json(broken(endless))
    assert isinstance(program.graph.modules["a"], Instance)


def test_the_schema_is_exportable():
    schema = json_schema()
    assert schema["properties"]["schema"]["const"] == "archlang.graph/1"
    assert {"graph", "graphs", "name"} <= set(schema["required"])
