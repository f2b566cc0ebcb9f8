"""Games by `--compile`: the same numbers, and no function compiled more often than torch allows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from game_harness import Table, game, rows, same_players


@pytest.mark.slow
def test_a_game_that_is_compiled(tmp_path, monkeypatch):
    text, body = game("wasserstein(clip=0.05, critic_steps=2)"), "optimizer adam(lr=2e-3)"
    batches = [*rows(3), *rows(3, size=6)]
    expected = Table(text, body, tmp_path)
    expected.play(batches)

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    # Each of three functions: for noise with and without gradients, and for batches of one size and of any.
    with torch._dynamo.config.patch(recompile_limit=4, fail_on_recompile_limit_hit=True):
        table = Table(text, body, tmp_path, compile=True)
        table.play(batches)
    same_players(table.module, expected.module)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 6
    torch.compiler.reset()
