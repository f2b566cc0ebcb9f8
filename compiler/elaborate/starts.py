"""`init conv.weight = …`: how the layers of a kind start their weights, in a body and in all that it calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .. import ops
from ..diagnostics import Diagnostic, Label, Severity, did_you_mean, error
from ..ops.base import Init, Op, WeightSpec
from ..source import Span
from ..syntax import ast
from .settings import check_start, read_init

if TYPE_CHECKING:
    from .session import Session
    from .static import Evaluator

Key = tuple[str, str]  # a layer's kind and a weight's name


@dataclass(frozen=True, slots=True)
class StartRule:
    """What one `init` statement says."""

    init: Init
    span: Span


@dataclass(eq=False)
class Starts:
    """The rules in force in one body: those of its callers, and nearer ones of its own.

    taken: rules of callers that some layer in here took. Whoever uses the finished block again takes them again."""

    session: Session
    rules: dict[Key, StartRule] = field(default_factory=dict)
    own: set[Key] = field(default_factory=set)
    taken: set[Key] = field(default_factory=set)
    _key: int | None = None

    def below(self) -> Starts:
        """The rules for a block that is called here."""
        return Starts(self.session, dict(self.rules))

    def key(self) -> int:
        """A number that bodies with the same rules share."""
        if self._key is None:
            rules = tuple((key, self.rules[key].init) for key in sorted(self.rules))
            self._key = self.session.start_sets.setdefault(rules, len(self.session.start_sets))
        return self._key

    def declare(self, statement: ast.InitStmt, scope: Evaluator) -> None:
        """Puts a body's own rule in force. Raises ArchError for a layer or weight that is not there."""
        layer, weight = statement.layer.text, statement.weight.text
        if not trained(layer):
            known = [name for name in ops.names() if trained(name)]
            what = "has no weights" if ops.get(layer) is not None else "is no layer"
            listing = ", ".join(f"`{name}`" for name in known)
            help = did_you_mean(layer, known) or f"layers with weights: {listing}"
            raise error("A0208", f"`{layer}` {what}", statement.layer.span, help=help)
        if weight not in trained(layer):
            listing = ", ".join(f"`{name}`" for name in trained(layer))
            help = did_you_mean(weight, trained(layer)) or f"its weights: {listing}"
            raise error("A0405", f"`{layer}` has no weight `{weight}`", statement.weight.span, help=help)
        key = layer, weight
        if key in self.own:
            labels = [Label(self.rules[key].span, "first here")]
            raise error("A0202", f"`{layer}.{weight}` is started twice", statement.span, labels=labels)
        self.rules[key] = StartRule(read_init(statement.value, scope), statement.span)
        self.own.add(key)
        self.session.starts[statement.span] = statement
        self._key = None

    def take(self, key: Key) -> StartRule | None:
        """The rule for a weight, which counts as used from now on."""
        rule = self.rules.get(key)
        if rule is not None:
            if key in self.own:
                self.session.started.add(rule.span)
            else:
                self.taken.add(key)
        return rule

    def applied(self, op: Op, weights: Iterable[WeightSpec]) -> tuple[WeightSpec, ...]:
        """A layer's weights with the starts that the rules give them; what the layer itself says wins."""
        found = []
        for spec in weights:
            setting = "init" if spec.said == "weight" else f"{spec.said}_init"
            if spec.role == "param" and getattr(op, setting, None) is None:
                rule = self.take((op.name, spec.said))
                if rule is not None:
                    spec = replace(spec, init=rule.init)
                    check_start(spec, rule.span, op.name)
            found.append(spec)
        return tuple(found)


@lru_cache(maxsize=256)
def trained(layer: str) -> tuple[str, ...]:
    """Names of the trained tensors that layers of a kind can have; none where there is no such kind."""
    kind = ops.get(layer)
    if kind is None:
        return ()
    found: dict[str, None] = {}
    for example in kind.examples:
        for spec in kind(**example.settings).weights(example.input_types()):
            if spec.role == "param":
                found[spec.said] = None
    return tuple(found)


def unused(session: Session, source: object) -> Iterable[Diagnostic]:
    """A warning for every rule of a file that no layer of any network took."""
    for span, statement in session.starts.items():
        if span.source is source and span not in session.started:
            yield Diagnostic(
                "A0521",
                f"no `{statement.layer.text}` in here starts its `{statement.weight.text}` so",
                span,
                help="leave it out, or name the layer that is meant: layers with a start of their own keep that",
                severity=Severity.WARNING,
            )
