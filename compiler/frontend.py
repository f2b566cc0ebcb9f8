"""The whole front end: from a source to checked programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import ArchError, Diagnostic, Severity, Sink, did_you_mean, error
from .elaborate.names import FileScope, Loader
from .elaborate.scope import resolve_configuration
from .elaborate.session import Session, bind_parameters
from .elaborate.starts import unused as unused_starts
from .elaborate.statements import Body
from .elaborate.static import Evaluator
from .elaborate.trees import walk
from .elaborate.unused import check_unused
from .elaborate.values import Global, Poisoned, Recipe
from .graph import Graph, Program
from .source import Source, Span
from .syntax import ast
from .training_values import Variant, as_set

if TYPE_CHECKING:
    from .analysis.receptive import Receptive


@dataclass(frozen=True)
class ParameterText:
    """A static parameter as a user typed it: `[2, 2]`, `Bottleneck`, `0.5`."""

    text: str


@dataclass
class Checked:
    """What became of a file: its programs that are right, and everything there is to say."""

    file: ast.File | None
    programs: dict[str, Program] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(d.severity == "error" for d in self.diagnostics)


class Frontend:
    """One file, read; programs are compiled from it on demand."""

    def __init__(self, source: Source, base: Path | None = None) -> None:
        self.sink = Sink()
        self.source = source
        self.session = Session(self.sink)
        key = str((base / source.name).resolve()) if base is not None else source.name
        self.scope: FileScope = Loader(self.sink, base, source.name).load(source, key, base)

    @cached_property
    def receptive(self) -> Receptive:
        """What values see, of all blocks of the file that anything was asked about."""
        from .analysis.receptive import Receptive

        return Receptive()

    def networks(self) -> dict[str, Global]:
        """What the file itself declares as entry points."""
        found = {}
        for item in self.scope.file.items:
            if isinstance(item, (ast.Definition, ast.Configuration)) and item.kind in ("network", "adversarial"):
                found[item.name.text] = self.scope.names[item.name.text]
        return found

    def choose(self, name: str | None) -> Global:
        """The network to compile: the one named, the only one, or the only one that the file trains."""
        networks = self.networks()
        if name is not None:
            if name in networks:
                return networks[name]
            kind = self.scope.names.get(name)
            what = f"`{name}` is no network" if kind is not None else f"this file declares no network `{name}`"
            listing = ", ".join(f"`{n}`" for n in networks) or "none"
            where = kind.item.name.span if kind is not None else None
            raise error("A0704", what, where, help=did_you_mean(name, networks) or f"its networks: {listing}")
        trained = {trained_name(t) for t in self.scope.trains}
        for pool in (list(networks), sorted(name for name in networks if name in trained)):
            if len(pool) == 1:
                return networks[pool[0]]
        if not networks:
            raise error("A0704", f"{self.source.name} declares no network", help="a program starts at a `network`")
        listing = ", ".join(f"`{n}`" for n in networks)
        raise error(
            "A0704",
            f"{self.source.name} declares several networks: {listing}",
            help=f"say which: `{self.source.name}:{next(iter(networks))}`",
        )

    def program(
        self, target: Global, parameters: Mapping[str, Any] | None = None, spans: Mapping[str, Span] | None = None
    ) -> Program:
        """A network as a program. spans: where parameters were given, if it was in a text.

        Raises ArchError, or Poisoned when the errors are in the sink."""
        place = target.item.name.span
        configuration = target.item if isinstance(target.item, ast.Configuration) else None
        given = {k: self._parameter(k, v) for k, v in (parameters or {}).items()}
        recipe = Recipe(target, (), tuple(given.items()), place)
        definition, recipe = resolve_configuration(self.session, target, recipe, place)
        item = definition.definition
        graph = Graph(target.name, "network", span=place)
        body = Body(self.session, definition.file, graph)
        arguments = bind_parameters(
            item, recipe, lambda p, so_far: body.default(definition, p, so_far), dict(spans or {}), place
        )
        graph.arguments = arguments
        body.run_network(item, arguments)
        if body.failed:
            raise Poisoned
        body.published.next_level()
        if configuration is not None:
            self._configuration_body(configuration, body)
        for problem in body.published.problems():
            self.sink.add(problem)
        doc = (configuration.doc if configuration is not None else None) or item.doc or self.scope.file.doc
        return Program(
            target.name,
            graph,
            body.entries,
            doc=doc,
            parameters=arguments,
            expects=body.expects,
            pretrained=body.published.places,
            names=body.published.tables,
            game=body.game,
            trains=[t for t in self.scope.trains if trained_name(t) == target.name],
            source_text=self.source.text,
            source_name=self.source.name,
            span=place,
        )

    def _configuration_body(self, configuration: ast.Configuration, body: Body) -> None:
        for s in configuration.body:
            if isinstance(s, ast.ExpectStmt):
                body.expects.append((s, body.static_names()))
            elif isinstance(s, (ast.PretrainedStmt, ast.NamesStmt, ast.BiasStmt)):
                try:
                    body.claim(s) if isinstance(s, ast.BiasStmt) else body.published.declare(s, body)
                except ArchError as failure:
                    self.sink.extend(failure)
            else:
                self.sink.extend(
                    error(
                        "A0508",
                        "a configuration holds contracts and claims, and says where its weights are published",
                        s.span,
                        help="`expect`, `bias`, `pretrained`, `names`; what changes the network goes to its definition",
                    )
                )

    def trained(self, target: Global, given: Mapping[str, Any]) -> Program:
        """A network as the file's `train` blocks leave it: `train ResNet18(classes=5) on …`, and what the last phase
        sets. Blocks that differ leave it open. `given` parameters win. Raises as `program` does, and what is wrong with
        the arguments."""
        blocks = [train for train in self.scope.trains if trained_name(train) == target.name]
        found = [self.arguments(train) for train in blocks]
        same = bool(found) and all(values == found[0][0] for values, _ in found)
        sets = [self._last_set(train) for train in blocks]
        values, spans = found[0] if same else ({}, {})
        last, places = sets[0] if sets and all(one == sets[0][0] for one, _ in sets) else ({}, {})
        return self._variants(target, {**values, **given}, spans)({**last, **given}, places)

    def trained_by(self, target: Global, train: ast.Train) -> tuple[Program | None, Variant]:
        """A network as one `train` block leaves it, and what makes it as a phase has it. None in place of one that is
        wrong, which goes to the sink."""
        values, spans, whole = self._arguments(train)
        variant = self._variants(target, values, spans)
        try:
            program = variant(*self._last_set(train))
        except ArchError as failure:
            self.sink.extend(failure)
            return None, variant
        except Poisoned:
            return None, variant
        return program if whole else None, variant

    def scalars(self, target: Global) -> Collection[str] | None:
        """Names that a network gives, anywhere in its text, to inputs without axes. None when it can't be found."""
        place = target.item.name.span
        try:
            definition, _ = resolve_configuration(self.session, target, Recipe(target, (), (), place), place)
        except (ArchError, Poisoned):
            return None
        inputs = (s for s in walk(definition.definition.body) if isinstance(s, ast.InputStmt) and s.role == "input")
        return [s.name.text for s in inputs if not s.shape.axes]

    def _last_set(self, train: ast.Train) -> tuple[dict[str, Any], dict[str, Span]]:
        """What the last phase of a `train` block sets the network's parameters to, and where."""
        phases = [item for item in train.body if isinstance(item, ast.Phase)]
        values: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        for item in phases[-1].body if phases else ():
            for argument in item.assignments if item.key.text == "set" else ():
                if argument.name is not None and argument.name not in values:
                    values[argument.name] = Evaluator().eval(argument.value)
                    spans[argument.name] = argument.span
        return values, spans

    def _variants(self, target: Global, base: Mapping[str, Any], spans: Mapping[str, Span]) -> Variant:
        """What makes a network with what a phase sets, at these places. It raises what is wrong with that and has not
        been said, or Poisoned."""

        def variant(changes: Mapping[str, Any], places: Mapping[str, Span]) -> Program:
            before = len(self.sink.found)
            try:
                program = self.program(target, {**base, **changes}, {**spans, **places})
            except ArchError as failure:
                found = list(failure.diagnostics)
            except Poisoned:
                found = self.sink.found[before:]
                del self.sink.found[before:]
            else:
                program.variant = variant
                return program
            new = [d for d in found if not any(_same(d, one) for one in self.sink.found)]
            if not new:
                raise Poisoned
            raise ArchError(*(d if d.span in spans.values() else as_set(d, places) for d in new))

        return variant

    def arguments(self, train: ast.Train) -> tuple[dict[str, Any], dict[str, Span]]:
        """The parameters that a `train` block gives its network, and where. Raises everything that is wrong, or
        Poisoned."""
        values, spans, whole = self._arguments(train)
        if not whole:
            self.sink.raise_if_failed()
        return values, spans

    def _arguments(self, train: ast.Train) -> tuple[dict[str, Any], dict[str, Span], bool]:
        """Those that are right, and whether all are. What is wrong goes to the sink."""
        values: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        whole = True
        for argument in train.target.arguments if isinstance(train.target, ast.Call) else ():
            try:
                if argument.name is None or argument.name in values:
                    help = "such as `train ResNet18(classes=5) on …`"
                    raise error("A0705", "a `train` block gives each parameter once, by name", argument.span, help=help)
                values[argument.name] = Body(self.session, self.scope, Graph("train")).eval(argument.value)
                spans[argument.name] = argument.span
                continue
            except ArchError as failure:
                self.sink.extend(failure)
            except Poisoned:
                pass
            whole = False
        return values, spans, whole

    def _parameter(self, name: str, value: Any) -> Any:
        if not isinstance(value, ParameterText):
            return tuple(value) if isinstance(value, list) else value
        from .syntax.parser import parse

        source = Source(f"func given() = {value.text}\n", f"-p {name}")
        try:
            tree = parse(source)
            item = tree.items[0] if len(tree.items) == 1 else None
        except ArchError:
            item = None
        if not isinstance(item, ast.Func):
            raise error(
                "A0706",
                f"`{value.text}` is no value for `{name}`",
                help='write a number, true, false, "text", [a, b] or a block\'s name',
            )
        return Body(self.session, self.scope, Graph("parameters")).eval(item.value)


