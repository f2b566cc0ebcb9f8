"""Targets, `archc new`, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from archlang import targets
from archlang.cli.new import network_name
from archlang.compiler import files
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.files import remove_leftovers, write_atomically
from archlang.templates import template_names, templates

as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def test_written_whole_with_folders_and_plain_permissions(tmp_path):
    path = tmp_path / "a" / "b" / "net.py"
    write_atomically(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    other = tmp_path / "other"
    other.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    path.chmod(0o755)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert [p.name for p in path.parent.iterdir()] == ["net.py"]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net.py"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchError) as failure:
        write_atomically(path, "new")
    assert failure.value.diagnostics[0].code == "A1203"
    assert "disk is full" in (failure.value.diagnostics[0].help or "")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["net.py"]


def test_what_killed_processes_left_is_removed(tmp_path):
    """A file is named after who writes it. In a container, who is gone may have had the number of who runs."""
    gone, ours, parent, token = 2**22 + 1, os.getpid(), os.getppid(), files._PROCESS  # no system counts so far
    stays = [f".archc-{ours}-{token}-7.part", f".archc-{parent}-0123abcd-0.part", ".archc-x-0123abcd-0.part", "a.part"]
    goes = [f".archc-{gone}-0123abcd-0.part", f".archc-{ours}-0123abcd-0.part", f".archc-{10**30}-0123abcd-0.part"]
    for name in (*stays, *goes):
        (tmp_path / name).write_text("half of")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "missing")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(stays)


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr(files, "_COUNTER", iter([0]))
        write_atomically(tmp_path / "net.py", "half")
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(files, "_COUNTER", iter([0]))  # as another process counts, which has another token
    monkeypatch.setattr(files, "_PROCESS", "0123abcd")
    write_atomically(tmp_path / "net.py", "new")
    assert (tmp_path / "net.py").read_text() == "new"


@pytest.mark.parametrize("where", ["folder", "file/below", "file/below/deeper"])
def test_places_that_cannot_be_written(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchError) as failure:
        write_atomically(tmp_path / where, "x")
    assert failure.value.diagnostics[0].code == "A1203"


@as_user
def test_a_file_that_may_not_be_written_is_kept(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(ArchError):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_devices_are_written_to_directly():
    write_atomically("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("net.arch", "net.arch", None),
        ("net.arch:Net", "net.arch", "Net"),
        ("a/b.arch:Net", "a/b.arch", "Net"),
        ("resnet:ResNet18", "resnet", "ResNet18"),
        ("C:/nets/net.arch", "C:/nets/net.arch", None),
        (":x", ":x", None),
        ("net.arch:", "net.arch:", None),
        ("", ".", None),
    ],
)
def test_split(text, path, name):
    assert targets.split(text) == (Path(path), name)


def test_a_file_whose_name_holds_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("odd:Name").write_text("")
    assert targets.split("odd:Name") == (Path("odd:Name"), None)


@pytest.mark.parametrize("text", ["", "x" * 5000, "a\0b", "no/such/folder/net", "¿que?", "..", "-x"])
def test_odd_targets_are_messages(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArchError):
        targets.resolve(text)


def test_text_and_names_are_told_apart():
    assert targets.looks_like_text("network N { output x }")
    assert targets.looks_like_text("# c\n")
    assert not targets.looks_like_text("lenet5")
    assert not targets.looks_like_text("a/b.arch:Net")


def test_bundled_specs_are_found_whatever_the_case(monkeypatch, tmp_path):
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / "tinynet.arch").write_text(
        '"""Tiny (Nobody, 2000).\nMore."""\nnetwork TinyNet {}\nnetwork Tiny2 = TinyNet()\n# network Not {}\n'
    )
    (tmp_path / "std").mkdir()
    (tmp_path / "std" / "blocks.arch").write_text("block B {}\n")
    monkeypatch.setattr(targets, "specs_folder", lambda: tmp_path)
    targets.bundled.cache_clear()
    try:
        (spec,) = targets.bundled()
        assert (spec.family, spec.stem, spec.networks) == ("cnn", "tinynet", ("TinyNet", "Tiny2"))
        assert spec.summary == "Tiny (Nobody, 2000)."
        for word, network in [
            ("tinynet", "TinyNet"),
            ("TINYNET", "TinyNet"),
            ("cnn/tinynet", "TinyNet"),
            ("tiny2", "Tiny2"),
        ]:
            assert targets.find_bundled(word) == (spec, network)
            assert targets.resolve(word).name == network
        assert targets.resolve("tinynet:Tiny2").name == "Tiny2"
        assert targets.resolve("tinynet").source.name == "cnn/tinynet.arch"
        assert targets.bundled_names() == ["tinynet", "Tiny2"]
        with pytest.raises(ArchError) as failure:
            targets.resolve("tinynett")
        assert failure.value.diagnostics[0].help == "did you mean `tinynet`?"
    finally:
        targets.bundled.cache_clear()


def test_specs_are_listed(run):
    listed = json.loads(run("specs", "--json").out)
    table = run("specs").out
    for spec in listed:
        assert Path(spec["path"]).is_file()
        assert spec["networks"]
        assert spec["name"] in table


@pytest.mark.parametrize("name", template_names())
def test_templates_check_and_are_formatted(run, tmp_path, name):
    done = run("new", "my-net.arch", "--template", name)
    assert done.code == 0
    assert "network MyNet" in done.out
    text = (tmp_path / "my-net.arch").read_text()
    assert "Network" not in text
    checked = run("check", "my-net.arch")
    assert checked.code == 0, checked.err
    assert "MyNet (" in checked.out
    assert run("fmt", "--check", "my-net.arch").code == 0
    again = run("new", "my-net.arch", "--template", name)
    assert again.code == 2
    assert "error[A1208]" in again.err
    assert (tmp_path / "my-net.arch").read_text() == text


def test_new_lists_templates(run):
    assert [line.split()[0] for line in run("new", "--list").out.splitlines()] == template_names()
    assert [t["summary"] for t in json.loads(run("new", "--list", "--json").out)] == [t.summary for t in templates()]


@pytest.mark.parametrize(
    ("stem", "name"), [("net", "Net"), ("my-net2", "MyNet2"), ("2fast", "Net2fast"), ("größe", "Größe"), ("---", "Net")]
)
def test_network_names(stem, name):
    assert network_name(stem) == name


def test_new_adds_the_ending_and_makes_folders(run, tmp_path):
    assert run("new", "nets/deep").code == 0
    assert (tmp_path / "nets" / "deep.arch").is_file()
