"""The objective of a network with its classes weighed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from archlang.compiler.diagnostics import error
from archlang.compiler.emit.python import emit
from archlang.compiler.graph import Program
from archlang.compiler.task import find_task
from archlang.compiler.training_plan import TrainPlan
from archlang.compiler.weighing import weighed
from torch import nn

from .data import Data, Split
from .module import module_class


def weighed_objective(
    program: Program, module: nn.Module, plan: TrainPlan, data: Data, parts: Split
) -> Callable | None:
    """What computes the objective of a generated module with the plan's class weights; None where there are none.

    Balanced weights are n / (k · n_c) for class c of k, among the n examples of the training part. Raises A1035."""
    if plan.class_weights == "none":
        return None
    if isinstance(plan.class_weights, tuple):
        weights = plan.class_weights
    else:
        span, classes = plan.place("class_weights"), find_task(program).classes
        if data.labels is None or classes is None:
            raise error("A1035", f"{data.origin} gives no class for each example to count", span)
        counts = np.bincount(np.asarray(data.labels)[parts.train], minlength=classes)
        weights = tuple(len(parts.train) / ((counts > 0).sum() * n) if n else 0.0 for n in counts.tolist())
        weights = tuple(float(w) for w in weights)
    other = weighed(program, weights)
    made: Any = module_class(other, emit(other))
    return partial(made.objective, module)
