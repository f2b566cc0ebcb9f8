"""Writes the generated pages of the docs: `ops.md` from the classes of the layers, `errors.md` from `compiler/explain/`.

`python docs/generate.py` writes them; a test compares what is there with what would be written."""

from __future__ import annotations

from pathlib import Path

from archlang.compiler import reference
from archlang.compiler.diagnostics import codes, explain
from archlang.compiler.files import write_atomically

FOLDER = Path(__file__).parent
RANGES = {
    "A01": "Text and syntax",
    "A02": "Names",
    "A03": "Shapes and axes",
    "A04": "Static values and types",
    "A05": "Structure, labels and modules",
    "A06": "Contracts",
    "A07": "Imports and targets",
    "A08": "Limits",
    "A09": "Not supported yet",
    "A10": "Training and data",
    "A11": "Checkpoints",
    "A12": "Command line and files",
}


def errors() -> str:
    """Every code with its page, by range."""
    lines = ["# Messages", "", "What each code means and how to fix it; `archc explain CODE` shows the same page.", ""]
    for start, title in RANGES.items():
        found = [code for code in codes() if code.startswith(start)]
        if not found:
            continue
        lines += [f"## {title}", ""]
        for code in found:
            page = explain(code) or ""
            lines += [f"##{page}".rstrip("\n"), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


PAGES = {"ops.md": reference.document, "errors.md": errors}


def main() -> None:
    for name, write in PAGES.items():
        write_atomically(FOLDER / name, write())


if __name__ == "__main__":
    main()
