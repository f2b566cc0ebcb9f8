"""Ways through what a network draws: rows that walk from one draw to the next, and tables of mixed styles."""

from __future__ import annotations

import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.given_noise import Given, noise_given, pictures
from archlang.compiler.graph import Graph, Program
from archlang.compiler.ops.noise import Noise
from torch import Tensor, nn

from ..data import Preprocessing
from .drawing import check_grid
from .entries import Maker, choose, draw
from .pictures import grid, levels

_NORMAL = Noise(distribution="normal", values=(0.0, 1.0))
_PARALLEL = 1e-4  # the sine of the angle between two draws below which their arc is a line


def interpolation(made: Maker, prep: Preprocessing, rows: int, steps: int, seed: int) -> Tensor:
    """A grid, uint8 [C, H, W], whose rows walk in equal steps from one draw to the next, where the row below begins.

    What is drawn from a normal distribution goes along the arc between both draws (`spherical`), where what the network
    has seen lies; what is uniform goes along the line, and whole numbers stay as they are. Raises A1091, A1092, A1096.
    """
    _check_pictures(made)
    check_grid(made, rows * steps, steps)
    draws = made.draws(rows + 1, seed)
    moving = [name for name in made.rows if draws[name].is_floating_point()]
    if not moving:
        message = f"`{made.entry.name}` draws no numbers for each example between which one could walk"
        raise error("A1096", message, made.entry.span)
    found = []
    for step in range(steps):
        share = step / max(1, steps - 1)
        values = {name: value[:-1] if name in made.rows else value for name, value in draws.items()}
        for name in moving:
            values[name] = between(made.variant.draws[name], draws[name][:-1], draws[name][1:], share)
        found.append(levels(torch.cat(list(made.run(values, seed))), prep))
    return grid(torch.stack(found, 1).flatten(0, 1), steps)


def between(noise: Noise, start: Tensor, end: Tensor, share: float) -> Tensor:
    """Examples [B, …] a share of the way from some draws of a distribution to others."""
    if noise.distribution != "normal" or start.ndim == 1:
        return torch.lerp(start, end, share)
    return noise.values[0] + spherical(start - noise.values[0], end - noise.values[0], share)


def spherical(start: Tensor, end: Tensor, share: float) -> Tensor:
    """A share of the way from start to end, [B, …], along the arc around zero: sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω
    · b, where ω is the angle between both (Shoemake, 1985; White, 2016)."""
    a, b = start.double(), end.double()
    lengths = a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1)
    cosine = (a * b).flatten(1).sum(1) / lengths.clamp(min=1e-12)
    angle = cosine.clamp(-1, 1).acos().view(-1, *(1,) * (a.ndim - 1))
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / sine.clamp(min=1e-12)
    return torch.where(sine > _PARALLEL, arc, torch.lerp(a, b, share)).to(start.dtype)


# ------------------------------------------------------------------ styles


class Mixing:
    """How an entry mixes two latents: the first one's style up to a layer, the second one's from there on."""

    def __init__(self, entry: Graph) -> None:
        self.entry, self.given = entry, noise_given(entry)
        types = self.given.inputs
        rows = [n for n, t in types.items() if t.rank == 2 and t.dtype == "float" and not isinstance(t.shape[0], int)]
        self.latents = rows if len(rows) == 2 and types[rows[0]].shape == types[rows[1]].shape else []
        cuts = [n for n, t in types.items() if t.rank == 1 and t.dtype == "int"]
        self.cut = cuts[0] if len(cuts) == 1 else ""
        read = {entry[n].name for n in entry.inputs if entry[n].types[0].rank}
        self.fits = bool(self.latents and self.cut) and read <= {*self.latents, self.cut} and _made_pictures(self.given)

    @property
    def drawn(self) -> bool:
        """Does the entry itself say how its latents and the cut are distributed?"""
        return self.fits and {*self.latents, self.cut} <= self.given.draws.keys()


