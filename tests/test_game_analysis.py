"""What is known of a game before it runs: how far gradients flow, what each player costs and minimises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from archlang.compiler.analysis.cost import cost
from archlang.compiler.analysis.game_data import fits
from archlang.compiler.analysis.gradients import Gradients
from archlang.compiler.analysis.players import share
from archlang.compiler.analysis.table import summary
from archlang.compiler.frontend import compile_program
from archlang.compiler.ops import require
from archlang.compiler.ops.base import Interval
from archlang.compiler.source import Source
from archlang.runtime.audit import Outcome, audit
from archlang.runtime.module import build
from archlang.table import as_json, notes

SPECS = Path(__file__).parents[1] / "specs"
BODIES = {
    "a cut in the middle": "h = x -> a: linear(3) -> stop_gradient\n loss l = h -> b: linear(2) -> square -> mean",
    "what rounds": "loss l = x -> a: linear(3) -> round -> b: linear(2) -> square -> mean",
    "around a cut": """h = x -> a: linear(3)
      loss l = (h -> stop_gradient -> b: linear(3)) + (h -> c: linear(3)) -> square -> mean""",
    "what chooses": """h = x -> a: linear(4)
      loss l = (h > 0, x -> b: linear(4), x -> c: linear(4)) -> where -> square -> mean""",
    "a table of indices": "i = x -> a: linear(5) -> argmax(axis=1)\n loss l = i -> b: embedding(5, 3) -> mean",
    "shared weights": """module E = linear(4)
      loss l = ((x -> E -> stop_gradient) + (x -> E -> tanh)) -> square -> mean\n loss m = x -> a: linear(1) -> mean""",
    "a module that is passed": """module E = linear(4)
      loss l = (x -> Twice(E) -> square -> mean)""",
    "weights of another": """h = x -> a: linear(4, bias=false)
      loss l = (h -> stop_gradient -> tanh -> b: linear(4) with (weight=W)) -> mean\n param W: [4, 4] = 1
      """,
    "a scan": """loss l = (x -> b: linear(12) -> rearrange("b (t f) -> b t f", f=4)
      -> scan Cell over t) -> square -> mean""",
    "a scan of a state that is not read": """loss l = (x -> b: linear(12) -> rearrange("b (t f) -> b t f", f=4)
      -> scan Idle over t) -> square -> mean""",
}
HEAD = """
block Twice(E: module) { input x: [B, D]  output x -> E -> tanh -> E -> own: linear(2) }
cell Cell { input x: [B, F]  state h: [B, 4]  state c: [B, 4]
  c' = h -> early: linear(4)
  h' = (x -> inner: linear(4)) + c -> tanh
  output h' }
cell Idle { input x: [B, F]  state h: [B, 4]  state c: [B, 4]
  c' = (x -> late: linear(4)) + c
  h' = (x -> inner: linear(4)) + (h -> again: linear(4)) -> tanh
  output h' }
"""


def weighed(body: str):
    lines = body.split("\n")
    lines.sort(key=lambda line: not line.strip().startswith("param"))
    return compile_program(Source(f"{HEAD}network N {{ input x: [B, 4]\n {chr(10).join(lines)}\n output x }}\n"))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_gradients_reach_what_differentiation_reaches(body: str) -> None:
    program = weighed(body)
    torch.manual_seed(0)
    module = build(program).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    loss = next(n for n in program.graph.losses if program.graph[n].name == "l")
    _, losses = module.objective(x)
    found = torch.autograd.grad(losses["l"], list(module.parameters()), allow_unused=True)
    named = zip((key for key, _ in module.named_parameters()), found, strict=True)
    moved = {key for key, gradient in named if gradient is not None and bool(gradient.abs().max() > 0)}
    reached = Gradients().of(program.graph, frozenset(program.graph.operands(loss)))
    assert reached.weights == moved
    depends = Gradients(everything=True).of(program.graph, frozenset(program.graph.operands(loss)))
    assert reached.weights <= depends.weights
    assert reached.inputs <= depends.inputs


GAME = """
block Gen { input z: [B, L]  output z -> fc: linear(4) }
block Dis { input x: [B, L]  output x -> fc: linear(1) }
adversarial Play {
  input real: [B, 4]
  sample z ~ normal(0, 1): [B, 3]
  generator E = linear(5)
  generator G = Gen
  discriminator D = Dis
  code = z -> E
  fake = code -> G
  pair G vs D on (real, fake) by wasserstein(gradient_penalty=10, critic_steps=2)
  loss near weight 0.5 over E, G = (fake, real) -> l1
}
"""


def test_a_player_has_a_share() -> None:
    program = compile_program(Source(GAME))
    e, g, d = (share(program, name) for name in "EGD")
    assert [one.parameters for one in (e, g, d)] == [20, 24, 5]
    assert sum(one.parameters for one in (e, g, d)) == cost(program).parameters
    assert [str(one.flops) for one in (e, g, d)] == ["30 * B", "40 * B", "8 * B"]
    assert e.losses == {"near": 0.5}
    assert g.losses == {"G_made": 1.0, "near": 0.5}
    assert d.losses == {"D_real": 1.0, "D_made": 1.0, "D_penalty": 10.0}
    assert (e.pairs, len(g.pairs), d.pairs) == ((), 1, g.pairs)
    with pytest.raises(KeyError):
        share(program, "real")


def test_the_table_of_a_game_has_each_player_and_no_machinery() -> None:
    program = compile_program(Source(GAME))
    assert [(row.path, row.parameters) for row in summary(program) if row.level == 0] == [
        ("real", 0), ("E", 20), ("G", 24), ("D", 5), ("", 0),
    ]  # fmt: skip
    lines = list(notes(program))
    assert lines[:5] == [
        "player                 parameters  FLOPs  minimises",
        "E       generator              20     30  0.5 × near",
        "G       generator              24     40  G_made + 0.5 × near",
        "D       discriminator           5      8  D_real + D_made + 10 × D_penalty",
        "G plays against D by wasserstein(critic_steps=2, gradient_penalty=10)",
    ]
    data = as_json(program, None)["game"]
    assert data["players"][1] == {
        "name": "G",
        "role": "generator",
        "parameters": 24,
        "flops": 40,
        "losses": {"G_made": 1.0, "near": 0.5},
    }
    assert data["pairs"][0]["settings"]["gradient_penalty"] == 10
    assert as_json(compile_program(Source("network N { input x: [B, 4]  output x -> linear(1) }")), 0)["game"] is None


@pytest.mark.parametrize(
    ("made", "data", "fit"),
    [
        ((-1, 1), (-1, 1), True),
        ((-1, 1), (0, 1), False),  # half of what it can make is never seen
        ((0, 1), (-1, 1), False),
        ((0, float("inf")), (0, 1), True),
        ((0, float("inf")), (-1, 1), False),
        ((float("-inf"), float("inf")), (-1, 1), True),
        ((-1.1, 1.1), (-1, 1), True),
        ((-3, 3), (-1, 1), False),
        ((-0.5, 0.5), (-1, 1), False),
    ],
)
def test_which_ranges_fit(made, data, fit) -> None:
    assert fits(Interval(*made), Interval(*data)) is fit


def play(objective: str = "hinge", *, near: bool = True):
    text = GAME.replace("wasserstein(gradient_penalty=10, critic_steps=2)", objective)
    text = text.replace("output z -> fc: linear(4)", "output z -> fc: linear(4) -> tanh")
    loss = "  loss near weight 0.5 over E, G = (fake, real) -> l1\n"
    assert loss in text
    return compile_program(Source(text.replace(loss, f"  bias adversarial\n{loss if near else ''}")))


@pytest.mark.parametrize(
    "objective", ["minimax", "non_saturating(r1=1)", "least_squares", "hinge", "wasserstein(gradient_penalty=10)"]
)
def test_a_game_is_confirmed(objective: str) -> None:
    (result,) = audit(play(objective), seeds=(3,))
    assert (result.outcome, result.finding.claim.name) == (Outcome.AGREES, "adversarial")
    assert result.note.startswith("gradients of ")


def changed(graph, old: str, new: str) -> int:
    """Swaps every op of a name for another; returns how many there were."""
    found = [n for n in graph if graph[n].op is not None and graph[n].op.name == old]
    for number in found:
        graph.nx.nodes[number]["node"] = replace(graph[number], op=require(new)())
    return len(found)


@pytest.mark.parametrize(
    ("where", "old", "new", "note"),
    [
        (lambda p: p.graph, "stop_gradient", "identity", "discriminators minimise has a gradient for `E.weight`"),
        (lambda p: p.graph.modules["G"].graph, "tanh", "stop_gradient", "no gradient reaches all of `E`"),
    ],
)
def test_a_false_proof_of_a_game_is_contradicted(where, old, new, note) -> None:
    program = play()
    assert changed(where(program), old, new) == 1
    (result,) = audit(program, seeds=(3,))
    assert result.outcome is Outcome.CONTRADICTED
    assert note in result.note


def test_a_network_that_is_said_to_be_a_game_is_contradicted() -> None:
    program = play()
    program.game = None
    (result,) = audit(program, seeds=(3,))
    assert (result.outcome, result.note) == (Outcome.CONTRADICTED, "nobody plays")


def test_a_game_is_confirmed_with_its_own_weights() -> None:
    program = play(near=False)
    module = build(program)
    assert [result.outcome for result in audit(program, module)] == [Outcome.AGREES]
    with torch.no_grad():
        for parameter in module.D.parameters():
            parameter.zero_()
    (result,) = audit(program, module)
    assert result.outcome is Outcome.UNTESTED  # a discriminator that says nothing moves no generator
    assert "flat" in result.note


def test_a_game_that_costs_too_much_is_said_to_be_untested(monkeypatch) -> None:
    monkeypatch.setattr("archlang.runtime.audit.games.BUDGET", 1000)
    (result,) = audit(play(), seeds=(3,))
    assert result.outcome is Outcome.UNTESTED
    assert "GFLOPs" in result.note


def _channels(size: int) -> int:
    return min(512, 16384 // size)


def _conv(before: int, after: int, kernel: int, size: int) -> int:
    return 2 * kernel**2 * before * after * size**2


SIZES = [8 * 2**i for i in range(8)]
GROWN = _conv(512, 512, 3, 4) + _conv(16, 3, 1, 1024) + _conv(32, 3, 1, 512)  # from 4 × 4, and to colours
GROWN += sum(_conv(_channels(s // 2), _channels(s), 3, s) + _conv(_channels(s), _channels(s), 3, s) for s in SIZES)
JUDGED = _conv(3, 16, 1, 1024) + _conv(3, 32, 1, 512) + _conv(513, 512, 3, 4) + 2 * (8192 * 512 + 512)
JUDGED += sum(_conv(_channels(s), _channels(s), 3, s) + _conv(_channels(s), _channels(s // 2), 3, s) for s in SIZES)
STYLES = sum(2 * (2 * 512 * 2 * _channels(s)) for s in [4, *SIZES])  # two a resolution, scale and bias of each channel


@pytest.mark.parametrize(
    ("spec", "counted"),
    [
        ("progressive", {"G": 2 * 512 * 8192 + GROWN, "D": JUDGED}),
        ("stylegan", {"mapping": 8 * 2 * 512**2, "G": GROWN + STYLES, "D": JUDGED}),
    ],
)
def test_flops_of_a_megapixel_are_those_counted_by_hand(spec, counted):
    """The contracts hold of what the compiler counts; here of the papers' tables of layers."""
    text = (SPECS / "adversarial" / f"{spec}.arch").read_text()
    for player, flops in counted.items():
        assert f"expect flops({player}) == {flops:_}\n" in text
