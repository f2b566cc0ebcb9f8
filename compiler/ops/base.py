"""What an op is. One class an op: settings, shape rule, weights, relations, cost, range, lowering, glyph, examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from math import inf
from typing import Annotated, Any, ClassVar, NamedTuple

from ..declared import Declared, Mark
from ..masks import NOTHING, Known
from ..relations import POINTWISE, Relation, Relations
from ..sizes import Dim, Verdict, at_least, compare, divides
from ..types import TensorType, tensor


class Glyph(StrEnum):
    """Families of ops, as figures draw them."""

    CONV = "conv"
    LINEAR = "linear"
    POOL = "pool"
    NORM = "norm"
    ACTIVATION = "activation"
    EMBED = "embed"
    DROPOUT = "dropout"
    SHAPE = "shape"
    MERGE = "merge"
    ARITHMETIC = "arithmetic"
    SELECT = "select"
    REDUCE = "reduce"
    LOSS = "loss"
    CONSTANT = "constant"
    SAMPLE = "sample"


class Interval(NamedTuple):
    """Bounds on every element of a value."""

    lo: float = -inf
    hi: float = inf

    def clipped(self, lo: float, hi: float) -> "Interval":
        """The part between two numbers, of bounds on what lies there anyway."""
        return Interval(max(self.lo, lo), min(self.hi, hi))

    @property
    def text(self) -> str:
        """As in a book: `[0, ∞)`."""
        lo, hi = (f"{end:g}".replace("inf", "∞") for end in self)
        return f"{'(' if lo == '-∞' else '['}{lo}, {hi}{')' if hi == '∞' else ']'}"


ANY = Interval()


class Refusal(Exception):
    """An op cannot take these operands or settings. The elaborator gives it a place.

    operand: index of the operand to blame, when it is one; setting: name of the setting to blame, when it is one;
    within: first and past-the-last character to blame inside the text of that setting (a pattern's).
    """

    def __init__(
        self,
        message: str,
        *,
        help: str | None = None,
        operand: int | None = None,
        others: Sequence[int] = (),
        setting: str | None = None,
        within: tuple[int, int] | None = None,
        code: str = "A0301",
    ) -> None:
        super().__init__(message)
        self.message, self.help, self.operand = message, help, operand
        self.others, self.setting, self.within, self.code = tuple(others), setting, within, code


@dataclass(frozen=True, slots=True)
class Check:
    """A question about sizes that only a run can answer. `test` is `equal`, `divides` (right divides left) or
    `at_least` (left ≥ right)."""

    test: str
    left: int | Dim
    right: int | Dim
    message: str


@dataclass
class Need:
    """How a shape rule asks its questions: proved is silent, refuted raises Refusal, open becomes a run-time check."""

    open: list[Check] = field(default_factory=list)

    def equal(self, left: int | Dim, right: int | Dim, message: str, **blame: Any) -> None:
        self._ask(compare(left, right), Check("equal", left, right, message), blame)

    def divides(self, below: int | Dim, above: int | Dim, message: str, **blame: Any) -> None:
        self._ask(divides(below, above), Check("divides", above, below, message), blame)

    def at_least(self, size: int | Dim, least: int, message: str, **blame: Any) -> None:
        self._ask(at_least(size, least), Check("at_least", size, least, message), blame)

    def _ask(self, verdict: Verdict, check: Check, blame: dict) -> None:
        if verdict is Verdict.REFUTED:
            raise Refusal(check.message, **blame)
        if verdict is Verdict.OPEN and check not in self.open:
            self.open.append(check)

    @staticmethod
    def known(size: int | Dim, what: str, **blame: Any) -> int:
        """A size that must be a number (A0303 otherwise): the size of a weight."""
        if isinstance(size, int):
            return size
        raise Refusal(
            f"{what} must be known, but it is {size}",
            code="A0303",
            **{"help": "give the axis a fixed size where it enters, as in `H=224`", **blame},
        )


@dataclass(frozen=True, slots=True)
class Init:
    """How a weight starts. `kind` is an initialiser (`initialisers.py`), `values` are all its settings in order; or
    it is default: as PyTorch's own module starts it."""

    kind: str = "default"
    values: tuple[float | str, ...] = ()

    def __str__(self) -> str:
        shown = (f'"{v}"' if isinstance(v, str) else f"{v:g}" for v in self.values)
        return f"{self.kind}({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """One tensor that a layer owns. `role` is param (trained), buffer (saved) or scratch (neither). `code` computes a
    fixed buffer where it is made (`const`); `{device}` in it stands for the device. `tree` is the same
    as an expression over indices, for analyses."""

    name: str
    shape: tuple[int, ...]
    role: str = "param"
    dtype: str = "float"
    init: Init = Init()
    code: "Code | None" = None
    tree: tuple | None = field(default=None, compare=False)

    @property
    def said(self) -> str:
        """What a spec calls it: a weight that is normalised is kept under a longer name."""
        return self.name.removeprefix("parametrizations.").removesuffix(".original")

    @property
    def elements(self) -> int:
        total = 1
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class Code:
    """A fragment of Python: a `str.format` template and the literals that fill its named holes.

    `{0}`, `{1}` … stand for operands, `{all}` for all of them joined by commas, `{weight}` (any weight's name) for
    that weight's tensor or `None` where the layer has none, `{name}` for `values["name"]` printed as a literal (int,
    float, bool, str, None, tuples and lists of these, or a size), `{training}` for `self.training`. As keywords,
    `device={device}` and `dtype={dtype}` (of real numbers) make a tensor where the others are. An operand that the
    template repeats is put in as a name. The text may use `torch`, `nn`, `F` and `math`. Text of a spec may only ever
    stand in `values`, never in the template."""

    template: str
    values: dict[str, Any] = field(default_factory=dict)


def call(function: str, *args: Any, **kwargs: Any) -> Code:
    """`function(args, kwargs)` as Code. Strings like `"{0}"`, `"{all}"`, `"{weight}"` in `args` stay placeholders,
    every other value becomes a literal. A keyword given as a pair `Unless(value, default)` is left out when it has its
    default."""
    parts: list[str] = []
    values: dict[str, Any] = {}
    for i, value in enumerate(args):
        if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
            parts.append(value)
        else:
            values[f"arg{i}"] = value
            parts.append(f"{{arg{i}}}")
    for key, value in kwargs.items():
        if isinstance(value, Unless):
            if value.value == value.default:
                continue
            value = value.value
        if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
            parts.append(f"{key}={value}")
        else:
            values[key] = value
            parts.append(f"{key}={{{key}}}")
    return Code(f"{function}({', '.join(parts)})", values)


class Unless(NamedTuple):
    """A keyword of `call` that is left out when it equals what PyTorch assumes anyway."""

    value: Any
    default: Any


@dataclass(frozen=True)
class Example:
    """Settings, operand types and result types in the short form of `types.tensor`; run as a test.

    `values`: for operands that must hold special values: "index" (ints in [0, high)), "probability" (in [0, 1]),
    "positive", one per operand; `high` bounds "index"."""

    settings: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[str, ...] = ()
    high: int = 2

    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(tensor(text) for text in self.inputs)

    def output_types(self) -> tuple[TensorType, ...]:
        return tuple(tensor(text) for text in self.outputs)


class AxisMark(Mark):
    """Marks a setting that names an axis: in a spec `axis=T` or `axis=-1` stands for the axis, not for T's size."""


AxisRef = Annotated[int | str, AxisMark()]
SizeSetting = int | Dim  # a setting that may be symbolic: sizes of reshape, rearrange, expand


class Op(Declared):
    """Base of every op. A subclass's docstring is its documentation; its fields are its settings, in positional order.

    ClassVars to set: `name`, `glyph`, `operands` (names; a last one ending in `*` takes any number), `examples`.
    """

    name: ClassVar[str]
    glyph: ClassVar[Glyph]
    operands: ClassVar[tuple[str, ...]] = ("x",)
    optional: ClassVar[int] = 0  # so many of the last operands may be left out
    results: ClassVar[tuple[str, ...]] = ("y",)
    joins: ClassVar[bool] = False  # several tensors entering are first joined along the feature axis
    extra: ClassVar[str | None] = None  # the dict setting that takes keywords of any name (rearrange's sizes)
    random: ClassVar[bool] = False  # draws numbers: never merged, moved out of a loop or folded
    stateful: ClassVar[bool] = False  # updates buffers in training, or acts otherwise there
    hidden: ClassVar[bool] = False  # made by syntax (`a + b`), not a layer one can name
    regroups: ClassVar[bool] = False  # parts of an axis go elsewhere, and its relations tell of the outermost one only
    neutral: ClassVar[float | None] = None  # what it takes no notice of along axes that it sees all of (a sum: zero)
    leaves: ClassVar[float | None] = None  # what its result holds there, where it keeps the axis
    told_by_result: ClassVar[bool] = False  # its gradient follows exactly from its result alone
    numbers: ClassVar[bool] = False  # its call also takes plain Python numbers, when one operand is a tensor
    examples: ClassVar[tuple[Example, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__name__.startswith("_"):
            return  # an abstract base of a family
        missing = [what for what in ("name", "glyph") if not hasattr(cls, what)]
        missing += [] if cls.examples else ["examples"]
        missing += [] if cls.__doc__ else ["a docstring"]
        missing += [m for m in ("infer", "call", "relations") if getattr(cls, m) is getattr(Op, m)]
        if missing:
            raise TypeError(f"op {cls.__name__} lacks {', '.join(missing)}")
        if cls.name in REGISTRY and REGISTRY[cls.name].__qualname__ != cls.__qualname__:
            raise TypeError(f"two ops are called {cls.name}")
        REGISTRY[cls.name] = cls

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        """Types of the results. Asks `need`, raises Refusal."""
        raise NotImplementedError

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        """The tensors that it owns, in `state_dict` order."""
        return ()

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        """Which positions each result axis sees of each operand axis."""
        raise NotImplementedError

    def contracted(self, inputs: tuple[TensorType, ...]) -> tuple[frozenset[tuple[int, int]], ...]:
        """Axes of several operands, as (operand, axis), over whose products it sums: they belong together."""
        return ()

    def known(self) -> Known:
        """Of an op without operands: what is known of the elements of its result."""
        return NOTHING

    def flops(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int | Dim:
        """Floating-point operations of products and convolutions, two a multiply-add (the convention of
        torch.utils.flop_counter: everything else counts zero)."""
        return 0

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        """Bounds on the results, given bounds on the operands."""
        return tuple(ANY for _ in self.results)

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        """How to construct the nn.Module, for ops that have one. Its `state_dict` lists `weights` under the same names.

        None for an op with weights means that no nn.Module fits: emission then makes the parameters itself, by their
        specs (whose `init` must then be concrete), and uses `call`. None for an op that acts otherwise in training
        means that `call` says so with `{training}`."""
        return None

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        """The functional form: an expression over the operands (and `{weight}` placeholders)."""
        raise NotImplementedError

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code | None:
        """As `call`, with the result written over an operand; None where that can't be done."""
        return None

    def overwriting_module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        """As `module`, for one that writes its result over its operand."""
        return None

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        """Is its result memory of its own, which its gradient never reads? Then one who reads it alone may overwrite
        it."""
        return False

    @classmethod
    @cache
    def fields(cls) -> tuple[str, ...]:
        """Names of the settings, in positional order."""
        return tuple(cls.model_fields)

    @classmethod
    @cache
    def axis_settings(cls) -> frozenset[str]:
        """Names of the settings that name axes."""
        return frozenset(
            name for name, info in cls.model_fields.items() if any(isinstance(m, AxisMark) for m in info.metadata)
        )


REGISTRY: dict[str, type[Op]] = {}
"""The ops that have been imported, by name; `archlang.compiler.ops` knows all."""


def axis_index(x: TensorType, axis: int | str, *, operand: int = 0, setting: str = "axis") -> int:
    """Position of an axis, or a Refusal that lists what there is."""
    found = x.find(axis)
    if found is None:
        named = ", ".join(f"`{n}`" for n in x.names if n) or "none of its axes has a name"
        what = f"no axis `{axis}`" if isinstance(axis, str) else f"no axis {axis}; it has {x.rank}"
        raise Refusal(
            f"{x} has {what}", help=f"its named axes: {named}", operand=operand, setting=setting, code="A0302"
        )
    return found


def aligned(inputs: tuple[TensorType, ...], output: TensorType) -> Relations:
    """Relations of an elementwise op: trailing axes aligned, as broadcasting does; an axis of size 1 that is stretched
    is seen whole by every position."""
    table: Relations = {}
    for i, x in enumerate(inputs):
        shift = output.rank - x.rank
        for a, axis in enumerate(x.axes):
            stretched = axis.size == 1 and output.axes[a + shift].size != 1
            table[0, None if stretched else a + shift, i, a] = POINTWISE
    return table


def pointwise(
    x: TensorType, *, operand: int = 0, output: int = 0, changed: dict[int, Relation] | None = None
) -> Relations:
    """Relations of an op that keeps every axis in its place; `changed` gives those axes that are not pointwise."""
    changed = changed or {}
    return {(output, a, operand, a): changed.get(a, POINTWISE) for a in range(x.rank)}
