"""Losses: a prediction and a target become a number to minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..declared import Field
from ..relations import Relation, Relations, everything
from ..sizes import Verdict, compare
from ..types import TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, aligned
from .shared import require_float

Reduction = Annotated[
    Literal["mean", "sum", "batchmean", "none"],
    Field(
        description='"mean" or "sum" over all elements, "batchmean": a sum for each example, the mean of those, or '
        '"none": one loss each'
    ),
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
POSITIVE = Interval(lo=0.0)


def loss_call(function: str, operands: tuple[str, ...], values: dict[str, object], rest: tuple[str, ...] = ()) -> Code:
    """`F.function(operands, rest, name=value …)`; operands and rest are fragments of ours."""
    batchmean = values.get("reduction") == "batchmean"
    values = values | {"reduction": "sum"} if batchmean else values
    named = [f"{name}={{{name}}}" for name in values]
    text = f"F.{function}({', '.join([*operands, *rest, *named])})"
    return Code(f"{text} / {{0}}.shape[0]" if batchmean else text, values)


class _Loss(Op):
    """A loss. `reduction` says how the losses of all elements become one."""

    if TYPE_CHECKING:
        reduction: Reduction

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (POSITIVE,)

    def _reduced(self, each: TensorType) -> TensorType:
        if self.reduction == "batchmean" and not each.rank:
            raise Refusal("there are no examples to take a mean over: this is one number", setting="reduction")
        return each.cast("float") if self.reduction == "none" else TensorType()

    def _values(self, **others: tuple[object, object]) -> dict[str, object]:
        """Keywords that differ from PyTorch's defaults, which come second in each pair."""
        pairs = others | {"reduction": (self.reduction, "mean")}
        return {name: value for name, (value, default) in pairs.items() if value != default}


class _Elementwise(_Loss):
    """Compares element with element. A scalar target stands for every element."""

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        prediction, target = inputs
        require_float(prediction, self.name)
        if target.rank == 0:
            return (self._reduced(prediction),)
        message = (
            f"`{self.name}` compares element with element, but the prediction is {prediction} and the target {target}"
        )
        blame: dict[str, Any] = {
            "operand": 0,
            "others": (1,),
            "code": "A0316",
            "help": "bring both to one shape: stretched to a common one, everything would be compared with everything",
        }
        if prediction.rank != target.rank:
            raise Refusal(message, **blame)
        for left, right in zip(prediction.shape, target.shape, strict=True):
            need.equal(left, right, message, **blame)
        return (self._reduced(prediction),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        if self.reduction == "none":
            return aligned(inputs, outputs[0])
        return {(0, None, i, a): everything() for i, t in enumerate(inputs) for a in range(t.rank)}

    def _operands(self, inputs: tuple[TensorType, ...]) -> tuple[str, str]:
        target = inputs[1]
        if target.rank == 0:
            return "{0}", "torch.zeros_like({0}).add({1})"
        return "{0}", "{1}" if target.dtype == "float" else "{1}.to({0}.dtype)"


class MSE(_Elementwise):
    """Mean squared error: (prediction − target)². A scalar target stands for every element."""

    name = "mse"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B D", "B D"), ("",)),
        Example({"reduction": "sum"}, ("B C H W", "B C H W"), ("",)),
        Example({"reduction": "none"}, ("B D", "B D"), ("B D",)),
        Example({"reduction": "none"}, ("B D", ""), ("B D",)),
        Example({"reduction": "batchmean"}, ("B D", "B D"), ("",)),
        Example({}, ("B", "int: B"), ("",)),
    )

    reduction: Reduction = "mean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return loss_call("mse_loss", self._operands(inputs), self._values())


class L1(_Elementwise):
    """Mean absolute error: |prediction − target|. A scalar target stands for every element."""

    name = "l1"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B C H W", "B C H W"), ("",)),
        Example({"reduction": "none"}, ("B", "B"), ("B",)),
    )

    reduction: Reduction = "mean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return loss_call("l1_loss", self._operands(inputs), self._values())


class Huber(_Elementwise):
    """Huber loss: half the squared error up to `delta`, growing only linearly beyond (Huber, 1964). A scalar target
    stands for every element."""

    name = "huber"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B D", "B D"), ("",)),
        Example({"delta": 0.5, "reduction": "none"}, ("B D", "B D"), ("B D",)),
    )

    delta: Positive = Field(1.0, description="error at which the loss turns from squared to linear")
    reduction: Reduction = "mean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return loss_call("huber_loss", self._operands(inputs), self._values(delta=(self.delta, 1.0)))


class BCE(_Elementwise):
    """Binary cross-entropy of probabilities: −t·log(p) − (1 − t)·log(1 − p). Prediction and target lie in [0, 1]; with
    logits use `bce_with_logits`, which is exact for large ones. A scalar target stands for every element."""

    name = "bce"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B D", "B D"), ("",), ("probability", "probability")),
        Example({"reduction": "none"}, ("B", "int: B"), ("B",), ("probability", "index")),
        Example({"reduction": "sum"}, ("B D", ""), ("",), ("probability", "probability")),
    )

    reduction: Reduction = "mean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return loss_call("binary_cross_entropy", self._operands(inputs), self._values())


