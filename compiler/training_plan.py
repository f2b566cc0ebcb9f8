"""The `train` block: what it says, checked, as a plan that the runtime carries out. Knows nothing of torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from .augmentations import Augmentation
from .data_base import Normalization
from .data_sources import DataSource
from .declared import Declared, Field
from .learning import Freeze
from .source import Span

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
LARGEST = 1e38  # of rates: fp32 ends at 3.4e38, and torch refuses more
Rate = Annotated[float, Field(gt=0.0, le=LARGEST, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Decay = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Metric = Literal[
    "accuracy", "top5", "f1", "precision", "recall", "auroc", "perplexity", "mse", "mae", "rmse", "r2", "skill", "psnr"
]
Betas = tuple[Fraction, Fraction]
_NORMS = "Whether weight decay reaches norms and biases too: tensors of fewer than two axes."


class _Part(Declared):
    """Base of optimizers, schedules and the like. Fields in order, `kind` left out, are the settings one can write."""


class SGD(_Part):
    """Stochastic gradient descent."""

    lr: Rate = Field(1e-2, description="Learning rate.")
    momentum: Fraction = Field(0.0, description="Share of the last step that is kept.")
    nesterov: bool = Field(False, description="Look ahead by the momentum.")
    weight_decay: Decay = Field(0.0, description="L2 penalty, as in PyTorch.")
    decay_norms: bool = Field(True, description=_NORMS)
    kind: Literal["sgd"] = "sgd"


class Adam(_Part):
    """Adam (Kingma and Ba, 2015)."""

    lr: Rate = Field(1e-3, description="Learning rate.")
    betas: Betas = Field((0.9, 0.999), description="Decay of the running mean and of the running square.")
    eps: Rate = Field(1e-8, description="Added to the denominator.")
    weight_decay: Decay = Field(0.0, description="L2 penalty, as in PyTorch.")
    decay_norms: bool = Field(True, description=_NORMS)
    kind: Literal["adam"] = "adam"


class AdamW(_Part):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    lr: Rate = Field(1e-3, description="Learning rate.")
    betas: Betas = Field((0.9, 0.999), description="Decay of the running mean and of the running square.")
    eps: Rate = Field(1e-8, description="Added to the denominator.")
    weight_decay: Decay = Field(1e-2, description="Decoupled weight decay.")
    decay_norms: bool = Field(True, description=_NORMS)
    kind: Literal["adamw"] = "adamw"


class RMSprop(_Part):
    """RMSprop (Hinton, 2012)."""

    lr: Rate = Field(1e-2, description="Learning rate.")
    alpha: Fraction = Field(0.99, description="Decay of the running square.")
    eps: Rate = Field(1e-8, description="Added to the denominator.")
    momentum: Fraction = Field(0.0, description="Share of the last step that is kept.")
    weight_decay: Decay = Field(0.0, description="L2 penalty, as in PyTorch.")
    decay_norms: bool = Field(True, description=_NORMS)
    kind: Literal["rmsprop"] = "rmsprop"


Optimizer = SGD | Adam | AdamW | RMSprop


class Constant(_Part):
    """The learning rate stays what it is, after a linear warm-up."""

    warmup: Decay = Field(0.0, description="Epochs of linear warm-up.")
    kind: Literal["constant"] = "constant"


class Cosine(_Part):
    """Half a cosine from the learning rate to `floor` times it, step by step."""

    warmup: Decay = Field(0.0, description="Epochs of linear warm-up.")
    floor: Fraction = Field(0.0, description="What is left at the end, as a share of the learning rate.")
    kind: Literal["cosine"] = "cosine"


class Step(_Part):
    """Multiplied by `factor` every so many epochs."""

    every: int = Field(ge=1, description="Epochs between two falls.")
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.1, description="What it is multiplied by.")
    warmup: Decay = Field(0.0, description="Epochs of linear warm-up.")
    kind: Literal["step"] = "step"


class Linear(_Part):
    """A straight line from the learning rate to `floor` times it, step by step."""

    warmup: Decay = Field(0.0, description="Epochs of linear warm-up.")
    floor: Fraction = Field(0.0, description="What is left at the end, as a share of the learning rate.")
    kind: Literal["linear"] = "linear"


class Plateau(_Part):
    """Multiplied by `factor` when the validation loss has not fallen for `patience` epochs."""

    patience: int = Field(5, ge=1, description="Epochs without a fall that are put up with.")
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.1, description="What it is multiplied by.")
    warmup: Decay = Field(0.0, description="Epochs of linear warm-up.")
    kind: Literal["plateau"] = "plateau"


class OneCycle(_Part):
    """Up to the learning rate and down to nearly nothing, along cosines (Smith and Topin, 2018)."""

    rise: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.3, description="Share of the run that rises.")
    start: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.04, description="Where it starts, as a share.")
    floor: Fraction = Field(4e-6, description="Where it ends, as a share.")
    kind: Literal["onecycle"] = "onecycle"


Schedule = Constant | Cosine | Step | Linear | Plateau | OneCycle


class EarlyStop(_Part):
    """Ends training when the validation metric has not improved for a while."""

    patience: int = Field(5, ge=1, description="Epochs without an improvement that are put up with.")
    metric: Metric | Literal["loss"] | None = Field(
        None, description="What is watched: a metric or `loss`; by default the first metric."
    )
    least: Decay = Field(0.0, description="A smaller gain does not count as an improvement.")


class Init(_Part):
    """Weights to start from."""

    file: str = Field(description="A checkpoint, relative to the spec's folder, or a name that is `pretrained`.")
    excepted: tuple[str, ...] = Field((), description="Modules (or tensors) that keep their fresh weights.")


class TrainPlan(Declared):
    """Everything that a `train` block decides, with the defaults filled in."""

    network: str = Field(description="Name of what is trained.")
    data: DataSource = Field(description="Where examples come from.")
    optimizer: Optimizer = Field(default_factory=Adam, description="How a step is made of a gradient.")
    schedule: Schedule = Field(default_factory=Constant, description="How the learning rate changes.")
    epochs: int = Field(10, ge=1, le=1_000_000, description="Passes over the training part.")
    batch: int = Field(32, ge=1, le=1_000_000, description="Examples a step, over all processes together.")
    accumulate: int = Field(1, ge=1, le=65_536, description="Batches whose gradients make one step.")
    validation: Share = Field(0.1, description="Share of the examples that chooses the best epoch.")
    test: Share = Field(0.2, description="Share of the examples that is held out to the end.")
    seed: int = Field(0, ge=0, lt=2**32, description="Decides initial weights, order and noise.")
    split_seed: int = Field(0, ge=0, lt=2**32, description="Decides which examples are held out; apart from `seed`.")
    metric: tuple[Metric, ...] = Field((), description="What is reported; the first one chooses the best epoch.")
    early_stop: EarlyStop | None = Field(None, description="When to end before the last epoch.")
    clip: Rate | None = Field(None, description="Bound on the norm of the whole gradient.")
    ema: Fraction | None = Field(
        None,
        description="Decay of running averages of the weights (of a game: of its generators). The averages are kept "
        "as the best.",
    )
    samples: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Updates between two looks at what is made, always from the same noise: grids of pictures, or "
        "plots of points, in `samples/`. They change nothing of the run.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="What products are computed in.")
    workers: int | None = Field(
        None, ge=0, le=256, description="Processes that read images; by default a few, and none for few images."
    )
    shuffle: bool = Field(True, description="A new order every epoch.")
    normalize: Normalization | None = Field(
        None,
        description="Mean 0 and deviation 1 by the training part, ImageNet's constants, from [0, 1] to [-1, 1], or as "
        "it is; by default `standard`, `symmetric` for unpaired and inverted_digits, `none` for npz and gaussians.",
    )
    augment: tuple[Augmentation, ...] = Field(
        (), description="How images are varied while the network learns from them."
    )
    init: Init | None = Field(None, description="Weights to start from.")
    freeze: Freeze | None = Field(None, description="Modules that do not learn.")
    frozen_stats: Literal["keep", "update"] = Field(
        "keep",
        description="Whether batch norms that are frozen keep their running statistics and use them, or go on as if "
        "they learned.",
    )
    lr: tuple[tuple[str, Rate], ...] = Field(
        (),
        description="Learning rates of modules, where they differ from the optimizer's; the schedule scales them too.",
    )
    class_weights: Literal["none", "balanced"] | tuple[Decay, ...] = Field(
        "none",
        description="A factor for each class in what is learned from: a list, or as rare as the class is in the "
        "training part. What is measured stays as it is.",
    )
    sampler: Literal["none", "balanced"] = Field(
        "none", description="Whether an epoch draws every class equally often, with repetition."
    )
    carry: tuple[str, ...] = Field(
        (),
        description="States: inputs that are the outputs of these names of the batch before it, where data go on. "
        "That is truncated back-propagation through time; data begin with zeros.",
    )
    set: tuple[tuple[str, Any], ...] = Field(
        (), description="Parameters of the network in this phase: `set resolution=16`. Weights carry over by label."
    )
    fade: tuple[tuple[str, Rate], ...] = Field(
        (),
        description="Inputs without axes that rise from 0 to 1 over the first so many epochs of the phase. They are 1 "
        "otherwise.",
    )
    phases: tuple[TrainPlan, ...] = Field((), description="What follows one another, where a block has several phases.")
    name: str = Field("", internal=True, description="The phase's name.")
    places: dict[str, Span] = Field(default_factory=dict, internal=True, description="Where each was said.")

    @property
    def stages(self) -> tuple[TrainPlan, ...]:
        """What is done, in order: the phases, or the plan itself."""
        return self.phases or (self,)

    def place(self, key: str) -> Span | None:
        """Where a setting (or `data`, or `network`) stands in the text."""
        return self.places.get(key)
