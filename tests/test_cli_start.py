"""The commands that only read text start without torch; checking also without the libraries that draw tables."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKER = """\
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} must not be imported here")

sys.meta_path.insert(0, Blocker())
"""
TORCH = ("torch", "lightning_fabric", "torchmetrics", "tensorboard")
HEAVY = (*TORCH, "rich", "matplotlib", "pandas", "sklearn", "numpy", "scipy", "PIL", "graphviz")


def _without(folder, blocked) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCKER.format(blocked=tuple(blocked)))
    return {"PYTHONPATH": str(folder)}


def test_the_blocker_blocks(tmp_path):
    env = _without(tmp_path / "site", TORCH)
    done = subprocess.run([sys.executable, "-c", "import torch"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "must not be imported here" in done.stderr


@pytest.fixture(scope="module")
def starter(tmp_path_factory) -> str:
    """What `archc new` writes."""
    folder = tmp_path_factory.mktemp("new")
    subprocess.run([sys.executable, "-m", "archlang", "new", "net.arch"], cwd=folder, check=True, capture_output=True)
    return (folder / "net.arch").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "lenet5"),
        ("check", "resnet_cifar:ResNet20", "--json"),
        ("compile", "lenet5"),
        ("compile", "lenet5", "--emit", "graph"),
        ("compile", "lenet5", "--emit", "json"),
        ("fmt", "--check", "net.arch"),
        ("ops",),
        ("ops", "conv"),
        ("explain",),
        ("explain", "A0301"),
        ("new", "other.arch"),
        ("completion", "bash"),
        ("--version",),
        ("--help",),
    ],
    ids=" ".join,
)
def test_starts_with_hardly_anything(archc, tmp_path, starter, arguments):
    (tmp_path / "net.arch").write_text(starter, encoding="utf-8")
    done = archc(*arguments, env=_without(tmp_path / "site", HEAVY))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [("show", "lenet5"), ("render", "lenet5", "-o", "lenet5.svg"), ("specs",)], ids=" ".join
)
def test_starts_without_torch(archc, tmp_path, arguments):
    done = archc(*arguments, env=_without(tmp_path / "site", TORCH))
    assert done.returncode == 0, done.stderr


def test_a_command_imports_no_other_command(tmp_path):
    script = (
        "import sys\n"
        "from archlang.cli.main import run\n"
        "run(['check', 'lenet5'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('archlang.cli.')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert modules == str([f"archlang.cli.{name}" for name in ("check", "common", "main", "terminal")])


def test_what_is_right_is_checked_with_little():
    script = "import sys\nfrom archlang.cli.main import run\nrun(['check', 'lenet5'])\nprint(*sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "archlang.compiler.ops.conv" in modules
    unneeded = {*HEAVY, "lark", "pydantic", "pydantic_core", "difflib", "archlang.plugins"}
    unneeded |= {f"archlang.compiler.{name}" for name in ("ops.einsum", "syntax.slips", "emit.models", "verify")}
    assert not modules & unneeded


def test_importing_the_package_is_nothing(tmp_path):
    script = (
        "import sys; before = set(sys.modules); import archlang; after = set(sys.modules) - before\n"
        "print(sorted(m for m in after if '.' not in m))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout
    assert "pydantic" not in done.stdout
    assert "click" not in done.stdout