class BCEWithLogits(_Elementwise):
    """Binary cross-entropy of logits: `bce` of their sigmoid, computed without loss of precision. Targets lie in
    [0, 1]; a scalar target stands for every element."""

    name = "bce_with_logits"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B D", "B D"), ("",), ("", "probability")),
        Example({"pos_weight": 3.0, "reduction": "none"}, ("B", "bool: B"), ("B",)),
        Example({"reduction": "sum"}, ("B 1", ""), ("",), ("", "probability")),
        Example({"pos_weight": 2.0, "reduction": "batchmean"}, ("B C H", "B C H"), ("",), ("", "probability")),
    )

    pos_weight: Positive | None = Field(None, description="factor of the losses of positives, against rarity")
    reduction: Reduction = "mean"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        target = ranges[1]
        return (POSITIVE if target.lo >= 0 and target.hi <= 1 else Interval(),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        values = self._values(pos_weight=(self.pos_weight, None))
        code = loss_call("binary_cross_entropy_with_logits", self._operands(inputs), values)
        return Code(code.template.replace("={pos_weight}", "={0}.new_tensor({pos_weight})"), code.values)


class _Classes(_Loss):
    """Scores for every class against the index of the right one. The class axis is the last where that fits the target,
    else the second."""

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        prediction, target = inputs
        require_float(prediction, self.name)
        if target.dtype != "int":
            raise Refusal(
                f"`{self.name}` compares with indices of classes, but the target is {target}",
                help="declare it as `int[…]`; for numbers use `mse`, for yes-or-no `bce_with_logits`",
                operand=1,
                code="A0315",
            )
        axis = self._class_axis(prediction, target)
        message = (
            f"`{self.name}` needs one target for each set of class scores, but the prediction is {prediction} and the "
            f"target {target}"
        )
        blame: dict[str, Any] = {
            "operand": 0,
            "others": (1,),
            "code": "A0316",
            "help": "the prediction has the target's shape and one axis more, of classes: the last, or the second",
        }
        if axis is None:
            raise Refusal(message, **blame)
        for left, right in zip(prediction.drop(axis).shape, target.shape, strict=True):
            need.equal(left, right, message, **blame)
        return (self._reduced(target),)

    @staticmethod
    def _class_axis(prediction: TensorType, target: TensorType) -> int | None:
        """The last axis, when what is left is the target's shape; else the second, when that is; else the first of the
        two that may be."""
        if prediction.rank != target.rank + 1 or prediction.rank < 2:
            return None
        verdicts = {}
        for axis in (prediction.rank - 1, 1):
            pairs = zip(prediction.drop(axis).shape, target.shape, strict=True)
            answers = [compare(left, right) for left, right in pairs]
            refuted = Verdict.REFUTED in answers
            verdicts[axis] = Verdict.REFUTED if refuted else Verdict.OPEN if Verdict.OPEN in answers else Verdict.PROVED
        for wanted in (Verdict.PROVED, Verdict.OPEN):
            for axis, verdict in verdicts.items():
                if verdict is wanted:
                    return axis
        return None

    def _axis(self, inputs: tuple[TensorType, ...]) -> int:
        axis = self._class_axis(*inputs)
        assert axis is not None, "infer refuses these"
        return axis

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        prediction = inputs[0]
        if self.reduction != "none":
            return {(0, None, i, a): everything() for i, t in enumerate(inputs) for a in range(t.rank)}
        axis = self._axis(inputs)
        table: Relations = {(0, None, 0, axis): everything()}
        for place, a in enumerate(a for a in range(prediction.rank) if a != axis):
            table[0, place, 0, a] = table[0, place, 1, place] = Relation()
        return table

    def _operands(self, inputs: tuple[TensorType, ...]) -> tuple[str, str]:
        """PyTorch wants the class axis second; for sequences it is idiomatic to see their places as one batch."""
        if self._axis(inputs) == 1:
            return "{0}", "{1}"
        if self.reduction == "none":
            return "{0}.movedim(-1, 1)", "{1}"
        return "{0}.flatten(0, -2)", "{1}.flatten()"


Weights = tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]


