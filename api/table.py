"""The table of a network, row by row: what `archc show` prints and `Compiled.summary` returns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from archlang.compiler.analysis.cost import at_nominal, cost
from archlang.compiler.analysis.table import Row, TableLimit, summary
from archlang.compiler.diagnostics import error
from archlang.compiler.elaborate.values import show

if TYPE_CHECKING:
    from archlang.compiler.graph import Program
    from rich.console import RenderableType

_WIDEST_PLAIN = 160


def rows_of(program: Program, depth: int | None) -> list[Row]:
    """The rows down to a depth. Raises A1218 when there would be too many."""
    try:
        return summary(program, depth)
    except TableLimit as failure:
        raise error("A1218", str(failure), help="open fewer levels with `--depth`") from failure


def as_json(program: Program, depth: int | None) -> dict[str, Any]:
    """The table for programs: amounts for one example of the nominal size, as text where a size has none."""
    total = cost(program)
    flops, memory = (_nominal(amount, program) for amount in (total.flops, total.memory))
    return {
        "name": program.name,
        "doc": program.doc,
        "arguments": {name: _plain(value) for name, value in program.parameters.items()},
        "total": {
            "parameters": total.parameters,
            "loss_parameters": total.loss_parameters,
            "buffers": total.buffers,
            "flops": flops,
            "memory": memory,
            "depth": total.depth,
            "layers": total.layers,
        },
        "pretrained": {name: str(place) for name, place in program.pretrained.items()},
        "rows": [row.as_json() for row in rows_of(program, depth)],
    }


def rich_table(program: Program, depth: int | None) -> RenderableType:
    """The table to print: one line a layer or block, those inside a block indented, the total below."""
    from rich import box
    from rich.table import Table

    rows = rows_of(program, depth)
    total = cost(program)
    spatial = any(row.receptive_field is not None for row in rows)
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        show_footer=True,
        pad_edge=False,
        title=_title(program),
        title_justify="left",
    )
    table.add_column("layer", "total", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("shape", overflow="fold")
    table.add_column("parameters", f"{total.parameters:,}", justify="right", no_wrap=True)
    table.add_column("FLOPs", human(_nominal(total.flops, program)), justify="right", no_wrap=True)
    table.add_column("memory", in_bytes(_nominal(total.memory, program)), justify="right", no_wrap=True)
    if spatial:
        table.add_column("sees", justify="right", no_wrap=True)
    above = [""]  # the paths of the blocks that a row stands in
    for row in rows:
        above[row.level + 1 :] = [f"{row.path}."]
        name = "  " * row.level + row.path.removeprefix(above[row.level])
        cells = [name, row.what, row.shape, f"{row.parameters:,}" if row.parameters else ""]
        cells += [human(row.flops), in_bytes(row.memory)]
        if spatial:
            cells.append("" if row.receptive_field is None else str(row.receptive_field))
        table.add_row(*(_text(cell) for cell in cells), style="bold" if row.children else None)
    return table


def plain_table(program: Program, depth: int | None) -> str:
    """The same as text, as wide as it needs to be."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=_WIDEST_PLAIN, color_system=None).print(rich_table(program, depth))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def human(amount: int | str | None) -> str:
    """`857K`, `4.09G`; nothing for zero, a formula as it is, `?` where there is none."""
    if isinstance(amount, str) or amount is None:
        return amount or "?"
    if amount == 0:
        return ""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if amount >= size:
            return f"{amount / size:.3g}{letter}" if amount < 999.5 * size else f"{amount // size}{letter}"
    return str(amount)


def in_bytes(amount: int | str | None) -> str:
    """`1.2 MB`; bytes of a formula as it is."""
    text = human(amount)
    if not text or not isinstance(amount, int):
        return text
    return f"{text[:-1]} {text[-1].lower() if text[-1] == 'K' else text[-1]}B" if text[-1].isalpha() else f"{text} B"


def _title(program: Program) -> Any:
    settings = ", ".join(f"{name}={show(value)}" for name, value in program.parameters.items())
    return _text(f"{program.name}({settings})")


def _text(text: str) -> Any:
    """Text in which rich sees no markup."""
    from rich.text import Text

    return Text(text)


def _nominal(amount: Any, program: Program) -> int | str | None:
    if amount is None:
        return None
    found = at_nominal(amount, program.graph)
    return found if isinstance(found, int) else str(found)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return show(value)
