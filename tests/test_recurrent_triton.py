"""Kernels in Triton: their text, and what they compute, which Triton's interpreter finds out where there is no GPU."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from archlang.compiler.recurrent.equations import read
from archlang.compiler.recurrent.plan import Plan
from archlang.compiler.recurrent.triton import chip_bytes, fused, padded, steps
from archlang.runtime.recurrence import Recurrence, using
from processes import finished
from recurrent_cells import TEXTS, lstm_text

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="there is no triton for this system")


def harness(*arguments: str, interpreted: bool = True) -> None:
    """Triton decides when it is imported whether it is interpreted: hence a process."""
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": str(here), "TRITON_INTERPRET": "1" if interpreted else "0"}
    done = finished([sys.executable, str(here / "triton_harness.py"), *arguments], env=env, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("form", ["fused", "steps"])
def test_agrees_with_the_plain_loop(form):
    harness("interpret", form)


@needs_triton
@pytest.mark.slow
def test_compiles_for_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    harness("compile", "reset", interpreted=False)


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_the_same_each_time(name):
    for form in (fused, steps):
        one, other = (form(Plan(read(TEXTS[name])), True, False) for _ in range(2))
        assert one == other and "infer" in "".join(one.kernels)
        compile(one.text, name, "exec")


def test_what_a_chip_holds():
    assert [padded(width) for width in (1, 2, 16, 17, 128)] == [1, 16, 16, 32, 128]
    assert chip_bytes(Plan(read(lstm_text(64, 128))), 2, 16) == 4 * 128 * 128 * 2 + 2 * 16 * 128 * 2


def test_without_a_gpu_it_says_so():
    text = lstm_text()
    weights = [torch.zeros(shape) for shape in read(text).weights.values()]
    with using("fused"), pytest.raises(Exception, match=r"triton|driver|CUDA|kernels"):
        Recurrence(text)((torch.zeros(1, 2, 3),), weights)
