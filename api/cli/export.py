"""`archc export`: a network for programs that know nothing of archlang."""

from __future__ import annotations

import click

from .common import load_program, ops_option, parameter_option, refuse_spec, target_argument

EPILOG = """\b
Examples:
  archc export lenet5 -w runs/lenet5 --onnx lenet5.onnx     for ONNX runtimes
  archc export ResNet50 -w imagenet1k_v2 --program net.pt2  for torch.export.load
"""


@click.command("export", epilog=EPILOG)
@target_argument
@parameter_option
@click.option(
    "-w",
    "--weights",
    type=click.Path(),
    metavar="SOURCE",
    help="A checkpoint, a run's folder, a published name, hub:… or a link; fresh weights when left out.",
)
@click.option("--onnx", metavar="FILE", help="Write an ONNX graph (opset 18).")
@click.option("--program", "archive", metavar="FILE", help="Write a torch.export archive (.pt2).")
@ops_option()
def command(
    *, target: str, parameters: tuple[str, ...], weights: str | None, onnx: str | None, archive: str | None
) -> None:
    """Write a network with its weights for evaluation elsewhere.

    Batch norms are folded and dropout is left out. Sizes that the spec leaves open (the batch, height and width) stay
    open in the file where torch can keep them so; the command names those that it had to fix."""
    if onnx is None and archive is None:
        raise click.UsageError("Say what to write: --onnx FILE, --program FILE, or both.")
    chosen, program = load_program(target, parameters)
    for output in (onnx, archive):
        if output is not None:
            refuse_spec(output, chosen)

    from pathlib import Path

    from archlang.runtime.export import save_onnx, save_program
    from archlang.runtime.module import build
    from archlang.training import restore

    module = build(program) if weights is None else restore(program, weights)[0]
    for output, save in ((onnx, save_onnx), (archive, save_program)):
        if output is None:
            continue
        fixed = save(program, module, Path(output))
        notes = ["with fresh weights"] if weights is None else []
        notes += [f"{name} is fixed at {size}" for name, size in fixed.items()]
        click.echo(f"wrote {output}" + (f": {', '.join(notes)}" if notes else ""), err=True)
