"""Files to sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.syntax.parser import parse
from archlang.compiler.syntax.reading import LARGEST_FILE, read_source


def code(path: Path) -> str:
    with pytest.raises(ArchError) as caught:
        read_source(path)
    return caught.value.diagnostics[0].code


def test_a_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    plain, windows = tmp_path / "a.arch", tmp_path / "b.arch"
    plain.write_bytes(b"block A {\n  # caf\xc3\xa9\n  output x\n}\n")
    windows.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert parse(read_source(plain)) == parse(read_source(windows))
    assert [c.text for c in parse(read_source(windows)).comments] == ["# café"]


def test_the_name_in_messages(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text("x")
    assert read_source(tmp_path / "a.arch").name == str(tmp_path / "a.arch")
    assert read_source(tmp_path / "a.arch", "short").name == "short"


def test_not_utf8_points_at_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.arch"
    path.write_bytes("é\n# caf".encode() + b"\xe9 \xff")
    with pytest.raises(ArchError) as caught:
        read_source(path)
    (found,) = caught.value.diagnostics
    assert (found.code, found.span and (found.span.line, found.span.column)) == ("A0150", (2, 6))
    assert "0xe9" in found.message


def test_nul(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_bytes(b"block\0")
    assert code(tmp_path / "a.arch") == "A0151"


def test_missing_folder_and_bad_names(tmp_path: Path) -> None:
    assert code(tmp_path / "none.arch") == "A0152"
    assert code(tmp_path) == "A0153"
    assert code(tmp_path / "a\0b") == "A0154"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.arch"
    path.write_text("x")
    path.chmod(0)
    assert code(path) == "A0154"


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.arch"
    path.write_bytes(b" " * (LARGEST_FILE + 1))
    assert code(path) == "A0155"