class CrossEntropy(_Classes):
    """Cross-entropy of logits: −log softmax(prediction)[target]. The class axis is the last ([B, K], [B, T, K]) where
    that fits the target, else the second ([B, K, H, W] with int[B, H, W])."""

    name = "cross_entropy"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B K=5", "int: B"), ("",), high=5),
        Example({"smoothing": 0.1}, ("B T K=5", "int: B, T"), ("",), high=5),
        Example({"reduction": "none", "ignore": 0}, ("B T K=5", "int: B, T"), ("B T",), high=5),
        Example({"weight": [1.0, 2.0, 0.5]}, ("B K=3 H W", "int: B, H, W"), ("",), high=3),
        Example({"reduction": "none"}, ("B K=3 4 2", "int: B, 4, 2"), ("B 4 2",), high=3),
        Example({"reduction": "sum", "ignore": -1}, ("B T N K=4", "int: B, T, N"), ("",), high=4),
        Example({"reduction": "batchmean"}, ("B T K=5", "int: B, T"), ("",), high=5),
    )

    ignore: int | None = Field(None, description="a target that does not count, such as the index of padding")
    smoothing: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the target given to all classes alike (Szegedy et al., 2016)"
    )
    weight: Weights | None = Field(None, description="a factor for each class")
    reduction: Reduction = "mean"

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        results = super().infer(inputs, need)
        if self.weight is not None:
            classes = inputs[0].shape[self._axis(inputs)]
            message = f"`weight` lists {len(self.weight)} factors, but there are {classes} classes"
            need.equal(classes, len(self.weight), message, setting="weight", code="A0314")
        return results

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        values = self._values(
            class_weights=(self.weight, None), ignore_index=(self.ignore, None), label_smoothing=(self.smoothing, 0.0)
        )
        code = loss_call("cross_entropy", self._operands(inputs), values)
        weights = "weight={0}.new_tensor({class_weights})"
        return Code(code.template.replace("class_weights={class_weights}", weights), code.values)


class NLL(_Classes):
    """Negative log-likelihood: −prediction[target], for predictions that are log-probabilities (`log_softmax`). The
    class axis is chosen as by `cross_entropy`."""

    name = "nll"
    glyph = Glyph.LOSS
    operands = ("prediction", "target")
    examples = (
        Example({}, ("B K=5", "int: B"), ("",), high=5),
        Example({"reduction": "none"}, ("B T K=5", "int: B, T"), ("B T",), high=5),
        Example({"ignore": 1, "reduction": "sum"}, ("B K=3 H W", "int: B, H, W"), ("",), high=3),
    )

    ignore: int | None = Field(None, description="a target that does not count, such as the index of padding")
    reduction: Reduction = "mean"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (POSITIVE if ranges[0].hi <= 0 else Interval(),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return loss_call("nll_loss", self._operands(inputs), self._values(ignore_index=(self.ignore, None)))


class _Divergence(_Loss):
    """How far one normal distribution is from another, for each element on its own: KL(q ‖ p) in nats. The logarithms
    of variances come in, which any number can be."""

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        first = inputs[0]
        for position, x in enumerate(inputs):
            require_float(x, self.name)
            message = f"`{self.name}` takes {len(inputs)} tensors of one shape, found {first} and {x}"
            blame: dict[str, Any] = {"operand": position, "others": (0,), "code": "A0316"}
            if x.rank != first.rank:
                raise Refusal(message, **blame)
            for left, right in zip(first.shape, x.shape, strict=True):
                need.equal(left, right, message, **blame)
        return (self._reduced(first),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        if self.reduction == "none":
            return aligned(inputs, outputs[0])
        return {(0, None, i, a): everything() for i, t in enumerate(inputs) for a in range(t.rank)}

    def _total(self, each: str) -> Code:
        """From the text of twice the divergence of each element."""
        if self.reduction == "none":
            return Code(f"0.5 * ({each})")
        whole = f"0.5 * ({each}).{'mean' if self.reduction == 'mean' else 'sum'}()"
        return Code(f"{whole} / {{0}}.shape[0]" if self.reduction == "batchmean" else whole)


class KLStandardNormal(_Divergence):
    """The divergence of normal distributions, independent of one another, from the standard normal one:
    KL(N(μ, σ²) ‖ N(0, 1)) = ½·(μ² + σ² − 1 − log σ²), of means μ and log-variances log σ² (Kingma and Welling, 2014,
    appendix B). In nats; a sum for each example, the mean of those."""

    name = "kl_standard_normal"
    glyph = Glyph.LOSS
    operands = ("mean", "log_variance")
    examples = (
        Example({}, ("B D", "B D"), ("",)),
        Example({}, ("B C H W", "B C H W"), ("",)),
        Example({"reduction": "none"}, ("B D", "B D"), ("B D",)),
        Example({"reduction": "sum"}, ("B D", "B D"), ("",)),
        Example({"reduction": "mean"}, ("B T D", "B T D"), ("",)),
    )

    reduction: Reduction = "batchmean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        # eˣ − 1 − x, of one function: near 0 the two would cancel
        return self._total("{0}.square() + torch.expm1({1}) - {1}")


class KLNormal(_Divergence):
    """The divergence of normal distributions from others, element by element: KL(N(μ, σ²) ‖ N(m, s²)) =
    ½·((μ − m)² / s² + σ² / s² − 1 − log(σ² / s²)), of means and log-variances. In nats; a sum for each example, the
    mean of those."""

    name = "kl_normal"
    glyph = Glyph.LOSS
    operands = ("mean", "log_variance", "prior_mean", "prior_log_variance")
    examples = (
        Example({}, ("B D", "B D", "B D", "B D"), ("",)),
        Example({"reduction": "none"}, ("B T D", "B T D", "B T D", "B T D"), ("B T D",)),
        Example({"reduction": "sum"}, ("B D", "B D", "B D", "B D"), ("",)),
    )

    reduction: Reduction = "batchmean"

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._total("({0} - {2}).square() * torch.exp(-{3}) + torch.expm1({1} - {3}) - ({1} - {3})")
