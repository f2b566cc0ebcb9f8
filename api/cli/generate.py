"""`archc generate`: text from a trained network."""

from __future__ import annotations

from dataclasses import asdict

import click

from . import terminal
from .common import json_option, load_program, ops_option, parameter_option, print_json, target_argument, weights_option

EPILOG = """\b
Examples:
  archc generate language_model "Once upon" -w runs/book     what comes next
  archc generate net.arch "Once upon" -w runs/net --temperature 0.7 --top-k 20
  archc generate AttentiveSeq2Seq "march 3, 2021" -w runs/dates --beams 4
"""


@click.command("generate", epilog=EPILOG)
@target_argument
@click.argument("prompt", default="")
@parameter_option
@weights_option
@click.option(
    "-n", "--length", type=click.IntRange(1, 1_000_000), default=200, show_default=True, help="Tokens to make at most."
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
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many texts.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@ops_option()
@json_option
def command(
    *,
    target: str,
    prompt: str,
    parameters: tuple[str, ...],
    weights: str,
    length: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    beams: int | None,
    count: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Go on from a text with a network that was trained on `text`, or translate one with a network that was trained on
    `pairs`. The vocabulary is stored with the weights."""
    if beams is not None and (temperature, top_k, top_p) != (None, None, None):
        raise click.UsageError("A beam search draws nothing: leave --temperature, --top-k and --top-p out.")
    from archlang.training import restore

    _, program = load_program(target, parameters)
    module, preprocessing = restore(program, weights)

    from archlang.runtime.generate import Search, generate
    from archlang.runtime.inference import for_inference

    translating = preprocessing is not None and "source" in preprocessing.vocabularies
    search = Search(temperature, top_k, top_p, beams)
    made = generate(
        program,
        for_inference(program, module),
        preprocessing,
        prompt,
        length=length,
        search=search,
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
