"""Metrics of a task, kept on the device until they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from archlang.compiler.task import Task, TaskKind
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import Metric

    from .data import Preprocessing

HIGHER_IS_BETTER = {
    **dict.fromkeys(("accuracy", "top5", "f1", "precision", "recall", "auroc", "r2", "skill", "psnr"), True),
    **dict.fromkeys(("loss", "mse", "mae", "rmse", "perplexity"), False),
}


class Meter:
    """Accumulates metrics over batches. f1, precision, recall and auroc are averaged over classes. Where targets are
    scaled, what is predicted is measured in the units of the data: images in [0, 1]."""

    def __init__(
        self, task: Task, names: Sequence[str], device: torch.device, preprocessing: Preprocessing | None = None
    ) -> None:
        self.task, self.names, self.device = task, tuple(names), device
        self.preprocessing = preprocessing
        self.metrics: dict[str, Metric] = {}

    def update(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], naive: Tensor | None = None) -> None:
        """Takes the outputs and targets of a batch, and for `skill` what repeating the last season would say."""
        if not self.names or self.task.kind is TaskKind.NONE:
            return
        answer, wanted = outputs[self.task.output], targets[self.task.target]
        answer = answer.sigmoid().float() if self.task.logits else answer.float()
        others: tuple[Tensor, ...] = ()
        if self.preprocessing is not None and self.task.reconstructs:
            answer, wanted = self.preprocessing.undo(answer), self.preprocessing.undo(wanted)
        elif self.preprocessing is not None and self.task.kind is TaskKind.REGRESSION:
            answer, wanted = self.preprocessing.in_units(answer), self.preprocessing.in_units(wanted)
            if naive is not None:
                others = (self.preprocessing.in_units(naive).flatten(),)
        if self.task.kind is TaskKind.MULTICLASS:
            answer = answer.movedim(self.task.class_axis, -1).flatten(0, -2)
            wanted = wanted.flatten()
        else:
            answer, wanted = answer.flatten(), wanted.flatten()
            if self.task.kind is TaskKind.BINARY:
                wanted = wanted.round().long()
        if not self.metrics:
            self.metrics = {n: self._make(n, answer.shape[-1]).to(self.device) for n in self.names}
        for name, metric in self.metrics.items():
            metric.update(answer, wanted, *(others if name == "skill" else ()))

    def compute(self) -> dict[str, float]:
        """The values so far, over every process."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}

    def _images(self) -> bool:
        """Is what is measured images, in [0, 1]?"""
        return self.task.reconstructs and self.preprocessing is not None and self.preprocessing.size is not None

    def _make(self, name: str, classes: int) -> Metric:
        from torchmetrics import classification as c
        from torchmetrics import regression as r

        from .scores import Perplexity, SignalToNoise, Skill

        if self.task.kind is TaskKind.REGRESSION:
            made: dict[str, Callable[..., Metric]] = {
                "mse": r.MeanSquaredError,
                "mae": r.MeanAbsoluteError,
                "rmse": lambda: r.MeanSquaredError(squared=False),
                "r2": r.R2Score,
                "skill": Skill,
                "psnr": lambda: SignalToNoise(1.0 if self._images() else None),
            }
            return made[name]()
        if self.task.kind is TaskKind.BINARY:
            binary = {
                "accuracy": c.BinaryAccuracy,
                "f1": c.BinaryF1Score,
                "precision": c.BinaryPrecision,
                "recall": c.BinaryRecall,
                "auroc": c.BinaryAUROC,
            }
            return binary[name](ignore_index=self.task.ignore)
        many: dict[str, Callable[..., Metric]] = {
            "accuracy": lambda **o: c.MulticlassAccuracy(average="micro", **o),
            "top5": lambda **o: c.MulticlassAccuracy(average="micro", top_k=min(5, classes), **o),
            "f1": c.MulticlassF1Score,
            "precision": c.MulticlassPrecision,
            "recall": c.MulticlassRecall,
            "auroc": c.MulticlassAUROC,
        }
        if name == "perplexity":
            return Perplexity(self.task.ignore)
        return many[name](num_classes=classes, ignore_index=self.task.ignore)


def better(name: str, new: float | None, old: float | None, least: float = 0.0) -> bool:
    """Is a value of this metric an improvement by more than `least`?"""
    if new is None or math.isnan(new):
        return False
    if old is None:
        return True
    return new > old + least if HIGHER_IS_BETTER[name] else new < old - least
