"""`archc eval`: measure a trained network."""

from __future__ import annotations

from pathlib import Path

import click

from .common import json_option, load_program, ops_option, parameter_option, print_json, target_argument, weights_option

EPILOG = """\b
Examples:
  archc eval lenet5 -w runs/lenet5                  the held-out part
  archc eval lenet5 -w best.safetensors --split validation
  archc eval net.arch -w runs/net --json            for programs
"""


@click.command("eval", epilog=EPILOG)
@target_argument
@parameter_option
@weights_option
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Which part of the data, cut as training cut it.",
)
@click.option("--on", metavar="DATA", help="Which `train` block, where the file has several: the name of its data.")
@click.option("--data", type=click.Path(path_type=Path), help="A file or folder in place of the one named in the spec.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@ops_option()
@json_option
def command(
    *,
    target: str,
    parameters: tuple[str, ...],
    weights: str,
    split: str,
    on: str | None,
    data: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Measure a trained network: the loss and the metrics that its `train` block names."""
    from archlang.training import plan_for, restore

    _, program = load_program(target, parameters)
    plan = plan_for(program, on)
    module, _ = restore(program, weights)

    from archlang.compiler.passes import MEASURED
    from archlang.runtime.inference import for_inference
    from archlang.runtime.predict import evaluate
    from archlang.runtime.report import format_metric

    module = for_inference(program, module, passes=MEASURED)
    found = evaluate(program, module, plan, split=split, device=device, data=data)
    if as_json:
        print_json({"network": program.name, "split": split, "metrics": found})
        return
    width = max(len(name) for name in found)
    print(f"{program.name}, {split} part of {plan.data.kind}")
    for name, value in found.items():
        print(f"  {name:<{width}}  {format_metric(name, value)}")
