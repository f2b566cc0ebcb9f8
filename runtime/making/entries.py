"""Entries as functions of noise: which one is meant, what it draws, and what comes of it, some examples at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from archlang.compiler.diagnostics import ArchError, did_you_mean, error
from archlang.compiler.given_noise import default_entry, draws_only, noise_given, picture_input
from archlang.compiler.graph import Graph, Program
from archlang.compiler.ops.noise import Noise
from archlang.compiler.sizes import Dim, evaluate, symbols
from archlang.compiler.types import TensorType
from torch import Tensor, nn

from ..audit.results import Untestable
from ..observing import observing
from ..seeding import fixed_noise

MOST = 2**28
"""Numbers that may be made, or drawn, to be held at once."""
_ROWS = 64  # examples made at a time
_DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def choose(program: Program, name: str | None) -> Graph:
    """The entry called so; without a name `generate`, or the only one that needs no data. Raises A1090."""
    known = program.entries
    if name is not None:
        if name not in known:
            listed = ", ".join(f"`{entry}`" for entry in known)
            help = did_you_mean(name, known) or (f"there are {listed}" if known else "it has none")
            raise error("A1090", f"`{program.name}` has no entry `{name}`", program.span, help=help)
        return known[name]
    found = default_entry(program)
    if found is not None:
        return found
    free = [entry for entry in known if draws_only(known[entry])]
    if free:
        listed = " or ".join(f"`--entry {entry}`" for entry in free)
        raise error("A1090", f"`{program.name}` makes several things from noise", program.span, help=f"say {listed}")
    reading = [entry for entry in known if picture_input(known[entry]) is not None]
    help = "write an entry that draws its input: `entry generate { sample z ~ normal(0, 1): [b, latent]  output … }`"
    if reading:
        help = f"`{reading[0]}` makes pictures of pictures: `--entry {reading[0]} --images FOLDER -o OUT/`"
    raise error(
        "A1090", f"`{program.name}` has no entry that makes something from noise alone", program.span, help=help
    )


def needs_data(entry: Graph) -> ArchError:
    """A1090 for an entry that is run on noise alone and reads more."""
    read = [entry[n] for n in entry.inputs if entry[n].types[0].rank]
    listed = ", ".join(f"`{node.name}: {node.types[0]}`" for node in read)
    help = (
        "give it pictures with `--images FOLDER`"
        if picture_input(entry) is not None
        else "choose an entry that only draws"
    )
    return error("A1090", f"the entry `{entry.name}` reads {listed}, and is given noise alone", entry.span, help=help)


def made_type(entry: Graph) -> TensorType:
    """What an entry makes: its first output."""
    return entry[entry.outputs[0]].types[0]


class Maker:
    """An entry of a module as a function of its noise, which is drawn outside, so that it can be kept, walked through
    and mixed. It shares the weights of the module, is evaluated only, and leaves the module's mode and the run's random
    numbers as they are.

    given: numbers for inputs without axes, which are 1 otherwise. Raises A1094 where one names no such input."""

    def __init__(self, program: Program, entry: Graph, module: nn.Module, given: Mapping[str, float] | None = None):
        self.program, self.entry = program, entry
        self.variant = noise_given(entry)
        self.type = made_type(entry)
        self.scalars = self._scalars(given or {})
        values = [entry.operands(number)[0] for number in entry.outputs[:1]]
        self.device = next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))
        try:
            self.module = observing(program, self.variant.graph, values, module).to(self.device)
        except Untestable as failure:
            raise error("A1092", f"`{entry.name}` can't be run: {failure}", entry.span) from None
        first = self.type.shape[0] if self.type.rank else 1
        self.batch = next(iter(symbols(first)), None) if isinstance(first, Dim) else None
        types = self.variant.inputs
        self.rows = [n for n, t in types.items() if t.rank and self.batch in symbols(t.shape[0])]  # one for an example

    @property
    def reads(self) -> list[str]:
        """Names of the data that it reads: inputs that are neither drawn nor without axes."""
        return [n for n, t in self.variant.inputs.items() if t.rank and n not in self.variant.draws]

    def _scalars(self, given: Mapping[str, float]) -> dict[str, Tensor]:
        types = {name: type_ for name, type_ in self.variant.inputs.items() if not type_.rank}
        for name in given:
            if name not in types:
                listed = ", ".join(f"`{each}`" for each in types)
                help = did_you_mean(name, types) or (f"it has {listed}" if types else "it has none")
                message = f"the entry `{self.entry.name}` has no input `{name}` without axes"
                raise error("A1094", message, self.entry.span, help=help)
        return {name: torch.tensor(given.get(name, 1.0), dtype=_DTYPES[t.dtype]) for name, t in types.items()}

    def draws(self, count: int, seed: int) -> dict[str, Tensor]:
        """What the entry draws for `count` examples, on the CPU; the same for a seed. Raises A1092."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: draw(noise, self._shape(name, noise.sizes, count), generator)
            for name, noise in self.variant.draws.items()
        }

    def _shape(self, name: str, sizes: tuple[int | Dim, ...], count: int) -> tuple[int, ...]:
        known = {**self.entry.nominal, **({self.batch: count} if self.batch else {})}
        gone = sorted({symbol for size in sizes for symbol in symbols(size)} - known.keys())
        if gone:
            help = f"give the axis a usual size: `{gone[0]}~16`"
            raise error("A1092", f"nothing says how long `{gone[0]}` of `{name}` is", self.entry.span, help=help)
        shape = tuple(evaluate(size, known) for size in sizes)
        bounded(shape, f"`{name}`")
        return shape

    def shape(self, count: int) -> tuple[int, ...]:
        """Sizes of so many examples, as far as they are known before they are made: an open axis counts as 1."""
        known = {**self.entry.nominal, **({self.batch: count} if self.batch else {})}
        return tuple(evaluate(s, known) if symbols(s) <= known.keys() else 1 for s in self.type.shape)

    def run(self, values: Mapping[str, Tensor], seed: int = 0) -> Iterator[Tensor]:
        """What the entry makes of its draws (and of inputs, by name), some examples at a time, as float32 on the CPU.

        values: those that are as long as the batch are cut together. What blocks draw inside depends on the seed."""
        count = max((len(values[name]) for name in self.rows), default=1)
        for start in range(0, count, _ROWS):
            cut = {n: value[start : start + _ROWS] if n in self.rows else value for n, value in values.items()}
            given = [(self.scalars | cut)[name].to(self.device) for name in self.variant.inputs]
            with torch.no_grad(), fixed_noise(self.device, seed + start):
                made = self.module(*given)
            yield made.float().cpu()


def draw(noise: Noise, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A tensor of independent draws from the distribution of a `sample` statement, from a generator of its own."""
    values = noise.values
    match noise.distribution:
        case "normal":
            drawn = values[0] + values[1] * torch.randn(shape, generator=generator)
        case "uniform":
            drawn = values[0] + (values[1] - values[0]) * torch.rand(shape, generator=generator)
        case "uniform_int":
            drawn = torch.randint(int(values[0]), int(values[1]), shape, generator=generator)
        case "bernoulli":
            drawn = torch.rand(shape, generator=generator) < values[0]
        case _:  # gumbel: −log of an exponential variable
            drawn = -torch.empty(shape).exponential_(generator=generator).log()
    return drawn.to(_DTYPES[noise.dtype])


def bounded(shape: tuple[int, ...], what: str) -> None:
    """Raises A1092 where so much can't be held."""
    elements = 1
    for size in shape:
        elements *= size
    if elements > MOST:
        sizes = " × ".join(f"{size:,}" for size in shape)
        raise error(
            "A1092", f"{what} would be {sizes} numbers, and {MOST:,} are the limit", help="make fewer at a time"
        )
