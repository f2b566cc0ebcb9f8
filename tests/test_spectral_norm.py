"""Layers whose weight is divided by its largest singular value (Miyato et al., 2018)."""

from __future__ import annotations

import copy

import pytest
import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Fold
from archlang.compiler.passes import FOLD_NORMS, LEVELS, optimise
from archlang.compiler.source import Source
from archlang.runtime.ema import Ema
from archlang.runtime.module import build
from game_harness import ROWS, Table, copied, game, rows, same, same_players
from torch import nn
from torch.nn import functional as F
from training_harness import refused

NET = """
network Net {
  input x: [B, 2, 6, 6]
  output x -> c: conv(4, kernel=3, spectral_norm=true, init=normal(0, 0.5)) -> n: batchnorm -> relu
    -> u: conv_transpose(3, kernel=2, spectral_norm=true) -> flatten -> fc: linear(5, spectral_norm=true)
}
"""


def program(text):
    return compile_program(Source(text, "net.arch"))


class Normed(nn.Module):
    """A layer again, by the formulas of the paper: its algorithm 1, with the state where another layer has it."""

    def __init__(self, layer, run, axis=0):
        super().__init__()
        own = {key.rpartition(".")[2]: value.detach().clone() for key, value in layer.state_dict().items()}
        self.weight, self.bias = nn.Parameter(own["original"]), nn.Parameter(own["bias"])
        self.u, self.v, self.run, self.axis = own["_u"], own["_v"], run, axis

    def forward(self, x):
        matrix = self.weight.transpose(0, self.axis).flatten(1)
        if self.training:
            with torch.no_grad():
                self.u = F.normalize(matrix @ self.v, dim=0, eps=1e-12)
                self.v = F.normalize(matrix.T @ self.u, dim=0, eps=1e-12)
        return self.run(x, self.weight / (self.u @ matrix @ self.v), self.bias)


def test_as_the_formulas_say():
    """Outputs and gradients over several steps of training, and then in evaluation."""
    torch.manual_seed(0)
    ours = build(program(NET)).double()
    theirs = nn.Sequential(
        Normed(ours.c, F.conv2d), copy.deepcopy(ours.n), nn.ReLU(),
        Normed(ours.u, F.conv_transpose2d, axis=1), nn.Flatten(), Normed(ours.fc, F.linear),
    ).double()  # fmt: skip
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (ours, theirs)]
    for _ in range(5):
        x = torch.randn((3, 2, 6, 6), dtype=torch.float64)
        a, b = ours(x), theirs(x)
        torch.testing.assert_close(a, b)
        for y, optimizer in zip((a, b), optimizers, strict=True):
            optimizer.zero_grad()
            y.square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_the_largest_singular_value_becomes_one():
    module = build(program(NET)).double()
    for _ in range(300):
        module(torch.randn((2, 2, 6, 6), dtype=torch.float64))
    module.eval()
    for weight in (module.c.weight.flatten(1), module.u.weight.transpose(0, 1).flatten(1), module.fc.weight):
        assert float(torch.linalg.matrix_norm(weight, 2).detach()) == pytest.approx(1.0, rel=1e-3)


def test_keys_and_numbers():
    """Those of PyTorch's parametrization; only what is trained is counted."""
    net = program(NET)
    module = build(net)
    assert [key for key, _ in net.graph.state()] == list(module.state_dict())
    counted = sum(spec.elements for _, spec in net.graph.state() if spec.role == "param")
    assert counted == sum(p.numel() for p in module.parameters())
    again = build(net)
    again.load_state_dict(module.state_dict())
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(again.eval()(x), module.eval()(x))


def test_weights_start_before_they_are_normed():
    text = NET.replace("fc: linear(5, spectral_norm=true)", "fc: linear(5, spectral_norm=true, init=zeros)")
    module = build(program(text))
    assert 0.3 < float(module.c.parametrizations.weight.original.std()) < 0.7
    assert not module.fc.parametrizations.weight.original.any()


def test_a_start_by_statement():
    text = "network Net { input x: [B, 4]  init linear.weight = ones  output x -> fc: linear(4, spectral_norm=true) }"
    assert bool((build(program(text)).fc.parametrizations.weight.original == 1).all())


def test_a_start_for_all_layers():
    """A rule for plain layers says nothing of normed ones, which start by calls of their own."""
    plain = "linear(4, init=normal(0, 3)) -> " * 3
    text = f"network Net {{ input x: [B, 4]  output x -> {plain}fc: linear(400, spectral_norm=true, init=ones) }}"
    module = build(program(text))
    assert bool((module.fc.parametrizations.weight.original == 1).all())


