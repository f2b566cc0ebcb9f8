"""`archlang.compile`, `load`, `render`: a network, and everything that it can be turned into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.files import write_atomically

from .report import as_target
from .training import plan_for, restore

if TYPE_CHECKING:
    import networkx
    import numpy as np
    from archlang.compiler.analysis.biases.findings import Finding
    from archlang.compiler.graph import Program
    from archlang.runtime.report import Report
    from torch import Tensor, nn

Path_ = str | os.PathLike[str]


class Compiled:
    """A compiled network. In a notebook it shows its figure.

    program: the compiler's own form, for those who write analyses.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def name(self) -> str:
        """The network's name."""
        return self.program.name

    @property
    def doc(self) -> str | None:
        """What the spec says about it."""
        return self.program.doc

    @property
    def parameters(self) -> dict[str, Any]:
        """The static parameters that it was compiled with."""
        return dict(self.program.parameters)

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of its further entries, such as `generate`."""
        return tuple(self.program.entries)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What came of the inductive biases that it and its blocks claim: each with a verdict, why, and under which
        conditions."""
        return tuple(self.program.findings)

    @cached_property
    def graph(self) -> networkx.MultiDiGraph:
        """The architecture as one flat networkx graph: blocks inlined, one node a step, one edge a tensor."""
        return self.program.graph.flatten().nx

    @cached_property
    def state(self) -> dict[str, tuple[int, ...]]:
        """Keys of the `state_dict` and the shapes of its tensors, in order."""
        return {key: spec.shape for key, spec in self.program.graph.state() if spec.role != "scratch"}

    def count(self) -> int:
        """Number of trained numbers: the elements of its parameters. Buffers are left out."""
        return sum(spec.elements for _, spec in self.program.graph.state() if spec.role == "param")

    def python(self, *, standalone: bool = False) -> str:
        """The PyTorch source: what `module` runs. It imports torch and nothing else, except where it scans with a cell
        that archlang has a quick way for; standalone: there, too, and scans are loops. Checkpoints are the same."""
        from archlang.compiler.emit.python import emit_python

        return emit_python(self.program, standalone=standalone)

    def module(self, *, weights: Path_ | None = None, weights_except: Sequence[str] = ()) -> nn.Module:
        """A new module, with fresh weights, or those of `weights`: a checkpoint (safetensors, or a `.pth` of plain
        tensors), a run's folder, a name that the spec publishes, `hub:organisation/name/file` or an https link.

        weights_except: modules that keep their fresh weights, such as a head for other classes."""
        from archlang.runtime.module import build

        if weights is None:
            return build(self.program)
        return restore(self.program, weights, weights_except=weights_except)[0]

    def inference(
        self, *, weights: Path_ | None = None, weights_except: Sequence[str] = (), level: int = 1
    ) -> nn.Module:
        """A module that is only to be evaluated, rewritten to be quick: norms folded into the layers before them, what
        only training needs left out, results written in place, channels last where that pays.

        weights, weights_except: as in `module`. level: 0 rewrites nothing. An ordinary checkpoint of the network loads
        into it (`load_state_dict`); no gradients flow. Raises ArchError."""
        from archlang.runtime.inference import for_inference

        return for_inference(self.program, self.module(weights=weights, weights_except=weights_except), level)

    def export(
        self, output: Path_, *, weights: Path_ | None = None, weights_except: Sequence[str] = ()
    ) -> dict[str, int]:
        """Writes the network, rewritten for evaluation, for programs without archlang: `.onnx` for ONNX runtimes,
        `.pt2` for `torch.export.load`. Sizes that the spec leaves open, such as the batch, stay open.

        weights, weights_except: as in `module`. Returns the open sizes that the file had to fix. Raises ArchError."""
        from archlang.runtime.export import save_onnx, save_program

        forms = {".onnx": save_onnx, ".pt2": save_program}
        save = forms.get(Path(output).suffix.lower())
        if save is None:
            text = f"`{os.fspath(output)}` does not say which format to write"
            raise error("A1238", text, help="endings: `.onnx`, `.pt2`")
        return save(self.program, self.module(weights=weights, weights_except=weights_except), Path(output))

    def summary(self, depth: int | None = 0) -> str:
        """A table of layers: shapes, parameters, FLOPs. depth: how many levels of blocks to open, None for all."""
        from .table import plain_table

        return plain_table(self.program, depth)

    def render(
        self,
        output: Path_ | None = None,
        *,
        format: str | None = None,
        depth: int | None = None,
        theme: str = "light",
        parameters: bool = False,
        entry: str | None = None,
        unroll: int | None = None,
    ) -> str | bytes:
        """The figure: written to `output` when that is given, and returned (bytes for PNG and PDF).

        The format is `format`, or what the ending of `output` says, or SVG. depth: how many levels of blocks to open,
        as many as stay readable when left out. unroll: draw the first so many steps of scans and the last, side by
        side; a cell once with its loops when left out. Raises ArchError."""
        from archlang.compiler.draw import render as draw

        chosen = format or ("svg" if output is None else format_of(output))
        figure = draw(self.program, chosen, depth=depth, theme=theme, parameters=parameters, entry=entry, unroll=unroll)
        if output is not None:
            write_atomically(output, figure)
        return figure

    def fit(
        self,
        out: Path_,
        *,
        on: str | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        device: str = "auto",
        precision: str | None = None,
        data: Path_ | None = None,
        resume: bool = False,
        init: Path_ | None = None,
        init_except: Sequence[str] = (),
        progress: bool = True,
    ) -> Report:
        """Trains as the `train` block says and writes the run into the folder `out`; see `archc train --help`.

        on: the data of the block that is meant, where there are several. epochs, seed, precision: in place of the
        block's. data: a file or folder in place of the block's. init, init_except: weights to start from in place of
        the block's, as in `module`. Raises ArchError."""
        from archlang.runtime.module import build
        from archlang.runtime.train import fit

        return fit(
            self.program,
            lambda: build(self.program),
            plan_for(self.program, on),
            out=Path(out),
            device=device,
            precision=precision,
            resume=resume,
            seed=seed,
            epochs=epochs,
            data=Path(data) if data is not None else None,
            init=init if isinstance(init, str) or init is None else Path(init),
            init_except=init_except,
            progress=progress,
        )

    def evaluate(
        self,
        weights: Path_,
        *,
        split: str = "test",
        on: str | None = None,
        device: str = "auto",
        data: Path_ | None = None,
    ) -> dict[str, float]:
        """Loss and metrics of weights (as in `module`) on one part of the data: train, validation or test."""
        from archlang.compiler.passes import MEASURED
        from archlang.runtime.inference import for_inference
        from archlang.runtime.predict import evaluate

        module, _ = restore(self.program, weights)
        module = for_inference(self.program, module, passes=MEASURED)
        plan = plan_for(self.program, on)
        return evaluate(
            self.program, module, plan, split=split, device=device, data=Path(data) if data is not None else None
        )

    def predict(self, inputs: Path_ | Sequence[Path_], weights: Path_, *, device: str = "auto") -> list[dict[str, Any]]:
        """What the network says with weights (as in `module`) about files: images, folders, CSV, npz. One row an
        example."""
        from archlang.runtime.inference import for_inference
        from archlang.runtime.predict import predict

        module, preprocessing = restore(self.program, weights)
        paths = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
        module = for_inference(self.program, module)
        return predict(self.program, module, [Path(path) for path in paths], preprocessing, device=device)

    def generate(
        self,
        prompt: str,
        weights: Path_,
        *,
        length: int = 200,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int | None = None,
        count: int = 1,
        seed: int = 0,
        device: str = "auto",
    ) -> list[str]:
        """`count` texts, with weights (as in `module`): what follows the prompt, of a network trained on `text`; what
        becomes of it, of one trained on `pairs`. temperature 0 takes the likeliest token; without one it is 1, but 0 in
        a translation for which neither top_k nor top_p is given. `beams` follows so many texts at once and draws
        nothing."""
        from archlang.runtime.generate import Search, generate
        from archlang.runtime.inference import for_inference

        module, preprocessing = restore(self.program, weights)
        module = for_inference(self.program, module)
        made = generate(
            self.program,
            module,
            preprocessing,
            prompt,
            length=length,
            search=Search(temperature, top_k, top_p, beams),
            count=count,
            seed=seed,
            device=device,
        )
        return [one.text for one in made]

    def sample(
        self,
        weights: Path_,
        *,
        entry: str | None = None,
        count: int = 64,
        seed: int = 0,
        settings: Mapping[str, float] | None = None,
        device: str = "auto",
    ) -> Tensor:
        """`count` examples, [count, …] on the CPU, that an entry makes of noise alone with weights (as in `module`):
        pictures in [0, 1], rows in the units of the data.

        entry: its name; by default `generate`, or the only one that needs no data. settings: its inputs without axes,
        1 otherwise. The same seed, from 0 to 2³² − 1, gives the same examples. Raises ArchError, and ValueError for
        another count or seed than a whole number in its range."""
        from archlang.runtime.data import Preprocessing
        from archlang.runtime.devices import make_fabric
        from archlang.runtime.making.drawing import as_read, drawn, maker

        for name, number, least, most in (("count", count, 1, None), ("seed", seed, 0, 2**32 - 1)):
            if not isinstance(number, int) or number < least or (most is not None and number > most):
                bounds = f"at least {least}" if most is None else f"from {least} to {most}"
                raise ValueError(f"`{name}` is a whole number, {bounds}, not {number!r}")
        module, preprocessing = restore(self.program, weights)
        made = maker(self.program, module.to(make_fabric(device).device), entry, settings)
        return as_read(made, drawn(made, count, seed), preprocessing or Preprocessing())

    def encode(
        self,
        inputs: Path_ | Sequence[Path_],
        weights: Path_,
        *,
        entry: str | None = None,
        value: str | None = None,
        device: str = "auto",
    ) -> dict[str, np.ndarray]:
        """What the network finds in files (as in `predict`) with weights (as in `module`): for each output of an entry
        an array [N, …], by its name.

        entry: its name; by default `encode`. value: in place of an entry, a value of the network by its name in the
        spec. Raises ArchError, and ValueError where no file is named, or an entry and a value both."""
        from archlang.runtime.data import Preprocessing
        from archlang.runtime.devices import make_fabric
        from archlang.runtime.making.encode import encode

        paths = [Path(path) for path in ([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)]
        if not paths or (entry is not None and value is not None):
            raise ValueError("`entry` and `value` exclude each other" if paths else "no file is named to encode")
        module, preprocessing = restore(self.program, weights)
        module = module.to(make_fabric(device).device)
        return encode(self.program, module, preprocessing or Preprocessing(), paths, entry, value)[1]

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        from archlang.compiler.elaborate.values import show

        settings = ", ".join(f"{k}={show(v)}" for k, v in self.parameters.items())
        return f"<archlang network {self.name}({settings}), {self.count():,} parameters>"

    def _repr_svg_(self) -> str | None:
        try:
            figure = self.render()
        except ArchError:  # no Graphviz here: the notebook falls back to text
            return None
        return figure if isinstance(figure, str) else figure.decode("utf-8")

    def _repr_html_(self) -> str | None:
        figure = self._repr_svg_()
        if figure is None:
            return None
        return f'<div style="max-width:100%;overflow:auto">{figure[max(figure.find("<svg"), 0) :]}</div>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = {"text/plain": repr(self), "image/svg+xml": self._repr_svg_(), "text/html": self._repr_html_()}
        return {
            kind: text
            for kind, text in shown.items()
            if text is not None and (not include or kind in include) and kind not in (exclude or ())
        }


def compile(
    target: Path_, name: str | None = None, *, parameters: Mapping[str, Any] | None = None, **settings: Any
) -> Compiled:
    """Compiles a network.

    target: a path, the name of a bundled spec, or `.arch` text. name: which network, where the file has several.
    settings: static parameters, as in `classes=10`; `parameters` gives those whose names are taken.
    Raises ArchError with every mistake at its place."""
    from archlang.compiler.frontend import compile_program

    found = as_target(target, name)
    given = {**(parameters or {}), **settings}
    return Compiled(compile_program(found.source, found.name, given, base=found.base))


def load(
    target: Path_,
    name: str | None = None,
    *,
    weights: Path_ | None = None,
    weights_except: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> nn.Module:
    """The network as a module, ready to run: `archlang.load("lenet5", classes=26)`.

    weights: a checkpoint, a run's folder, a name that the spec publishes, `hub:organisation/name/file` or a link; fresh
    weights when left out. weights_except: modules that keep fresh ones, as in `archlang.load("resnet:ResNet50",
    classes=10, weights="imagenet1k_v2", weights_except=["fc"])`. The rest is as in `compile`. Raises ArchError."""
    compiled = compile(target, name, parameters=parameters, **settings)
    return compiled.module(weights=weights, weights_except=weights_except)


def render(
    target: Path_ | Compiled,
    output: Path_ | None = None,
    *,
    format: str | None = None,
    depth: int | None = None,
    theme: str = "light",
    unroll: int | None = None,
    **settings: Any,
) -> str | bytes:
    """Draws a network: `archlang.render("lenet5", "lenet5.svg", depth=2)`; see `Compiled.render` and `compile`."""
    program = target if isinstance(target, Compiled) else compile(target, **settings)
    return program.render(output, format=format, depth=depth, theme=theme, unroll=unroll)


def format_of(output: Path_) -> str:
    """The format of a figure that a file's ending names. Raises A1231."""
    from archlang.compiler.draw.output import SUFFIXES

    found = SUFFIXES.get(Path(output).suffix.lower())
    if found is None:
        known = ", ".join(f"`{ending}`" for ending in SUFFIXES)
        raise error("A1231", f"`{os.fspath(output)}` does not say which format to write", help=f"endings: {known}")
    return found
