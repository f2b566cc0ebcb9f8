"""`archc generate`: text, pictures or points from a trained network."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from archlang.compiler.files import write_atomically

from . import terminal
from .common import (
    counted,
    json_option,
    load_program,
    ops_option,
    parameter_option,
    print_json,
    refuse_spec,
    target_argument,
    weights_option,
)

if TYPE_CHECKING:
    from archlang.compiler.graph import Program
    from archlang.runtime.data import Preprocessing
    from archlang.runtime.making.entries import Maker
    from torch import Tensor, nn

EPILOG = """\b
Examples:
  archc generate language_model "Once upon" -w runs/book     what comes next
  archc generate net.arch "Once upon" -w runs/net --temperature 0.7 --top-k 20
  archc generate AttentiveSeq2Seq "march 3, 2021" -w runs/dates --beams 4
  archc generate DigitsGAN -w runs/gan -o grid.png           64 pictures in one
  archc generate conv_vae -w runs/vae --count 100 -o out/    a hundred pictures
  archc generate DigitsStyle -w runs/style --entry truncated --set psi=0.7
  archc generate conv_vae -w runs/vae --interpolate 8        rows that walk
  archc generate DigitsStyle -w runs/style --mix 6           styles, mixed
  archc generate CycleGAN -w runs/cycle --entry fake_b --images photos/ -o out/