def test_norms_are_not_folded_into_it():
    """Its weight is not what its checkpoint holds. A plain layer beside it is folded."""
    text = NET.replace(
        "input x: [B, 2, 6, 6]", "input x0: [B, 2, 6, 6]  x = x0 -> p: conv(2, kernel=1) -> m: batchnorm"
    )
    net = program(text)
    assert optimise(net, (FOLD_NORMS,)).graph.folds == (Fold("p", "m", 1e-5),)
    trained = build(net).double()
    for _ in range(3):
        trained(torch.randn((4, 2, 6, 6), dtype=torch.float64))
    quick = build(optimise(net, LEVELS[1], checked=True), started=False).double().eval()
    quick.load_state_dict(trained.state_dict())
    x = torch.randn((2, 2, 6, 6), dtype=torch.float64)
    torch.testing.assert_close(quick(x), trained.eval()(x))


def test_a_cell_that_is_scanned():
    """Every step of a scan is a run of its own: no equations are made of it."""
    text = """
    cell Cell { input x: [B, D]  state h: [B, 3]  h' = (x, h) -> w: linear(3, spectral_norm=true) -> tanh  output h' }
    network Net { input x: [B, T=5, 4]  y, last = x -> c: scan Cell over T  output y }
    """
    torch.manual_seed(0)
    module = build(program(text)).double()
    step, h = Normed(module.c.w, F.linear), torch.zeros((2, 3), dtype=torch.float64)
    x = torch.randn((2, 5, 4), dtype=torch.float64)
    found = []
    for t in range(5):
        h = torch.tanh(step(torch.cat([x[:, t], h], 1)))
        found.append(h)
    torch.testing.assert_close(module(x), torch.stack(found, 1))


def test_an_average_has_the_newest_vectors():
    net = program(NET)
    module = build(net)
    average = Ema(module, 0.9, net)
    assert set(module.state_dict()) - set(average.kept) == {
        "n.num_batches_tracked", *(f"{layer}.parametrizations.weight.0.{v}" for layer in "cu" for v in ("_u", "_v")),
        "fc.parametrizations.weight.0._u", "fc.parametrizations.weight.0._v",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ('conv(2, kernel=3, pad="causal", spectral_norm=true)', "A0313"),
        ('linear(2, layout="io", spectral_norm=true)', "A0313"),
    ],
)
def test_layers_that_torch_has_no_module_for(layer, code):
    text = f"network Net {{ input x: [B, 4, T=5]  output x -> {layer} }}"
    (found,) = refused(lambda: program(text))
    assert (found.code, found.span.text) == (code, "spectral_norm=true")


def test_no_weight_of_it_is_given():
    text = (
        "network Net { input x: [B, 4]  param b: [2] = zeros  output x -> linear(2, spectral_norm=true) with (bias=b) }"
    )
    (found,) = refused(lambda: program(text))
    assert found.code == "A0512"


def test_a_game_of_normed_layers(tmp_path):
    """Step for step: three runs of the discriminator a batch are three steps of its power iteration."""
    text = game("hinge").replace(
        "linear(16) -> tanh -> linear(1)",
        "linear(16, spectral_norm=true) -> tanh -> linear(1, spectral_norm=true)",
    )
    table = Table(text, "optimizer adam(lr=2e-3, betas=[0.0, 0.9])", tmp_path)
    G = copied(table.module.G, 3, 16, 6)
    D = nn.Sequential(Normed(table.module.D.linear1, F.linear), nn.Tanh(), Normed(table.module.D.linear2, F.linear))
    optG, optD = (torch.optim.Adam(player.parameters(), lr=2e-3, betas=(0.0, 0.9)) for player in (G, D))
    batches = rows()
    ours = table.play(batches)
    torch.manual_seed(1)
    judged, made = [], []
    for (x,) in batches:
        fake = G(torch.randn((ROWS, 3), dtype=torch.float64))
        optD.zero_grad()
        loss = F.relu(1 - D(x)).mean() + F.relu(1 + D(fake.detach())).mean()
        loss.backward()
        optD.step()
        judged.append(float(loss.detach()))
        optG.zero_grad()
        loss = -D(fake).mean()
        loss.backward()
        optG.step()
        made.append(float(loss.detach()))
    same([row["discriminator loss"] for row in ours], judged)
    same([row["loss"] for row in ours], made)
    same_players(table.module.G, G)
