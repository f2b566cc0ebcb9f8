"""`archc train`: train a network as its file says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import terminal
from .common import json_option, load_program, ops_option, parameter_option, print_json, target_argument

EPILOG = """\b
Examples:
  archc train lenet5                      the bundled LeNet-5, on the digits
  archc train net.arch -o runs/first      into a folder of your choice
  archc train net.arch --epochs 1         a quick look
  archc train net.arch -p classes=5 --init imagenet1k_v1 --init-except fc
                                          from published weights, a new head
  archc train net.arch --resume -o runs/first
                                          go on after an interruption
"""


@click.command("train", epilog=EPILOG)
@target_argument
@parameter_option
@click.option("-o", "--output", metavar="FOLDER", help="Where the run goes. Default: a new folder runs/NAME.")
@click.option("--on", metavar="DATA", help="Which `train` block, where the file has several: the name of its data.")
@click.option("--data", type=click.Path(path_type=Path), help="A file or folder in place of the one named in the spec.")
@click.option("--epochs", type=click.IntRange(1), help="Train so many epochs instead.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Another seed: weights, order and noise.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="What products are computed in.")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Train with so many processes.")
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile make the network faster.")
@click.option("--init", type=click.Path(), metavar="SOURCE", help="Weights to start from: what `archc eval -w` takes.")
@click.option("--init-except", multiple=True, metavar="MODULE", help="Keep its fresh weights; may be repeated.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, exactly where it stopped.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@ops_option()
@json_option
def command(
    *,
    target: str,
    parameters: tuple[str, ...],
    output: str | None,
    on: str | None,
    data: Path | None,
    epochs: int | None,
    seed: int | None,
    device: str,
    precision: str | None,
    processes: int,
    compiled: bool,
    init: str | None,
    init_except: tuple[str, ...],
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a network as its `train` block says, and measure it on examples that it has not seen.

    The folder then holds best.safetensors and last.safetensors (the weights), report.json, curves.png, and logs for
    TensorBoard. Ctrl-C saves everything; `--resume` goes on. The same seed gives the same weights."""
    from archlang.compiler.analysis.biases.data import contradictions
    from archlang.training import BEST, plan_for, run_folder

    if resume and output is None:
        raise click.UsageError("`--resume` needs the folder of the run: `-o FOLDER`.")
    if quiet:
        terminal.quiet()
    _, program = load_program(target, parameters)
    plan = plan_for(program, on)
    terminal.show(contradictions(plan, program))
    if init_except and init is None and plan.init is None:
        raise click.UsageError("`--init-except` needs weights to start from: `--init SOURCE`.")
    folder = Path(output) if output is not None else run_folder(program.name)

    from archlang.runtime.module import build
    from archlang.runtime.train import fit

    report = fit(
        program,
        lambda: build(program),
        plan,
        out=folder,
        device=device,
        precision=precision,
        compile=compiled,
        resume=resume,
        seed=seed,
        epochs=epochs,
        data=data,
        progress=not (quiet or as_json),
        processes=processes,
        init=init,
        init_except=init_except,
        metadata={"parameters": json.dumps(list(parameters)), "spec": program.source_name},
    )
    if as_json:
        print_json(json.loads(report.model_dump_json()))
    elif not quiet:
        print(f"weights  {folder / BEST}\nreport   {folder / 'report.json'}\ncurves   {folder / 'curves.png'}")