"""

_MOST_TEXTS = 1000
_PICTURES = 64
_STEPS = 9
_TOKENS = 200


@click.command("generate", epilog=EPILOG)
@target_argument
@click.argument("prompt", default="")
@parameter_option
@weights_option
@click.option(
    "-n", "--length", type=click.IntRange(1, 1_000_000), default=None, help="Tokens to make at most.  [default: 200]"
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=None,
    help="How much chance there is; 0 always takes the likeliest token. "
    "[default: 1; for translations 0, unless --top-k or --top-p is given]",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Draw among the K likeliest tokens only.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Draw among the likeliest tokens that together have this share.",
)
@click.option(
    "--beams", type=click.IntRange(1, 1000), metavar="N", help="Beam search: follow the N best texts at once."
)
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=None,
    help="How many texts [default: 1], or pictures or points [default: 64].",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="A grid or plot (.png), the numbers (.npz, .csv), or a folder, `out/`, for a picture each. "
    "[default: the network's name, as a .png]",
)
@click.option("--entry", metavar="NAME", help="What to make, where there are several entries. [default: generate]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=NUMBER",
    help="An input without axes, 1 otherwise; may be repeated.",
)
@click.option("--interpolate", type=click.IntRange(1, 1000), metavar="N", help="N rows that walk from draw to draw.")
@click.option("--steps", type=click.IntRange(2, 1000), default=None, help="Pictures in such a row.  [default: 9]")
@click.option(
    "--mix",
    type=click.IntRange(1, 100),
    metavar="N",
    help="A table of N coarse styles (rows) and N fine ones (columns).",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Make pictures of these pictures, by an entry that reads pictures; with -o FOLDER.",
)
@click.option("--force", is_flag=True, help="Replace files in the output folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@ops_option()
@json_option
def command(
    *,
    target: str,
    prompt: str,
    parameters: tuple[str, ...],
    weights: str,
    length: int | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    beams: int | None,
    count: int | None,
    seed: int,
    output: str | None,
    entry: str | None,
    settings: tuple[str, ...],
    interpolate: int | None,
    steps: int | None,
    mix: int | None,
    images: Path | None,
    force: bool,
    device: str,
    as_json: bool,
) -> None:
    """Go on from a text with a network that was trained on `text`, or translate one with a network that was trained on
    `pairs`. The vocabulary is stored with the weights.

    With a network that makes pictures or points, draw some: by its entry `generate`, or another one that needs no
    data. Or walk from draw to draw, mix styles, or make pictures of a folder of pictures."""
    if beams is not None and (temperature, top_k, top_p) != (None, None, None):
        raise click.UsageError("A beam search draws nothing: leave --temperature, --top-k and --top-p out.")
    ways = {"--interpolate": interpolate, "--mix": mix, "--images": images, "--count": count}
    if sum(way is not None for way in ways.values()) > 1:
        raise click.UsageError(f"Only one of {', '.join(ways)} can be given.")
    if steps is not None and interpolate is None:
        raise click.UsageError("--steps says how many pictures a row of --interpolate has.")
    if images is not None and (output is None or not is_folder(output)):
        raise click.UsageError("--images needs a folder to write into: -o OUT/.")
    if output is not None and (mix, interpolate) != (None, None) and not output.lower().endswith(".png"):
        raise click.UsageError("Rows that walk and tables of styles are one picture: -o FILE.png.")
    if output == "-":
        raise click.UsageError("Pictures and numbers go into a file or a folder: -o FILE.")
    given = numbers(settings)
    from archlang.training import restore

    chosen, program = load_program(target, parameters)
    module, preprocessing = restore(program, weights)
    draws = any(one is not None for one in (entry, output, interpolate, mix, images)) or bool(given)
    if not draws and (_speaks(preprocessing) or prompt or not program.entries):
        if (count or 1) > _MOST_TEXTS:
            raise click.UsageError(f"--count is at most {_MOST_TEXTS:,} for texts.")
        search = (temperature, top_k, top_p, beams)
        _texts(program, module, preprocessing, prompt, length or _TOKENS, search, count or 1, seed, device, as_json)
        return
    if prompt or as_json or any(one is not None for one in (length, temperature, top_k, top_p, beams)):
        raise click.UsageError("A prompt, --length, --temperature, --top-k, --top-p, --beams and --json are for texts.")
    place = output if output is not None else f"{program.name.lower()}.png"
    refuse_spec(place, chosen)
    from archlang.runtime.data import Preprocessing
    from archlang.runtime.devices import make_fabric

    module = module.to(make_fabric(device).device)
    drawing = _Drawing(program, module, preprocessing or Preprocessing(), place, entry, given, seed)
    told = ""
    if images is not None:
        told = f": {counted(drawing.translate(images, force), 'picture')}"
    elif mix is not None:
        drawing.mix(mix)
    elif interpolate is not None:
        drawing.walk(interpolate, steps or _STEPS)
    else:
        drawing.draw(count or _PICTURES, force)
    click.echo(f"wrote {place}{told}", err=True)


def numbers(settings: tuple[str, ...]) -> dict[str, float]:
    """`--set` options as a mapping."""
    found: dict[str, float] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name or not equals or not math.isfinite(number):
            raise click.UsageError(f"--set takes a name and a number, as in `--set psi=0.7`, not `{text}`.")
        if name in found:
            raise click.UsageError(f"--set gives `{name}` twice.")
        found[name] = number
    return found


def _speaks(preprocessing: Preprocessing | None) -> bool:
    return preprocessing is not None and bool({"source", "tokens"} & set(preprocessing.vocabularies))


@dataclass(frozen=True)
class _Drawing:
    """What is to be drawn, and the file or folder that it goes into."""

    program: Program
    module: nn.Module
    prep: Preprocessing
    place: str
    entry: str | None
    given: dict[str, float]
    seed: int

    def maker(self) -> Maker:
        from archlang.runtime.making.drawing import maker

        return maker(self.program, self.module, self.entry, self.given)

    def draw(self, count: int, force: bool) -> None:
        """One picture or file of all, or a picture each."""
        from archlang.runtime.making.drawing import write_each, write_one

        if is_folder(self.place):
            write_each(self.maker(), self.prep, Path(self.place), count, self.seed, force)
        else:
            write_one(self.maker(), self.prep, Path(self.place), count, self.seed)

    def walk(self, rows: int, steps: int) -> None:
        """Rows that walk from draw to draw."""
        from archlang.runtime.making.walks import interpolation

        self._write(interpolation(self.maker(), self.prep, rows, steps, self.seed))

    def mix(self, size: int) -> None:
        """A table of mixed styles."""
        from archlang.runtime.making.walks import style_table

        self._write(style_table(self.program, self.module, self.prep, size, self.seed, self.entry, self.given))

    def _write(self, picture: Tensor) -> None:
        from archlang.runtime.making.pictures import png

        write_atomically(self.place, png(picture))

    def translate(self, images: Path, force: bool) -> int:
        """Makes pictures of pictures. Returns how many."""
        from archlang.runtime.making.translate import translate

        folder = Path(self.place)
        return translate(
            self.program, self.module, self.prep, images, folder, self.entry, self.given, seed=self.seed, force=force
        )


def is_folder(place: str) -> bool:
    """Is an output a folder: one that is there, or a name that ends in a slash or without an ending?"""
    return place.endswith(("/", "\\")) or Path(place).is_dir() or not Path(place).suffix


def _texts(
    program: Program,
    module: nn.Module,
    preprocessing: Preprocessing | None,
    prompt: str,
    length: int,
    search: tuple[float | None, int | None, float | None, int | None],
    count: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    from archlang.runtime.generate import Search, generate
    from archlang.runtime.inference import for_inference

    translating = preprocessing is not None and "source" in preprocessing.vocabularies
    made = generate(
        program,
        for_inference(program, module),
        preprocessing,
        prompt,
        length=length,
        search=Search(*search),
        count=count,
        seed=seed,
        device=device,
    )
    if as_json:
        print_json([asdict(one) for one in made])
        return
    before = "" if translating else prompt
    for one in made:
        print(terminal.harmless(before + one.text))
