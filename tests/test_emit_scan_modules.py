"""Modules of recurrent networks: copied, pickled, compiled, exported, and read."""

from __future__ import annotations

import copy
import pickle

import onnxruntime
import pytest
import torch
from archlang.compiler.diagnostics import ArchError, Notice
from archlang.compiler.emit.python import emit_python
from archlang.runtime.export import save_onnx, save_program
from archlang.runtime.module import build
from emit_harness import compiled, lint
from scan_harness import IMAGE, LEADING, NESTED, agree, both, std

SMALL = (
    std("LSTM")
    + """
network Net {
  input tokens: int[B, T=3]
  target tag: int[B, T=3]
  y, last = tokens -> embedding(20, 6) -> rnn: bidirectional LSTM(4) over T with (mask=tokens != 0)
  logits = y -> linear(3)
  output logits
  loss nll = (logits, tag) -> cross_entropy
}
"""
)


def test_modules_are_copied_pickled_and_cast():
    module = build(compiled(SMALL))
    tokens = torch.randint(0, 20, (3, 3))
    logits = module(tokens)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        assert torch.equal(again(tokens), logits)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(tokens)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), logits, rtol=0.05, atol=0.05)
    assert copy.deepcopy(module).bfloat16()(tokens).dtype == torch.bfloat16


def test_objectives_share_what_scans_computed():
    quick, loops = both(SMALL)
    tokens, tags = torch.randint(0, 20, (3, 3)), torch.randint(0, 3, (3, 3))
    agree(*((logits, *losses.values()) for logits, losses in (m.objective(tokens, tags) for m in (quick, loops))))


def test_an_error_inside_a_cell_is_reported_where_it_stands():
    for module in both(NESTED):
        with pytest.raises((RuntimeError, ValueError)) as failure:
            module(torch.randn(2, 3, 5, dtype=torch.float64))
        notes = failure.value.__notes__
        assert notes[-1] == "in net.arch:22: a: scan Outer(4) over T"
    assert notes[:2] == ["in net.arch:2: linear1: linear(width)", "in net.arch:14: mix: Mix(width)"]


@pytest.mark.slow
def test_a_compiled_module_computes_the_same():
    module = build(compiled(SMALL))
    tokens = torch.randint(0, 20, (3, 3))
    compiled_module = torch.compile(module, backend="aot_eager")
    torch.testing.assert_close(compiled_module(tokens), module(tokens))


@pytest.mark.slow
def test_exported_networks_compute_the_same(tmp_path):
    program = compiled(SMALL)
    module = build(program).eval()
    assert save_program(program, module, tmp_path / "net.pt2") == {}
    assert save_onnx(program, module, tmp_path / "net.onnx") == {}
    again = torch.export.load(tmp_path / "net.pt2").module()
    runtime = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    for batch in (2, 5):
        tokens = torch.randint(0, 20, (batch, 3))
        torch.testing.assert_close(again(tokens), module(tokens))
        (logits,) = runtime.run(None, {"tokens": tokens.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), module(tokens), rtol=1e-4, atol=1e-5)


def test_a_file_with_every_step_needs_a_length(tmp_path):
    open_, nominal = (compiled(SMALL.replace("T=3", "T" + more)) for more in ("", "~7"))
    with pytest.raises(ArchError, match=r"A1237.*open length `T`") as failure:
        save_program(open_, build(open_), tmp_path / "net.pt2")
    assert failure.value.diagnostics[0].span.line == 6
    with pytest.warns(Notice, match="the file holds 14 steps of"):
        assert save_program(nominal, build(nominal), tmp_path / "net.pt2") == {"T": 7}


def test_every_form_reads_well():
    texts = [SMALL, NESTED, IMAGE, *(LEADING.replace("AXES", "[B, T, N, 3]").replace("MASK", m) for m in ("T", "B, T"))]
    programs = [compiled(text) for text in texts]
    assert not lint(*(emit_python(p, standalone=alone) for p in programs for alone in (False, True)))
