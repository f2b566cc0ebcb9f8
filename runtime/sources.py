"""Where weights come from: a file, the folder of a run, a name that the spec publishes, a hub, a link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.graph import Program
from archlang.compiler.pretrained import Hub, Published, Url, bad_file, bad_link, bad_repository, digest_in
from archlang.compiler.source import Span
from archlang.compiler.training_plan import TrainPlan
from torch import nn

from .checkpoint import load_weights
from .data.paths import locate

BEST = "best.safetensors"


@dataclass(frozen=True)
class Weights:
    """A file of weights at hand. table: the `names` table that its keys need, when somebody said."""

    path: Path
    table: str | None = None


def find_weights(program: Program, source: str | Path, *, progress: bool = True) -> Weights:
    """What a user names: a name that the spec publishes, a file, a run's folder, `hub:organisation/name/file`, a link.

    Raises A1101 when it is none of these, and A1104, A1108 and A1109 for what can't be fetched."""
    text = str(source)
    if isinstance(source, str):
        if text in program.pretrained:
            return published(program.pretrained[text], progress=progress)
        if text.startswith("hub:"):
            return Weights(_from_hub(text))
        if "://" in text:
            return Weights(_from_link(text, progress))
    path = Path(source)
    if not path.exists():
        raise error("A1101", f'the checkpoint "{text}" does not exist', help=_known(program, text))
    return _saved(path)


def _saved(path: Path) -> Weights:
    """A file, or the best weights of a run's folder."""
    return Weights(path / BEST if path.is_dir() and (path / BEST).is_file() else path)


def published(place: Published, *, progress: bool = True) -> Weights:
    """The file that a `pretrained` statement names, fetched and checked."""
    from . import download, hub

    if isinstance(place, Hub):
        return Weights(hub.fetch(place.repository, place.file, place.revision, place.checksum), place.names)
    assert isinstance(place, Url)
    return Weights(download.fetch(place.link, place.checksum, progress=progress), place.names)


def start_weights(program: Program, text: str, span: Span | None, *, progress: bool = True) -> Weights:
    """What a spec's own `init "…"` names: a name that it publishes, or a file of its project."""
    if text in program.pretrained:
        return published(program.pretrained[text], progress=progress)
    return _saved(locate(program, text, None, span))


def put_weights(program: Program, module: nn.Module, found: Weights, *, excepted: Iterable[str] = ()) -> dict[str, str]:
    """Loads weights into a program's module, keys renamed by the spec's tables; returns the file's metadata."""
    return load_weights(module, found.path, excepted=excepted, tables=program.names, table=found.table)


def start_from(
    program: Program,
    module: nn.Module,
    plan: TrainPlan,
    source: str | Path | None = None,
    excepted: Iterable[str] = (),
    *,
    progress: bool = True,
) -> None:
    """Gives a module the weights that its training starts from: those of `source`, or those of the plan's `init`, if
    there are any. `excepted` are modules that keep their fresh weights, in place of those that the plan excepts."""
    kept = tuple(excepted) or (plan.init.excepted if plan.init is not None else ())
    if source is not None:
        found = find_weights(program, source, progress=progress)
    elif plan.init is not None:
        found = start_weights(program, plan.init.file, plan.place("init"), progress=progress)
    else:
        return
    put_weights(program, module, found, excepted=kept)


def _from_hub(text: str) -> Path:
    from . import hub

    organisation, _, rest = text.removeprefix("hub:").partition("/")
    name, _, file = rest.partition("/")
    if bad_repository(f"{organisation}/{name}") or bad_file(file):
        raise error("A1101", f'"{text}" names no file of a hub', help="write `hub:organisation/name/file.safetensors`")
    return hub.fetch(f"{organisation}/{name}", file)


def _from_link(text: str, progress: bool) -> Path:
    from . import download

    reason = bad_link(text)
    if reason:
        raise error("A1101", f'"{text}" {reason}', help="weights are fetched over https")
    return download.fetch(text, digest_in(text), progress=progress)


def _known(program: Program, text: str) -> str:
    close = did_you_mean(text, program.pretrained)
    listing = ", ".join(f"`{name}`" for name in program.pretrained)
    named = f"`{program.name}` publishes {listing}" if listing else "a file, the folder of a run"
    return close or f"{named}; `hub:organisation/name/file` and https links are fetched"
