"""Settings of a `train` block that only make sense together, and with the network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

from .analysis.gradients import Gradients
from .augmentations import CutMix, Mixup
from .carrying import check_carry, check_streams
from .data_sources import Csv, normalization
from .diagnostics import Diagnostic, Label
from .game_training import check_game
from .given_noise import default_entry, pictures, points, translations
from .graph import Program
from .learning import Tree, within
from .task import TaskKind, find_task
from .training_plan import Constant, Plateau, TrainPlan
from .weighing import class_losses, takes_shares

Check = TypeVar("Check")


def check_block(found: TrainPlan, program: Program | None, unknown: Collection[str] = ()) -> Iterator[Diagnostic]:
    """What is wrong with the settings that all phases share. program: None when it is wrong itself. unknown: keys of
    settings that could not be read, whose defaults merely stand in for them."""
    for check in _fit(_BLOCK, unknown):
        yield from check(found)
    if program is not None:
        for asked in _fit(_BLOCK_OF, unknown):
            yield from asked(found, program)


def check_stage(
    stage: TrainPlan, program: Program | None, unknown: Collection[str] = (), *, game: bool
) -> Iterator[Diagnostic]:
    """What is wrong with the settings of a phase, those that it shares included. As `check_block`. game: is it one?"""
    if game:
        yield from check_game(stage, unknown)
        stage = stage.replace(early_stop=None, schedule=Constant())
    for check in _fit(_STAGE, unknown):
        yield from check(stage)
    if program is not None:
        tree = Tree(program)
        for asked in _fit(_STAGE_OF, unknown):
            yield from asked(stage, program, tree)


def _fit(checks: Iterable[tuple[tuple[str, ...], Check]], unknown: Collection[str]) -> Iterator[Check]:
    """The checks that read none of the keys that are not known."""
    return (check for keys, check in checks if not any(key in unknown for key in keys))


def _held(found: TrainPlan) -> Iterator[Diagnostic]:
    held = found.validation + found.test
    if held >= 1:
        yield Diagnostic(
            "A1007",
            f"validation and test together take {held:g} of the examples: nothing is left to learn from",
            found.place("test") or found.place("validation"),
        )


def _columns(found: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    if isinstance(found.data, Csv) and found.data.target is None and program.target_nodes():
        node = program.graph[program.target_nodes()[0]]
        message = f"`csv` needs `target`: `{program.name}` has the target `{node.name}`"
        yield Diagnostic("A1005", message, found.place("data"), help='write `csv(…, target="column")`')


def _scaled(found: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    if find_task(program).shares and normalization(found) != "none":
        yield Diagnostic(
            "A1007",
            "the loss compares with inputs in [0, 1], and inputs are scaled to other numbers",
            found.place("normalize") or found.place("data"),
            help="write `normalize none`, and see that the data lie in [0, 1]",
        )


def _skill(found: TrainPlan) -> Iterator[Diagnostic]:
    if "skill" in found.metric and getattr(found.data, "season", None) is None:
        names = "`series`, `sunspots` and `co2`"
        yield Diagnostic(
            "A1056",
            "`skill` compares with repeating the last season, and nothing says how long a season is",
            found.place("metric"),
            help=f"give the data a `season`, as in `season=12`; {names} take one",
        )


def _watched(stage: TrainPlan) -> Iterator[Diagnostic]:
    watching = {"early_stop": stage.early_stop is not None, "schedule": isinstance(stage.schedule, Plateau)}
    for key, on in watching.items():
        written = stage.place("validation")
        if stage.validation == 0 and on and written is not None:  # a game has none unless it asks for one
            labels = (Label(written, "set to nothing here"),)
            message = f"`{key}` watches the validation part, and there is none"
            yield Diagnostic("A1007", message, stage.places[key], labels)


def _fading(stage: TrainPlan) -> Iterator[Diagnostic]:
    for name, length in stage.fade:
        if length > stage.epochs:
            phase = f"phase `{stage.name}`" if stage.name else "training"
            message = f"`{name}` fades in over {length:g} epochs, and {phase} has {stage.epochs}"
            help = "what is measured and used has it at 1"
            yield Diagnostic("A0912", message, stage.places[f"fade {name}"], help=help)


def _blended(stage: TrainPlan, program: Program, tree: Tree) -> Iterator[Diagnostic]:
    blends = [one.kind for one in stage.augment if isinstance(one, (Mixup, CutMix))]
    task = find_task(program)
    if blends and not (task.kind is TaskKind.MULTICLASS and task.classes is not None and takes_shares(program)):
        yield Diagnostic(
            "A1036",
            f"`{blends[0]}` blends targets, and only `cross_entropy` of one class an example takes blended ones",
            stage.place("augment"),
            help="leave it out, or learn with `(logits, label) -> cross_entropy` alone, without `ignore`",
        )


def _freeze(stage: TrainPlan, program: Program, tree: Tree) -> Iterator[Diagnostic]:
    freeze, span = stage.freeze, stage.place("freeze")
    if freeze is None:
        return
    for path in freeze.excepted:
        if not freeze.all and not any(within(key, freeze.paths) for key in tree.parameters if within(key, (path,))):
            place = stage.place(f"freeze except {path}") or span
            yield Diagnostic("A1009", f"`{path}` is not among what is frozen: the exception changes nothing", place)
    if not any(freeze.covers(key) for key in tree.parameters):
        if freeze.paths or freeze.all:
            yield Diagnostic("A1009", "this freezes nothing that learns", span, help="write `freeze none`")
    elif all(freeze.covers(key) for key in tree.parameters):
        last = tree.parameters[-1].rpartition(".")[0]
        help = f"leave something out, as in `freeze all except {last}`" if last else None
        yield Diagnostic(
            "A1009", f"everything in `{program.name}` is frozen: nothing is left to learn", span, help=help
        )


def _learns(stage: TrainPlan, program: Program, tree: Tree) -> Iterator[Diagnostic]:
    """Does a loss reach something that learns? Games have asked that of every player."""
    graph, span = program.graph, stage.place("network")
    declared = (Label(program.span, "this network"),) if program.span is not None else ()
    if not graph.losses:
        message = f"`{program.name}` has no `loss`: nothing says what to learn"
        help = "such as `loss nll = (logits, label) -> cross_entropy`"
        yield Diagnostic("A1028", message, span, declared, help)
        return
    learning = {key for key in tree.parameters if stage.freeze is None or not stage.freeze.covers(key)}
    found = Gradients().of(graph, frozenset(graph.operands(number)[0] for number in graph.losses))
    frozen = bool(tree.parameters) and not learning  # all of it, which `_freeze` says
    if program.game is not None or frozen or not found.weights.isdisjoint(learning):
        return
    stops = sorted(found.stops, key=lambda stop: stop.start)
    labels = tuple(Label(stop, "no gradient passes here") for stop in stops) or declared
    if found.weights.isdisjoint(tree.parameters):
        message = f"no loss of `{program.name}` sends a gradient to anything that learns"
        yield Diagnostic("A1028", message, span, labels, "compute a loss from what layers with weights give")
    else:
        message = f"everything that losses of `{program.name}` send a gradient to is frozen"
        yield Diagnostic("A1028", message, stage.place("freeze") or span, (), "leave out of `freeze` what is to learn")


def _rates(stage: TrainPlan, program: Program, tree: Tree) -> Iterator[Diagnostic]:
    for path, _ in stage.lr:
        keys = [key for key in tree.parameters if within(key, (path,))]
        place = stage.place(f"lr {path}")
        if not keys:
            yield Diagnostic("A1009", f"`{path}` has a learning rate, and nothing in it learns", place)
        elif stage.freeze is not None and all(map(stage.freeze.covers, keys)):
            frozen = stage.place("freeze")
            labels = (Label(frozen, "frozen here"),) if frozen is not None else ()
            yield Diagnostic("A1007", f"`{path}` has a learning rate, and is frozen", place, labels)


def _samples(found: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    entry, span = default_entry(program), found.place("samples")
    if found.samples is None or (entry is None and translations(program)):
        return
    if entry is None:
        help = "declare one: `entry generate { sample z ~ normal(0, 1): [b, latent]  output … }`"
        message = f"`samples` looks at what is made from noise or pictures, and `{program.name}` has no entry for that"
        yield Diagnostic("A1095", message, span, help=help)
        return
    made = entry[entry.outputs[0]].types[0]
    if not pictures(made) and not points(made):
        labels = (Label(entry.span, "made here"),) if entry.span is not None else ()
        message = f"`samples` draws pictures [B, 1 or 3, H, W] or points [B, 2], and `{entry.name}` makes {made}"
        yield Diagnostic("A1095", message, span, labels, "leave it out")


def _class_weights(found: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    if found.class_weights == "none" or program.game is not None:
        return
    span, losses, task = found.place("class_weights"), class_losses(program), find_task(program)
    if not losses:
        help = "for yes-or-no, give `bce_with_logits` a `pos_weight`"
        yield Diagnostic(
            "A1035", f"`class_weights` weighs `cross_entropy`, and `{program.name}` has none", span, help=help
        )
        return
    given = [program.graph[number].span for number, op in losses.items() if op.weight is not None]
    if given:
        labels = tuple(Label(place, "weighs classes itself") for place in given if place is not None)
        yield Diagnostic("A1035", "the loss and `class_weights` both weigh the classes", span, labels, "keep one")
    weights = found.class_weights
    if isinstance(weights, tuple):
        if task.classes is not None and len(weights) != task.classes:
            message = f"`class_weights` lists {len(weights)} factors, and the network scores {task.classes} classes"
            yield Diagnostic("A1035", message, span, help="one factor a class, in the order of their names")
        elif not any(weights):
            yield Diagnostic("A1035", "every class has the weight 0: nothing is left to learn", span)


# What the settings of some keys are asked together: alone, with the network, and with its module tree.
_BLOCK = (
    (("validation", "test"), _held),
    (("carry", "data", "shuffle", "sampler"), check_streams),
    (("metric", "data"), _skill),
)
_BLOCK_OF = (
    (("class_weights",), _class_weights),
    (("samples",), _samples),
    (("carry",), check_carry),
    (("data",), _columns),
    (("data", "normalize"), _scaled),
)
_STAGE = (
    (("early_stop", "schedule", "validation"), _watched),
    (("fade", "epochs"), _fading),
)
_STAGE_OF = (
    (("freeze",), _freeze),
    (("freeze",), _learns),
    (("lr", "freeze"), _rates),
    (("augment",), _blended),
)
