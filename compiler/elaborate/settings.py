"""From the settings in parentheses to an op with checked parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..declared import Called, Invalid
from ..diagnostics import ArchError, Diagnostic, did_you_mean, error
from ..initialisers import CONSTANTS, INITIALISERS, Initialiser, forms, needs_axes
from ..ops.base import Init, Op, WeightSpec
from ..sizes import Dim
from ..source import Span
from ..syntax import ast
from ..types import TensorType
from .builtins import BUILTINS
from .values import AxisName, describe, show, together

if TYPE_CHECKING:
    from .static import Evaluator

Kind = TypeVar("Kind", bound=Called)
Found = TypeVar("Found")


def read_init(e: ast.Expr, scope: Evaluator) -> Init:
    """`normal(0, 0.02)`, `kaiming_normal(mode="fan_out")`, `zeros`, or a number: how a weight starts."""
    if isinstance(e, ast.IfExpr):
        return read_init(e.yes if scope.truth(e.condition) else e.no, scope)
    name = e.function if isinstance(e, ast.Call) else e
    if isinstance(name, ast.Name) and not scope.has(name.text):
        found = INITIALISERS.get(name.text)
        if found is not None:
            return _initialiser(found, e, scope)
        if name.text in CONSTANTS and name is e:
            return Init("constant", (CONSTANTS[name.text],))
        if name.text not in BUILTINS:
            help = did_you_mean(name.text, [*INITIALISERS, *CONSTANTS]) or f"the initialisers: {forms()}"
            raise error("A0414", f"there is no initialiser `{name.span.text}`", e.span, help=help)
    value = scope.eval(e)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Init("constant", (float(value),))
    raise error(
        "A0414", f"a start is a number or an initialiser, found {describe(value)}", e.span, help=f"one of {forms()}"
    )


def _initialiser(kind: type[Initialiser], e: ast.Expr, scope: Evaluator) -> Init:
    made, _ = read_call(kind, e, scope)
    problem = made.problem()
    if problem:
        raise error("A0415", f"`{kind.name}`: {problem}; found `{e.span.text}`", e.span)
    return made.init()


def find_kind(e: ast.Expr, kinds: Mapping[str, Found], code: str, unknown: str) -> tuple[str, Found]:
    """What `name` or `name(settings)` asks for, and the name. Raises the code where there is no such kind; unknown: the
    message, up to the name."""
    called = e.function if isinstance(e, ast.Call) else e
    name = called.text if isinstance(called, ast.Name) else called.span.text
    if name not in kinds:
        help = did_you_mean(name, kinds) or f"there are {', '.join(f'`{kind}`' for kind in kinds)}"
        raise error(code, f"{unknown} `{name}`", called.span, help=help)
    return name, kinds[name]


def read_call(kind: type[Kind], e: ast.Expr, scope: Evaluator) -> tuple[Kind, dict[Any, Span]]:
    """`normal(0, std=0.02)`, or a name alone: the settings, checked, and where each stands by position and name."""
    given = e.arguments if isinstance(e, ast.Call) else ()
    spans: dict[Any, Span] = {a.name if a.name is not None else i: a.span for i, a in enumerate(given)}
    values = together(*(partial(scope.eval, a.value) for a in given))
    args = tuple(value for a, value in zip(given, values, strict=True) if a.name is None)
    kwargs = tuple((a.name, value) for a, value in zip(given, values, strict=True) if a.name is not None)
    settings, found = _by_name(args, kwargs, kind, spans, e.span)
    try:
        made = kind(**settings)
    except Invalid as failure:
        found += (d for d in _explain(kind, settings, failure, spans, e.span) if not (found and d.code == "A0207"))
    if found:
        raise ArchError(*found)
    return made, spans


def check_start(spec: WeightSpec, span: Span, layer: str = "") -> None:
    """Refuses a start that counts what enters and leaves, for a weight that has no two axes (A0420)."""
    if len(spec.shape) < 2 and needs_axes(spec.init):
        owner = f" of `{layer}`" if layer else ""
        raise error(
            "A0420",
            f"`{spec.init.kind}` needs a weight of at least two axes, but `{spec.name}`{owner} is {list(spec.shape)}",
            span,
            help="start it with a number, `normal(mean, std)` or `uniform(a, b)`",
        )


def named_settings(
    args: tuple, kwargs: tuple, op: type[Op] | type[Called], spans: dict[Any, Span], place: Span
) -> dict[str, Any]:
    """Positional settings by name; refuses too many, unknown and doubled ones."""
    settings, found = _by_name(args, kwargs, op, spans, place)
    if found:
        raise ArchError(*found)
    return settings


def _by_name(
    args: tuple, kwargs: tuple, op: type[Op] | type[Called], spans: dict[Any, Span], place: Span
) -> tuple[dict[str, Any], list[Diagnostic]]:
    """Positional settings by name, and what is wrong with others."""
    fields = op.fields()
    found: list[Diagnostic] = []
    settings: dict[str, Any] = {}
    positional = [f for f in fields if f != op.extra]
    if len(args) > len(positional):
        takes = f"{len(positional)} settings ({', '.join(positional)})" if positional else "no settings"
        found.append(
            Diagnostic(
                "A0205",
                f"`{op.name}` takes {takes}, found {len(args)}",
                spans.get(len(positional), place),
                help="settings stand in parentheses, tensors before the arrow" if not positional else None,
            )
        )
    settings.update(zip(positional, args, strict=False))
    extra: dict[str, Any] = {}
    for name, value in kwargs:
        where = spans.get(name, place)
        if name in settings:
            found.append(Diagnostic("A0206", f"`{name}` of `{op.name}` is given twice", where))
        elif name in fields and name != op.extra:
            settings[name] = value
        elif op.extra is not None:
            extra[name] = value
        else:
            options = [f for f in fields if f != op.extra]
            help = did_you_mean(name, options)
            listing = ", ".join(f"`{f}`" for f in options)
            found.append(
                Diagnostic(
                    "A0205",
                    f"`{op.name}` has no setting `{name}`",
                    where,
                    help=help or (f"its settings: {listing}" if options else f"`{op.name}` has no settings"),
                )
            )
    if op.extra is not None:
        settings[op.extra] = extra
    return settings, found


def make_op(
    op: type[Op], settings: dict[str, Any], operands: tuple[TensorType, ...], scope, spans: dict, place: Span
) -> Op:
    """The op with its settings checked. `scope(name)` is the static value of a name, for axes."""
    for name in op.axis_settings():
        if name in settings:
            settings[name] = _axes(settings[name], operands, scope)
    try:
        return op(**settings)
    except Invalid as failure:
        raise ArchError(*_explain(op, settings, failure, spans, place)) from None


def _axes(value: Any, operands: tuple[TensorType, ...], scope) -> Any:
    if isinstance(value, tuple):
        return tuple(_axes(v, operands, scope) for v in value)
    if not isinstance(value, AxisName):
        return value
    if any(value.text in t.names for t in operands):
        return value.text
    bound = scope(value.text)
    return bound if isinstance(bound, int) and not isinstance(bound, bool) else value.text


def _explain(
    op: type[Op] | type[Called], settings: dict[str, Any], failure: Invalid, spans: dict, place: Span
) -> list[Diagnostic]:
    fields = list(op.fields())
    seen: set[str] = set()
    result = []
    for problem in failure.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in seen:
            continue
        seen.add(name)
        about = op.model_fields[name].description if name in op.model_fields else None
        where = spans.get(name) or spans.get(fields.index(name) if name in fields else None) or place
        if problem["type"] == "missing":
            form = f"{op.name}({', '.join(f for f in fields if op.model_fields[f].is_required())}, …)"
            result.append(
                Diagnostic(
                    "A0207",
                    f"`{op.name}` needs its `{name}`" + (f": {about}" if about else ""),
                    place,
                    help=f"write `{form}`",
                )
            )
            continue
        value = settings.get(name)
        if isinstance(value, Dim):
            result.append(
                Diagnostic(
                    "A0303",
                    f"`{name}` of `{op.name}` must be known, but it is {value}",
                    where,
                    help="give the axis a fixed size where it enters the network, as in `H=224`",
                )
            )
            continue
        shown = describe(value) if not isinstance(value, (int, float, str, tuple)) else show(value)
        wanted = _wanted(op, name, failure)
        result.append(
            Diagnostic(
                "A0415",
                f"`{name}` of `{op.name}` must be {wanted}; found {shown}",
                where,
                help=f"`{name}`: {about}" if about else None,
            )
        )
    return result


_SIMPLE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a set of named sizes",
    "none_required": "none",
    "finite_number": "a finite number",
}


def _wanted(op: type[Op] | type[Called], name: str, failure: Invalid) -> str:
    """What the setting's type accepts, in words: every alternative that was tried."""
    words: list[str] = []
    for problem in failure.errors():
        if not problem["loc"] or str(problem["loc"][0]) != name:
            continue
        kind, context = problem["type"], problem.get("ctx", {})
        word = _SIMPLE.get(kind)
        if word is None:
            word = {
                "greater_than": f"greater than {context.get('gt')}",
                "greater_than_equal": f"at least {context.get('ge')}",
                "less_than": f"less than {context.get('lt')}",
                "less_than_equal": f"at most {context.get('le')}",
                "literal_error": f"one of {str(context.get('expected', '')).replace(chr(39), chr(34))}",
                "too_short": f"a list of at least {context.get('min_length')}",
                "too_long": f"a list of at most {context.get('max_length')}",
            }.get(kind)
        if word is None and kind == "is_instance_of":
            word = None if context.get("class") == "Dim" else f"a {str(context.get('class', 'value')).lower()}"
        elif word is None:
            word = problem["msg"].removeprefix("Value error, ")
        if word and word not in words:
            words.append(word)
    return " or ".join(words) or "another kind of value"
