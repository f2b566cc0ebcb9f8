"""Writes the generated pages of the docs: layers, messages and settings of training, each from where it is defined.

`python docs/generate.py` writes them; a test compares what is there with what would be written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

from archlang.compiler import reference, training, training_plan
from archlang.compiler.data_sources import SOURCES
from archlang.compiler.declared import Declared, Setting
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
    "A13": "Claims of inductive biases",
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


def train_settings() -> str:
    """Settings of a `train` block, data sources, optimizers and schedules, from their models."""
    lines = ["# Settings of training", "", "What a `train` block may say; `archc check` knows the same.", ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name in training.settings():
        field = training.TrainPlan.model_fields[name]
        lines.append(_row(name, field, SETTINGS.get(name)).replace('"', "").replace("none or none", "none"))
    for title, models in (
        ("Data", SOURCES),
        ("Optimizers", training.OPTIMIZERS),
        ("Schedules of the learning rate", training.SCHEDULES),
        ("Augmentation", training.AUGMENTATIONS),
    ):
        lines += ["", f"## {title}"]
        for name, model in models.items():
            fields = {k: v for k, v in model.model_fields.items() if k != "kind"}
            lines += ["", f"### {name}", "", (model.__doc__ or "").strip()]
            if fields:
                lines += ["", "| setting | type | default | meaning |", "|---|---|---|---|"]
                lines += [_row(key, field) for key, field in fields.items()]
    return "\n".join(lines) + "\n"


SETTINGS = {
    "optimizer": "an optimizer",
    "schedule": "a schedule",
    "early_stop": "patience=…, metric=…, least=…",
    "augment": "one or more augmentations",
    "freeze": "all, none or modules; except modules",
    "lr": "module=…, module=…",
    "init": "file or published name, except modules",
    "metric": "one or more of " + ", ".join(get_args(training_plan.Metric)),
}


def _row(name: str, field: Setting, kind: str | None = None) -> str:
    default = "required" if field.is_required() else reference.literal(field.default)
    if isinstance(field.default, Declared):
        default = str(field.default.kind)
    shown = kind or reference.kind(field.annotation, field.metadata)
    cells = [f"`{name}`", shown, default if default == "required" else f"`{default}`", field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {"ops.md": reference.document, "errors.md": errors, "train_settings.md": train_settings}


def readme() -> str:
    """The README with what its commands print now; a block that still matches, `…` and all, stays as it is."""
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for name, body in files(text):
            (Path(folder) / name).write_text(body, encoding="utf-8")

        def block(found: re.Match[str]) -> str:
            parts = []
            for command, expected in commands(found[0]):
                printed = run(command, Path(folder))
                parts.append(f"$ {command}\n{expected if matches(expected, printed) else printed}")
            return f"```console\n{''.join(parts)}```"

        return re.sub(r"^```console\n.*?^```$", block, text, flags=re.MULTILINE | re.DOTALL)


_FENCE = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(kind: str, text: str) -> list[tuple[str, str]]:
    """(file name or "", content) of the fences of one kind."""
    return [(name, body) for name, info, body in _FENCE.findall(text) if info == kind]


def files(text: str) -> list[tuple[str, str]]:
    """(file name, content) of the specs that a page calls by name."""
    return [(name, body) for name, info, body in _FENCE.findall(text) if name and info.startswith("arch")]


def commands(text: str) -> list[tuple[str, str]]:
    """(command, what the page says it prints) of every console block, in order."""
    found = []
    for _, body in fences("console", text):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append((command, expected))
    return found


def run(command: str, folder: Path) -> str:
    """What a command prints, stdout and stderr together, without spaces at line ends."""
    scripts = str(Path(sys.executable).parent)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines()]
    return "".join(f"{line}\n" for line in lines)


def matches(expected: str, printed: str) -> bool:
    """Is this what the page says? `…` stands for anything."""
    pattern = ".*".join(map(re.escape, expected.split("…")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def main() -> None:
    for name, write in PAGES.items():
        write_atomically(FOLDER / name, write())
    write_atomically(FOLDER.parent / "README.md", readme())


if __name__ == "__main__":
    main()
