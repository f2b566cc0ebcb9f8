"""The C of recurrences where it is built: the cache, and what happens without a compiler."""

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from archlang.compiler.recurrent.equations import read
from archlang.runtime.recurrence import Recurrence, arguments, build
from archlang.runtime.recurrence.build import NoCompiler, library
from processes import finished
from recurrent_equations import elman

SOURCE = "int answer(void) { return 42; }\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "archlang" / "kernels"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run."""
    found: list[tuple[str, ...]] = []
    compile_ = build._compile
    monkeypatch.setattr(build, "_compile", lambda command: found.append(command) or compile_(command))
    return found


def test_built_once(cache, compilations):
    assert library(SOURCE).answer() == 42
    assert library(SOURCE).answer() == 42
    assert len(compilations) == 1
    assert len(list(cache.iterdir())) == 1
    library(SOURCE, ("-DOTHER",))
    library(SOURCE + "\n")
    assert len(compilations) == 3


@pytest.mark.parametrize("harm", [lambda data: b"", lambda data: data[:1000], lambda data: data[:-40] + b"x" * 40])
def test_a_spoiled_file_is_built_again(cache, compilations, harm):
    assert library(SOURCE).answer() == 42
    (file,) = cache.iterdir()
    good = file.read_bytes()
    bad = file.with_name("bad")  # not in place: the library that is loaded is this very file
    bad.write_bytes(harm(good))
    os.replace(bad, file)
    assert library(SOURCE).answer() == 42
    assert len(compilations) == 2


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, compilations):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert library(SOURCE).answer() == 42
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def refuse(path, write):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(build, "replace_file", refuse)
    assert library(SOURCE).answer() == 42
    assert len(compilations) == 2


def test_a_cache_of_others_is_not_trusted(cache, compilations):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert library(SOURCE).answer() == 42
    assert not list(cache.iterdir())
    assert len(compilations) == 1


def test_no_compiler(cache, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompiler, match="CC names `no-such-compiler`"):
        library(SOURCE)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCompiler, match="there is no C compiler"):
        library(SOURCE)


def test_a_compiler_that_fails(cache, tmp_path, monkeypatch):
    script = tmp_path / "failing"
    script.write_text("#!/bin/sh\necho out of cheese >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(NoCompiler, match="out of cheese"):
        library(SOURCE)
    with pytest.raises(NoCompiler):
        library("this is no C")
    assert not list(cache.iterdir())


def test_a_compiler_that_takes_too_long(cache, tmp_path, monkeypatch):
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(build, "_PATIENCE", 0.2)
    with pytest.raises(NoCompiler, match="takes longer than"):
        library(SOURCE)


def test_a_failure_is_remembered(cache, tmp_path, monkeypatch):
    count = tmp_path / "count"
    script = tmp_path / "failing"
    script.write_text(f"#!/bin/sh\necho x >> {count}\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    text = str(read(elman(2, 2) + "\noutput ah"))
    x, weights = torch.randn(1, 2, 2), [torch.randn(2, 4), torch.randn(2)]
    arguments._made.cache_clear()
    try:
        with pytest.warns(UserWarning, match="takes longer"):
            first = Recurrence(text)([x], weights)
        tries = len(count.read_text().split())
        second = Recurrence(text)([x], weights)
    finally:
        arguments._made.cache_clear()
    assert len(count.read_text().split()) == tries
    assert all(map(torch.equal, first, second))


@pytest.mark.slow
def test_two_at_once(cache):
    with ThreadPoolExecutor(4) as pool:
        assert [made.answer() for made in pool.map(library, [SOURCE] * 8)] == [42] * 8
    code = f"from archlang.runtime.recurrence.build import library\nprint(library({SOURCE!r}, ('-DX',)).answer())"
    with ThreadPoolExecutor(2) as pool:
        env = {**os.environ, "XDG_CACHE_HOME": str(cache.parents[1])}
        done = list(pool.map(lambda _: finished([sys.executable, "-c", code], env=env), range(2)))
    assert [(d.returncode, d.stdout.strip()) for d in done] == [(0, "42")] * 2
    assert all(file.suffix == ".so" and not file.stat().st_mode & stat.S_IWOTH for file in cache.iterdir())
