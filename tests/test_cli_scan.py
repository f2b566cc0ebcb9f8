"""The commands on a recurrent network: one that reads digits row by row."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

ROWS = """\
import "std/recurrent" use GRU
network Rows(hidden: int = 8) {
  input image: [B, 1, H=8, W=8]
  target digit: int[B]
  y, last = image -> rearrange("b c h w -> b h (c w)") -> rnn: scan GRU(hidden) over H
  logits = last.h -> dropout(0.1) -> out: linear(10)
  output logits
  loss nll = (logits, digit) -> cross_entropy
}

train Rows on digits(size=8) {
  optimizer adam(lr=1e-2)
  epochs 1
  batch 64
  metric accuracy
}
"""


@pytest.fixture(autouse=True)
def spec(tmp_path):
    (tmp_path / "rows.arch").write_text(ROWS)


def test_levels_write_loops_or_recurrences_and_share_checkpoints(run, tmp_path):
    texts = {flags: run("compile", "rows.arch", *flags).out for flags in ((), ("-O0",), ("-O1",), ("--standalone",))}
    assert texts["-O0",] == texts["--standalone",]
    assert {flags: "archlang.runtime" in text for flags, text in texts.items()} == {
        (): True,
        ("-O0",): False,
        ("-O1",): True,
        ("--standalone",): False,
    }
    alone = run("compile", "rows.arch", "-O1", "--standalone").out
    assert "Recurrence" not in alone and "dropout" not in alone
    found, state, image = [], None, torch.rand(3, 1, 8, 8)
    for text in (*texts.values(), alone):
        names: dict = {}
        exec(text, names)
        net = names["Rows"]().eval()
        state = net.state_dict() if state is None else state
        net.load_state_dict(state)
        found.append(net(image))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_a_whole_round(run, tmp_path):
    done = run("train", "rows.arch", "-o", "run", "--device", "cpu", "--quiet")
    assert done.code == 0, done.err
    state = load_file(tmp_path / "run" / "best.safetensors")
    assert sorted(state)[:2] == ["out.bias", "out.weight"]
    assert "rnn.candidate.weight" in state
    done = run("eval", "rows.arch", "-w", "run", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]["accuracy"] > 0.1
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "new.png")
    done = run("predict", "rows.arch", "new.png", "-w", "run", "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)) == 1
    for ending in ("onnx", "program"):
        done = run("export", "rows.arch", "-w", "run", f"--{ending}", f"net.{ending}")
        assert done.code == 0, done.err
        said = "note: scans are unrolled: the file holds 8 steps of `Rows`, which can take long to write"
        assert done.err == f"{said}\nwrote net.{ending}\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_compiler_a_note_says_once_that_it_takes_longer(run, monkeypatch, quiet):
    from archlang.runtime import recurrence
    from archlang.runtime.recurrence import build, compiled

    def refuse(*args):
        raise build.NoCompiler("there is no C compiler")

    monkeypatch.setattr(compiled, "run", refuse)
    recurrence._say.cache_clear()
    done = run("train", "rows.arch", "-o", "run", "--device", "cpu", *(["--quiet"] if quiet else []))
    recurrence._say.cache_clear()
    said = "note: recurrences run as loops of tensor operations, which takes longer: there is no C compiler\n"
    assert (done.code, done.err) == (0, "" if quiet else said)


def test_an_open_length_is_refused_by_export(run, tmp_path):
    text = "cell Sum { input x: [B, 2]  state h: [B, 2]  h' = h + x  output h' }\n"
    text += "network Net { input x: [B, T, 2]  y, _ = x -> scan Sum over T  output y }\n"
    (tmp_path / "open.arch").write_text(text)
    done = run("export", "open.arch", "--program", "net.pt2")
    assert done.code == 1
    assert "error[A1237]: `Net` scans an axis of open length `T`" in done.err
    assert " --> open.arch:2:" in done.err
    assert "`T=64`, or `T~64`" in done.err