def parse_parameter(text: str) -> tuple[str, ParameterText]:
    """`classes=10` as a name and its text. Raises A0706."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier() or not value.strip():
        raise error("A0706", f"`{text}` is no parameter", help="write `-p name=value`, as in `-p classes=10`")
    return name.strip(), ParameterText(value.strip())


def compile_program(
    source: Source,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    base: Path | None = None,
) -> Program:
    """One network of a source, checked, contracts included. Raises ArchError with everything found."""
    front = Frontend(source, base)
    front.sink.raise_if_failed()
    program: Program | None = None
    try:
        program = front.trained(front.choose(name), parameters or {})
    except ArchError as failure:
        front.sink.extend(failure)
    except Poisoned:
        pass
    front.sink.raise_if_failed()
    assert program is not None
    _contracts(front, program, given=bool(parameters) or any(map(_changes, program.trains)))
    front.sink.raise_if_failed()
    return program


def check_source(source: Source, *, base: Path | None = None, names: list[str] | None = None) -> Checked:
    """Everything in a source: each network that its defaults complete, contracts, train blocks, and what is unused."""
    try:
        front = Frontend(source, base)
    except ArchError as failure:
        return Checked(None, {}, list(failure.diagnostics))
    checked = Checked(front.scope.file)
    sink = front.sink
    if not sink.failed:
        for name, target in front.networks().items():
            if (names is None or name in names) and _complete(target):
                _check_one(front, target, checked)
        _check_trains(front, checked, names)
        if names is None:
            if not (front.scope.names or front.scope.trains):
                sink.add(_nothing(source))
            check_unused(front.scope, front.session)
            for warning in () if sink.failed else unused_starts(front.session, source):
                sink.add(warning)
    checked.diagnostics = sorted(sink.found, key=Diagnostic.sort_key)
    return checked


def _nothing(source: Source) -> Diagnostic:
    help = "a file declares a `network`, or blocks for other files to import"
    span = Span(source, 0, len(source.text.rstrip()))
    return Diagnostic("A0126", "the file declares nothing", span, help=help, severity=Severity.WARNING)


def _complete(target: Global) -> bool:
    return isinstance(target.item, ast.Configuration) or all(p.default is not None for p in target.item.params)


def _check_one(front: Frontend, target: Global, checked: Checked) -> None:
    try:
        program = front.program(target)
        _contracts(front, program)
        checked.programs[target.name] = program
    except ArchError as failure:
        front.sink.extend(failure)
    except Poisoned:
        pass


def _contracts(front: Frontend, program: Program, *, given: bool = False) -> None:
    """`given`: with parameters from outside, contracts about the network say nothing."""
    from .analysis.biases import diagnostics, prove
    from .analysis.contracts import check_contracts
    from .analysis.games import check_game, mixed, one_sided
    from .analysis.gate_bounds import check_gates
    from .analysis.nominal import check_nominal
    from .analysis.probabilities import improbable

    for diagnostic in (*check_game(program), *one_sided(program), *mixed(program), *improbable(program)):
        front.sink.add(diagnostic)
    for diagnostic in check_gates(program):
        front.sink.add(diagnostic)
    for diagnostic in check_contracts(program, given=given, receptive=front.receptive):
        front.sink.add(diagnostic)
    for diagnostic in check_nominal(program):
        front.sink.add(diagnostic)
    program.findings = prove(program, front.receptive)
    for diagnostic in diagnostics(program.findings):
        front.sink.add(diagnostic)


def trained_name(train: ast.Train) -> str | None:
    """The name of what a `train` block trains; None when it names nothing."""
    target = train.target.function if isinstance(train.target, ast.Call) else train.target
    return target.text if isinstance(target, ast.Name) else None


def _same(one: Diagnostic, other: Diagnostic) -> bool:
    """Do they say the same of the same place?"""
    return (one.code, one.message, one.span) == (other.code, other.message, other.span)


def _changes(train: ast.Train) -> bool:
    """Does a `train` block configure its network?"""
    sets = [s for phase in train.body if isinstance(phase, ast.Phase) for s in phase.body if s.key.text == "set"]
    return bool(sets) or (isinstance(train.target, ast.Call) and bool(train.target.arguments))


def _check_trains(front: Frontend, checked: Checked, names: list[str] | None) -> None:
    if not front.scope.trains:
        return
    from .analysis.biases.data import contradictions
    from .analysis.game_data import misfits
    from .training import check_plan

    networks = front.networks()
    for train in front.scope.trains:
        name = trained_name(train) or "this"
        target, program, variant = networks.get(name), checked.programs.get(name), None
        if target is None:
            help = did_you_mean(name, networks) or "`train Name on data(…)` names a network of this file"
            front.sink.extend(error("A0705", f"there is no network `{name}` to train", train.target.span, help=help))
        elif _changes(train):
            program, variant = front.trained_by(target, train)
        try:
            if program is not None and variant is not None:
                _contracts(front, program, given=True)
            scalars = front.scalars(target) if target is not None else None
            planned = check_plan(train, name, program, variant, scalars)
            if program is None or planned is None:
                continue
            for warning in (*contradictions(planned, program), *misfits(planned, program)):
                front.sink.add(warning)
        except ArchError as failure:
            front.sink.extend(failure)
        except Poisoned:
            pass
