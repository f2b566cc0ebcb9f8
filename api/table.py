"""The table of a network, row by row: what `archc show` prints and `Compiled.summary` returns."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from archlang.compiler.analysis.biases.findings import distinct
from archlang.compiler.analysis.cost import at_nominal, cost
from archlang.compiler.analysis.derived import Derived
from archlang.compiler.analysis.paths import ACTIVATION, FACTOR, POOLING, PROJECTION
from archlang.compiler.analysis.players import share
from archlang.compiler.analysis.table import Row, TableLimit, summary
from archlang.compiler.diagnostics import error
from archlang.compiler.elaborate.values import show

from .claims import lines, tally

if TYPE_CHECKING:
    from archlang.compiler.analysis.cut import Cut
    from archlang.compiler.analysis.paths import Step
    from archlang.compiler.game import Objective
    from archlang.compiler.graph import Program, Ref
    from rich.console import RenderableType

_WIDEST_PLAIN = 160
_NAMED = 4  # layers that a line names


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
        "outputs": {name: found.as_json(ref) for name, ref, found in _outputs(program)},
        "claims": [finding.as_json() for finding in distinct(program.findings)],
        "pretrained": {name: str(place) for name, place in program.pretrained.items()},
        "game": _game(program),
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
    table.add_column("layer", "total", overflow="fold", min_width=5)
    table.add_column("what", overflow="fold", min_width=12)
    table.add_column("shape", overflow="fold", min_width=10)
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


def _game(program: Program) -> dict[str, Any] | None:
    """The players of a game, what each costs and minimises, and who plays whom."""
    game = program.game
    if game is None:
        return None
    shares = [share(program, name) for name in game.players]
    return {
        "players": [
            {
                "name": s.name,
                "role": s.role,
                "parameters": s.parameters,
                "flops": _nominal(s.flops, program),
                "losses": s.losses,
            }
            for s in shares
        ],
        "pairs": [
            {
                "generator": pair.generator,
                "discriminator": pair.discriminator,
                "objective": pair.objective.name,
                "settings": {name: _plain(value) for name, value in pair.objective.as_dict().items()},
            }
            for pair in game.pairs
        ],
    }


def _players(program: Program) -> Iterator[str]:
    """A line for each player: what it costs, and what it minimises."""
    game = program.game
    if game is None:
        return
    rows = [("player", "", "parameters", "FLOPs", "minimises")]
    for found in (share(program, name) for name in game.players):
        terms = [name if weight == 1 else f"{weight:g} × {name}" for name, weight in found.losses.items()]
        flops = human(_nominal(found.flops, program))
        rows.append((found.name, found.role, f"{found.parameters:,}", flops, " + ".join(terms)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for name, role, parameters, flops, losses in rows:
        left = f"{name:<{widths[0]}}  {role:<{widths[1]}}  {parameters:>{widths[2]}}  {flops:>{widths[3]}}"
        yield f"{left}  {losses}".rstrip()
    for pair in game.pairs:
        yield f"{pair.generator} plays against {pair.discriminator} by {_objective(pair.objective)}"


def _objective(objective: Objective) -> str:
    """`wasserstein(gradient_penalty=10)`: what differs from the defaults."""
    said = [
        f"{name}={getattr(objective, name):g}"
        for name, info in type(objective).model_fields.items()
        if getattr(objective, name) != info.default
    ]
    return f"{objective.name}({', '.join(said)})" if said else objective.name


def notes(program: Program) -> Iterator[str]:
    """What stands below the table: the players of a game, of each output its bottleneck and paths, and every claim with
    its verdict."""
    total = cost(program)
    yield from _players(program)
    for name, ref, found in _outputs(program):
        cut, gradient, identity = found.bottleneck(ref), found.gradient_path(ref), found.identity_path(ref)
        yield f"output {name}"
        yield f"  bottleneck     {_cut(cut)}"
        if gradient is not None:
            yield f"  gradient path  {len(gradient)} of {total.depth} layers{_named(gradient)}"
        if identity is not None:
            yield f"  identity path  {_identity(identity)}"
        resolutions = found.resolutions(ref)
        if len(resolutions) > 1:
            yield f"  resolutions    {', '.join(map(str, resolutions))}"
    if program.findings:
        yield tally(program.findings)
        yield from (f"  {line}" for line in lines(program.findings))


def _outputs(program: Program) -> Iterator[tuple[str, Ref, Derived]]:
    graph, found = program.graph, Derived(program.graph)
    for output in graph.outputs:
        yield graph[output].name, graph.operands(output)[0], found


def _cut(cut: Cut) -> str:
    if not cut.members:
        return "none: it knows nothing of the inputs"
    held = f"{cut.elements:,} elements at " if cut.elements is not None else "at "
    return held + _listed(
        [str(member) if cut.elements is None or cut.members[1:] else f"`{member.path}`" for member in cut.members]
    )


def _named(steps: Sequence[Step]) -> str:
    return f": {_listed([f'`{step.path}`' for step in steps])}" if steps else ""


def _identity(steps: Sequence[Step]) -> str:
    """`past 2 layers with weights: `stem`, `down`; 1 activation, 1 pooling`"""
    weights = [step for step in steps if step.what == PROJECTION]
    past = f"past {len(weights):,} layer{'s' * (len(weights) != 1)} with weights{_named(weights)}"
    partly = [(what, [step for step in steps if step.what == what]) for what in (ACTIVATION, POOLING, FACTOR)]
    through = [f"{len(found):,} {what}{'s' * (len(found) != 1)}" for what, found in partly if found]
    return f"{past}; through {', '.join(through)}" if through else past


def _listed(things: Sequence[str]) -> str:
    return ", ".join(things[:_NAMED]) + (f" and {len(things) - _NAMED} more" if len(things) > _NAMED else "")


def plain_table(program: Program, depth: int | None) -> str:
    """The table and its notes as text, as wide as the table needs to be."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=_WIDEST_PLAIN, color_system=None).print(rich_table(program, depth))
    return "\n".join([*(line.rstrip() for line in out.getvalue().splitlines()), *notes(program)]) + "\n"


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
