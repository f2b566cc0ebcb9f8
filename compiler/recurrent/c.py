"""A recurrence as C: three functions, `infer`, `train` and `back`, that walk all steps.

Each takes a structure of pointers and numbers (`fields` says which, in order), the number of threads, how many rows of
the batch are walked together, and the address of OpenMP's `GOMP_parallel` or 0. The result is not 0 where memory was
short. The batch is split over threads around the whole walk, so that they need not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .c_regions import RegionText, vector
from .c_text import common
from .plan import Hoisted, Plan, Region, Run


@dataclass(frozen=True)
class Source:
    """text: the C source. fields: of the structures of `infer` and `train`, and of `back`. A name that ends in `_t`,
    `_b` or `_row` or stands in NUMBERS is a number, all others are pointers."""

    text: str
    forward: tuple[str, ...]
    backward: tuple[str, ...]


NUMBERS = ("T", "B", "start", "stop", "reverse")


def source(plan: Plan, double: bool = False) -> Source:
    """The source of a plan, for float or double."""
    forward, backward = tuple(_forward_fields(plan)), tuple(_backward_fields(plan))
    lines = [common(double), *_structure("forward", forward), *_structure("backward", backward), *_products(plan)]
    lines += _walk(plan, "infer", plan.inference)
    lines += _walk(plan, "train", plan.training)
    lines += _back(plan)
    return Source("\n".join(lines) + "\n", forward, backward)


def is_number(field: str) -> bool:
    """Is this field of a structure a number?"""
    return field in NUMBERS or field.endswith(("_t", "_b", "_row"))


def whole(plan: Plan, training: bool) -> list[bool]:
    """Which states are kept for all steps, not only for two."""
    shared = set(plan.shared_outputs.values())
    return [training or state in shared for state in plan.equations.states]


# --- Structures ---------------------------------------------------------------------------------------------------


def _common_fields(plan: Plan) -> Iterator[str]:
    eq = plan.equations
    yield from ("T", "B", "reverse", "tape_row", "mask", "tape")
    for at in range(len(eq.inputs)):
        yield from (f"input{at}", f"input{at}_t", f"input{at}_b")
    yield from (f"constant{at}" for at in range(len(eq.constants)))
    yield from (f"state{at}" for at in range(len(eq.states)))
    yield from (f"weight{at}" for at, shape in enumerate(eq.weights.values()) if len(shape) == 1)


def _forward_fields(plan: Plan) -> Iterator[str]:
    yield from _common_fields(plan)
    yield from (f"hoisted{at}" for at in range(len(plan.hoisted)))
    yield from (f"packed{at}" for at in range(len(plan.groups)))
    for at in range(len(plan.equations.outputs)):
        if at not in plan.shared_outputs:
            yield from (f"output{at}", f"output{at}_t", f"output{at}_b")


def _backward_fields(plan: Plan) -> Iterator[str]:
    eq = plan.equations
    yield from _common_fields(plan)
    yield from ("start", "stop")
    yield from (f"packed{at}" for at in range(len(plan.runs)))
    for at in range(len(eq.outputs)):
        yield from (f"given{at}", f"given{at}_t", f"given{at}_b")
    yield from (f"last{at}" for at in range(len(eq.states)))
    yield from (f"first{at}" for at in range(len(eq.states)))
    yield from ("adjoints", "totals")
    yield from (f"to_input{at}" for at in range(len(eq.inputs)))
    yield from (f"to_constant{at}" for at in range(len(eq.constants)))


def _structure(name: str, fields: tuple[str, ...]) -> Iterator[str]:
    yield "typedef struct {"
    for field in fields:
        kind = "int64_t " if is_number(field) else "const uint8_t *" if field == "mask" else "real *"
        yield f"  {kind}{field};"
    yield f"}} {name};"


# --- Products -----------------------------------------------------------------------------------------------------


def _total(plan: Plan, products: tuple[tuple[str, Any], ...]) -> int:
    return sum(plan.widths[name] for name, _ in products)


def _joined(plan: Plan, hoisted: Hoisted) -> int:
    return sum(plan.widths[name] for name in hoisted.operands)


def _stride(plan: Plan, hoisted: Hoisted) -> int:
    """How far two rows of joined inputs are from each other: as far as those of a state where that is no waste, for
    each distance takes a while to compile. Rows that are a page apart would share a place in the first cache."""
    width = _joined(plan, hoisted)
    others = {plan.flat.widths[group.node] for group in plan.groups}
    return min((n for n in others if width <= n <= 8 * width and n % 1024), default=width)


def _products(plan: Plan) -> Iterator[str]:
    steps = {plan.flat.widths[group.node] for group in plan.groups}
    steps |= {_stride(plan, hoisted) for hoisted in plan.hoisted}
    yield from (f"PRODUCT({step})" for step in sorted(steps | ({plan.columns_width} if plan.runs else set())))


# --- Forward ------------------------------------------------------------------------------------------------------


def _opening(kind: str, structure: str, sizes: dict[str, int], ahead: dict[str, int]) -> Iterator[str]:
    """sizes: of rows of scratch memory by name, one for each example of a tile. ahead: of those with one for each of
    some steps."""
    total, declared = "0", []
    for table, rows in ((sizes, "rows"), (ahead, "many")):
        for name, width in table.items():
            declared.append(f"  real *{name} = scratch + {total};")
            total += f" + {rows} * PAD({width})"
    yield f"static size_t {kind}_scratch(long rows, long many) {{ (void)many; return {total}; }}"
    yield f"static void {kind}_tile(const void *call, long b0, long b1, long tile, real *scratch) {{"
    yield f"  const {structure} *u = call;"
    yield "  const long rows = b1 - b0, ahead = MANY(rows) / rows, many = ahead * rows;"
    yield "  (void)tile; (void)scratch; (void)many;"
    yield from declared


def _closing(kind: str) -> Iterator[str]:
    yield "}"
    yield f"int {kind}(const void *call, long batch, long size, long threads, void *parallel) {{"
    yield f"  crew c = {{{kind}_tile, call, 0, batch, size, {kind}_scratch(size, MANY(size)), 0}};"
    yield "  return run(&c, threads, parallel);"
    yield "}"


def _states(plan: Plan, full: list[bool]) -> Iterator[str]:
    """Where the states before and after a step lie."""
    yield "const long t = u->reverse ? u->T - 1 - s : s;"
    yield "const long from = u->reverse ? u->T - s : s, into = u->reverse ? u->T - 1 - s : s + 1;"
    yield "(void)from; (void)into;"
    for at, width in enumerate(plan.equations.states.values()):
        a, b = ("from", "into") if full[at] else ("(s & 1)", "(~s & 1)")
        yield f"const real *before{at} = u->state{at} + {a} * u->B * {width};"
        yield f"real *after{at} = u->state{at} + {b} * u->B * {width};"
        yield f"(void)before{at}; (void)after{at};"


def _walk(plan: Plan, kind: str, regions: tuple[Region, ...]) -> Iterator[str]:
    sizes = {f"group{at}": _total(plan, group.products) for at, group in enumerate(plan.groups)}
    for region in regions:
        for sink in region.sinks:
            if sink.kind in ("operand", "carry"):
                sizes[f"{sink.kind}{sink.at}"] = plan.flat.widths[sink.node]
    ahead = {f"joined{at}": _stride(plan, hoisted) for at, hoisted in enumerate(plan.hoisted)}
    ahead |= {f"ahead{at}": _total(plan, hoisted.products) for at, hoisted in enumerate(plan.hoisted)}
    yield from _opening(kind, "forward", sizes, ahead)
    yield "  for (long s = 0, first = 0; s < u->T; ++s) {"
    yield from (f"    {line}" for line in _hoist(plan))
    yield from (f"    {line}" for line in _states(plan, whole(plan, kind == "train")))
    texts = {region.level: RegionText(plan, region, False) for region in regions}
    for level in range(plan.last + 1):
        for at, group in enumerate(plan.groups):
            if group.stage == level:
                width = plan.flat.widths[group.node]
                shape = f"{width}, {_total(plan, group.products)}"
                yield f"    product{width}({_operand(plan, at)}, u->packed{at}, {shape}, group{at}, rows, 0);"
        if level in texts:
            yield from (f"    {line}" for line in texts[level].lines())
    yield from (f"    {line}" for line in _carried(plan, kind == "train"))
    yield "  }"
    yield from _closing(kind)


def _hoist(plan: Plan) -> Iterator[str]:
    """The products of inputs, of `ahead` steps at once."""
    yield "if (s % ahead == 0) {"
    yield "  first = s;"
    yield "  const long stop = s + ahead < u->T ? s + ahead : u->T;"
    yield "  for (long r = s; r < stop; ++r) for (long b = b0; b < b1; ++b) {"
    yield "    const long t = u->reverse ? u->T - 1 - r : r, row = (r - s) * rows + b - b0;"
    for at, hoisted in enumerate(plan.hoisted):
        column, step = 0, _stride(plan, hoisted)
        for name in hoisted.operands:
            to, part = f"joined{at} + row * {step} + {column}", plan.widths[name]
            yield f"    memcpy({to}, {vector(plan, name)}, {part} * sizeof(real));"
            column += part
    yield "    (void)t; (void)row;"
    yield "  }"
    for at, hoisted in enumerate(plan.hoisted):
        call = f"product{_stride(plan, hoisted)}(joined{at}, u->hoisted{at}, {_joined(plan, hoisted)}"
        yield f"  {call}, {_total(plan, hoisted.products)}, ahead{at}, (stop - s) * rows, 0);"
    yield "}"


def _operand(plan: Plan, at: int) -> str:
    node = plan.groups[at].node
    if plan.flat.kinds[node] != "state":
        return f"operand{at}"
    number = list(plan.equations.states).index(plan.flat.names[node])
    return f"before{number} + b0 * {plan.flat.widths[node]}"


def _carried(plan: Plan, training: bool) -> Iterator[str]:
    """What a masked step leaves: states as they were, no output, nothing on the tape that is no number."""
    yield "if (u->mask) for (long b = b0; b < b1; ++b) if (!u->mask[b * u->T + t]) {"
    for at, width in enumerate(plan.equations.states.values()):
        yield f"  memcpy(after{at} + b * {width}, before{at} + b * {width}, {width} * sizeof(real));"
    for at, name in enumerate(plan.equations.outputs):
        if at not in plan.shared_outputs:
            place = f"u->output{at} + t * u->output{at}_t + b * u->output{at}_b"
            yield f"  memset({place}, 0, {plan.widths[name]} * sizeof(real));"
    if training:
        yield "  memset(u->tape + (t * u->B + b) * u->tape_row, 0, (size_t)u->tape_row * sizeof(real));"
    yield "}"


# --- Backward -----------------------------------------------------------------------------------------------------


def _back(plan: Plan) -> Iterator[str]:
    states = plan.equations.states
    sizes = {f"later{at}": width for at, width in enumerate(states.values())}
    sizes |= {f"earlier{at}": width for at, width in enumerate(states.values())}
    for at, group in enumerate(plan.groups):
        if plan.flat.kinds[group.node] != "state":
            sizes[f"pull{at}"] = plan.flat.widths[group.node]
    yield from _opening("back", "backward", sizes, {})
    for at, width in enumerate(states.values()):
        yield "  for (long b = 0; b < rows; ++b)"
        yield f"    memcpy(later{at} + b * PAD({width}), u->last{at} + (b0 + b) * {width}, {width} * sizeof(real));"
    yield "  for (long s = u->stop - 1; s >= u->start; --s) {"
    yield from (f"    {line}" for line in _states(plan, whole(plan, True)))
    yield from (f"    {line}" for line in _cleared(plan))
    texts = {region.level: RegionText(plan, region, True) for region in plan.backward}
    for level in range(plan.last, -1, -1):
        if level in texts:
            yield from (f"    {line}" for line in texts[level].lines())
        yield from (f"    {line}" for line in _pulls(plan, level, texts))
    yield from (f"    {line}" for line in _passed(plan))
    yield "  }"
    for at, width in enumerate(states.values()):
        yield "  for (long b = 0; b < rows; ++b)"
        yield f"    memcpy(u->first{at} + (b0 + b) * {width}, later{at} + b * PAD({width}), {width} * sizeof(real));"
    yield from _closing("back")


def _cleared(plan: Plan) -> Iterator[str]:
    """Adjoints that no masked example has, and those of states that nothing reads."""
    yield "if (u->mask) for (long b = b0; b < b1; ++b) if (!u->mask[b * u->T + t]) {"
    if plan.columns:
        width = plan.columns_width
        yield f"  memset(u->adjoints + (t * u->B + b) * {width}, 0, {width} * sizeof(real));"
    for at, (name, width) in enumerate(plan.equations.inputs.items()):
        if plan.values[name] in plan.adjoints:
            yield f"  memset(u->to_input{at} + (t * u->B + b) * {width}, 0, {width} * sizeof(real));"
    yield "}"
    pulled = {run.node for run in plan.runs}
    for at, (name, width) in enumerate(plan.equations.states.items()):
        if plan.values[name] not in plan.adjoints and plan.values[name] not in pulled:
            yield f"memset(earlier{at}, 0, (size_t)(rows * PAD({width})) * sizeof(real));"
    for at, group in enumerate(plan.groups):
        if plan.flat.kinds[group.node] != "state" and group.node not in pulled:
            width = plan.flat.widths[group.node]
            yield f"memset(pull{at}, 0, (size_t)(rows * PAD({width})) * sizeof(real));"


def _pulls(plan: Plan, level: int, texts: dict[int, RegionText]) -> Iterator[str]:
    """The products that follow a region of the backward pass."""
    done: set[int] = set()
    for at, run in enumerate(plan.runs):
        group = next(i for i, g in enumerate(plan.groups) if g.node == run.node)
        if plan.groups[group].stage == level:
            place, adds = _pulled(plan, run, group, texts)
            adds = adds or run.node in done
            done.add(run.node)
            row = f"u->adjoints + (t * u->B + b0) * {plan.columns_width} + {run.column}"
            shape = f"{_total(plan, run.products)}, {plan.flat.widths[run.node]}"
            yield f"product{plan.columns_width}({row}, u->packed{at}, {shape}, {place}, rows, {int(adds)});"


def _pulled(plan: Plan, run: Run, group: int, texts: dict[int, RegionText]) -> tuple[str, bool]:
    if plan.flat.kinds[run.node] != "state":
        return f"pull{group}", False
    name = plan.flat.names[run.node]
    sinks = [s for level, text in texts.items() if level > 0 for s in text.region.sinks]
    adds = any(sink.kind == "state" and sink.name == name for sink in sinks)
    return f"earlier{list(plan.equations.states).index(name)}", adds


def _passed(plan: Plan) -> Iterator[str]:
    """Adjoints of states pass a masked step as they are; then what was earlier is later."""
    for at, width in enumerate(plan.equations.states.values()):
        yield "if (u->mask) for (long b = b0; b < b1; ++b) if (!u->mask[b * u->T + t])"
        row = f"(b - b0) * PAD({width})"
        yield f"  memcpy(earlier{at} + {row}, later{at} + {row}, {width} * sizeof(real));"
        yield f"{{ real *swap = later{at}; later{at} = earlier{at}; earlier{at} = swap; }}"