def _made_pictures(given: Given) -> bool:
    return pictures(given.graph[given.graph.outputs[0]].types[0])


def find_mixing(program: Program, name: str | None) -> Mixing:
    """The entry that mixes styles. Raises A1090, A1096."""
    known = [Mixing(choose(program, name))] if name is not None else [Mixing(e) for e in program.entries.values()]
    fitting = sorted((mixing for mixing in known if mixing.fits), key=lambda mixing: not mixing.drawn)
    if fitting:
        return fitting[0]
    who = f"the entry `{name}`" if name is not None else f"no entry of `{program.name}`"
    does = "does not take" if name is not None else "takes"
    help = "it reads or draws two latents of one shape, [B, latent], and `cut: int[B]`, and makes pictures"
    raise error("A1096", f"{who} {does} two latents and a layer at which the second one takes over", help=help)


def style_table(
    program: Program,
    module: nn.Module,
    prep: Preprocessing,
    size: int,
    seed: int,
    name: str | None = None,
    given: dict[str, float] | None = None,
) -> Tensor:
    """A table, uint8 [C, H, W]: in each row the coarse style of the picture at its left, in each column the fine style
    of the picture at its top (Karras et al., 2019, figure 3). given: numbers for inputs without axes, and the layer at
    which the fine style takes over, by the name that it has; the middle one otherwise. Raises A1090 to A1096."""
    mixing = find_mixing(program, name)
    numbers = dict(given or {})
    cut = _cut(program, mixing, numbers.pop(mixing.cut, None))
    made = Maker(program, mixing.entry, module, numbers)
    check_grid(made, (size + 1) ** 2, size + 1)
    values = made.draws(2 * size, seed)
    coarse, fine = mixing.latents
    generator = torch.Generator().manual_seed(seed)
    shape = (2 * size, *(int(s) for s in mixing.given.inputs[coarse].shape[1:] if isinstance(s, int)))
    both = draw(mixing.given.draws.get(coarse, _NORMAL), shape, generator)
    rows, columns = both[:size], both[size:]
    count = size * (size + 2)
    values = {n: v[:1].expand(count, *v.shape[1:]) if n in made.rows else v for n, v in values.items()}
    values[coarse] = torch.cat([rows, columns, rows.repeat_interleave(size, 0)])
    values[fine] = torch.cat([rows, columns, columns.repeat(size, 1)])
    values[mixing.cut] = torch.full((count,), cut)
    return grid(_table(levels(torch.cat(list(made.run(values, seed))), prep), size), size + 1)


def _table(found: Tensor, size: int) -> Tensor:
    """Pictures in the order of a grid: nothing, those at the top, then row by row the one at the left and its mixes."""
    left, top, mixes = found[:size], found[size : 2 * size], found[2 * size :]
    lines = [torch.full_like(found[:1], 255), top]
    for row in range(size):
        lines += [left[row : row + 1], mixes[row * size : (row + 1) * size]]
    return torch.cat(lines)


def _cut(program: Program, mixing: Mixing, given: float | None) -> int:
    """The layer at which the fine style takes over."""
    if given is not None:
        if given != int(given) or given < 0:
            raise error("A1096", f"`{mixing.cut}` is a number of layers, found {given:g}", mixing.entry.span)
        return int(given)
    for entry in (mixing.entry, *program.entries.values()):
        noise = noise_given(entry).draws.get(mixing.cut)
        if noise is not None and noise.distribution == "uniform_int" and noise.values[1] - noise.values[0] > 1:
            return int((noise.values[0] + noise.values[1]) // 2)
    message = f"nothing says between which layers `{mixing.cut}` lies"
    raise error("A1096", message, mixing.entry.span, help=f"give it: `--set {mixing.cut}=4`")


def _check_pictures(made: Maker) -> None:
    if not pictures(made.type):
        what = f"`{made.entry.name}` makes {made.type}, and only pictures [B, 1 or 3, H, W] stand in a grid"
        raise error("A1091", what, made.entry.span)
