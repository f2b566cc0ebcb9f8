"""Finds the packages below the five top-level folders, so that a new subfolder is never left out of the wheel."""

from pathlib import Path

from setuptools import setup

ROOTS = {
    "archlang": "api",
    "archlang.grammar": "grammar",
    "archlang.compiler": "compiler",
    "archlang.runtime": "runtime",
    "archlang.specs": "specs",
}


def packages() -> list[str]:
    """Every folder below a root that holds Python, plus every folder of data."""
    found = []
    for name, folder in ROOTS.items():
        base = Path(__file__).parent / folder
        found.append(name)
        for sub in sorted(p for p in base.rglob("*") if p.is_dir() and p.name != "__pycache__"):
            found.append(".".join((name, *sub.relative_to(base).parts)))
    return found


setup(packages=packages())
