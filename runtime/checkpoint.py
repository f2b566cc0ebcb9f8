"""Weights on disk: safetensors, written atomically, read with every disagreement named. Nothing is unpickled."""

from __future__ import annotations

import json
import math
import shlex
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from archlang.compiler.diagnostics import ArchError, error, suggest
from archlang.compiler.elaborate.values import show
from archlang.compiler.key_names import KeyTable
from torch import Tensor, nn

from .files import write_atomically

_SHOWN = 8  # keys that a message lists of each kind
_LONGEST = 300  # characters of a key that a message shows
_HEADS = 3  # so many modules of another size are heads for other classes; more are another network


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """The module's `state_dict` as safetensors. Tensors that share memory are saved once each, whole.

    `metadata` is text by name (`program`, `spec_hash`, `parameters`, …). Raises A1104."""
    save_tensors(dict(module.state_dict()), path, metadata)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Named tensors as safetensors, atomically. Raises A1104."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    ready = {}
    for key, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.data_ptr() in seen or value.untyped_storage().nbytes() != value.nbytes:
            value = value.clone()  # tied weights and views: the format wants every tensor on its own
        seen.add(value.data_ptr())
        ready[key] = value

    def write(place: Path) -> None:
        save_file(ready, place, dict(metadata or {}))
        _order_header(place)

    write_atomically(Path(path), write)


def _order_header(path: Path) -> None:
    """Sorts the metadata in place: safetensors writes it in random order, and equal runs should give equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def load_weights(
    module: nn.Module,
    path: Path,
    *,
    excepted: Iterable[str] = (),
    tables: Mapping[str, KeyTable] | None = None,
    table: str | None = None,
) -> dict[str, str]:
    """Puts a checkpoint's tensors into the module and returns its metadata.

    `excepted` are modules (or tensors) that keep what they have. Takes safetensors, and PyTorch's own files as long as
    they hold nothing but tensors. `tables` rename keys: the one called `table`, or else none if the keys fit as they
    are, or else the first under which all fit. The module is changed only when everything fits: otherwise A1103 lists
    what is missing, what is too much and what has another shape, and A1086 what is NaN or infinite."""
    tensors, metadata = read_tensors(path)
    kept, known = tuple(excepted), tables or {}
    choices = [known[table]] if table is not None else [None, *known.values()]
    fitting = _fitting(module, tensors, path, kept, choices, _other_parameters(module, metadata))
    _check_finite(module, fitting, path, kept)
    put(module, fitting, excepted=kept)
    return metadata


def put(module: nn.Module, tensors: Mapping[str, Tensor], *, excepted: Iterable[str] = ()) -> None:
    """Copies tensors that have been checked into the module, converted to its dtypes and device."""
    kept = tuple(excepted)
    with torch.no_grad():
        for key, value in module.state_dict(keep_vars=True).items():
            if not _under(key, kept) and key in tensors:
                value.copy_(tensors[key])


def keep(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies what the module has under the same keys in the same shapes; the rest stays fresh."""
    with torch.no_grad():
        for key, value in module.state_dict(keep_vars=True).items():
            if key in tensors and tensors[key].shape == value.shape:
                value.copy_(tensors[key])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a checkpoint, on the CPU, and its metadata. Raises A1101 or A1102."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise error("A1101", f'the checkpoint "{path}" {what}')
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as failure:
        raise error("A1101", f'the checkpoint "{path}" can\'t be read: {failure.strerror}') from None
    # safetensors begin with the length of a header, which may be any number, and the header with a brace
    if start[:2] in (b"PK", b"\x80\x02") and start[8:] != b"{":
        return _read_torch(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as failure:
        raise _corrupt(path, str(failure)) from None


def check_keys(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises A1103 with every key that is missing, too much or of another shape."""
    _fitting(module, dict(tensors), path, (), [None])


def _fitting(
    module: nn.Module,
    tensors: dict[str, Tensor],
    path: Path,
    kept: tuple[str, ...],
    choices: Sequence[KeyTable | None],
    advice: str | None = None,
) -> dict[str, Tensor]:
    """The tensors by the module's keys, under the first table with which all fit; A1103 for the one that comes closest
    when none does, with this advice if there is one."""
    own = dict(module.state_dict())
    _check_kept(own, kept)
    misfits: list[Misfit] = []
    for table in choices:
        misfit = Misfit(table)
        named = tensors if table is None else _renamed(tensors, table, misfit)
        misfit.compare(own, named, kept)
        if not misfit.count:
            return named
        misfits.append(misfit)
    raise min(misfits, key=lambda misfit: misfit.count).error(path, advice)


def _check_finite(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, kept: tuple[str, ...]) -> None:
    """Raises A1086 where a parameter is NaN or infinite, or a buffer NaN: those may be masks, which are infinite."""
    learned = {key for key, _ in module.named_parameters(remove_duplicate=False)}
    bad = [
        key
        for key in module.state_dict()
        if key in tensors and not _under(key, kept) and not _sound(tensors[key], infinite=key not in learned)
    ]
    if not bad:
        return
    first, more = tensors[bad[0]].float(), f" (and so on in {len(bad) - 1:,} more)" if len(bad) > 1 else ""
    nan, infinite = int(first.isnan().sum()), int(first.isinf().sum())
    counts = " and ".join(f"{n:,} {what}" for n, what in ((nan, "NaN"), (infinite, "infinite")) if n)
    raise error(
        "A1086",
        f'"{path}" can\'t be computed with: `{_clean(bad[0])}` holds {counts} among {first.numel():,} numbers{more}',
        help="what wrote it had diverged: train again with a smaller `lr` or `clip 1.0`, or take weights from before",
    )


def _sound(value: Tensor, infinite: bool) -> bool:
    """Is nothing in it NaN, nor, unless it may be, infinite? One pass without a copy."""
    if not value.is_floating_point() or not value.numel():
        return True
    low, high = (value if value.itemsize > 1 else value.float()).aminmax()  # NaN where there is any
    return not math.isnan(float(low)) if infinite else math.isfinite(float(low)) and math.isfinite(float(high))


def _other_parameters(module: nn.Module, metadata: Mapping[str, str]) -> str | None:
    """What to do when the weights were trained with other `-p` than the module has; None when that is not known."""
    try:
        given = json.loads(metadata.get("parameters", ""))
    except ValueError:
        return None
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        return None
    own = getattr(getattr(module, "program", None), "parameters", {})
    now = {f"{name}={show(value)}".replace(" ", "") for name, value in own.items()}
    if not given or all(text.replace(" ", "") in now for text in given):
        return None
    flags = " ".join("-p " + shlex.quote(_clean(text)) for text in given)
    return f"it was trained with `{flags}`: repeat that"


def _check_kept(own: Mapping[str, Tensor], kept: tuple[str, ...]) -> None:
    for name in kept:
        if not any(_under(key, (name,)) for key in own):
            known = {part for key in own for part in (key, key.rpartition(".")[0], key.partition(".")[0]) if part}
            close = suggest(name, known)
            raise error(
                "A1103",
                f"the network has no `{name}` that could keep its fresh weights",
                help=f"did you mean `{close}`?" if close else None,
            )


def _renamed(tensors: Mapping[str, Tensor], table: KeyTable, misfit: Misfit) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        ours, transposed = table.rename(key)
        if ours in found:
            misfit.doubled.append(f"{key} becomes {ours}, and so does another")
        if transposed and value.dim() != 2:
            misfit.shapes.append(f"{key}: {_shape(value)} in the file, and only a matrix can be transposed")
        found[ours] = value.T if transposed and value.dim() == 2 else value
    return found


@dataclass
class Misfit:
    """How a checkpoint's keys differ from a network's, under a table that renames them."""

    table: KeyTable | None
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    resized: dict[str, None] = field(default_factory=dict)  # modules of another size

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.shapes) + len(self.doubled)

    def compare(self, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], kept: tuple[str, ...]) -> None:
        for key, value in own.items():
            if _under(key, kept):
                continue
            theirs = tensors.get(key)
            if theirs is None:
                if not key.endswith("num_batches_tracked"):  # older files lack this count, which nothing reads
                    self.missing.append(key)
            elif theirs.shape != value.shape:
                self.shapes.append(f"{key}: {_shape(theirs)} in the file, {_shape(value)} in the network")
                self.resized[key.rpartition(".")[0]] = None
        self.extra += [key for key in tensors if key not in own and not _under(key, kept)]

    def error(self, path: Path, advice: str | None = None) -> ArchError:
        titles = ("missing", "not in the network", "of another shape", "doubled")
        parts = [
            f"{title} ({len(keys)}): " + "; ".join(map(_clean, keys[:_SHOWN])) + (" …" if len(keys) > _SHOWN else "")
            for title, keys in zip(titles, (self.missing, self.extra, self.shapes, self.doubled), strict=True)
            if keys
        ]
        how = f', its keys renamed by `names "{self.table.scheme}"`' if self.table is not None else ""
        what = f'the checkpoint "{path}"{how} does not fit the network'
        return error("A1103", "\n  ".join([what, *parts]), help=self._advice(advice))

    def _advice(self, other: str | None) -> str:
        """other: what is known of the parameters that it was trained with."""
        if self.extra and all(key.startswith("module.") for key in self.extra):
            return "its keys start with `module.`: it was saved from a wrapped module"
        if self.shapes and not (self.missing or self.extra or self.doubled):
            if len(self.resized) <= _HEADS:
                heads = ", ".join(f"`{module}`" for module in self.resized)
                flags = " ".join(f"--init-except {module}" for module in self.resized)
                again = f"to train on with another number of classes, keep {heads} fresh"
                other = other or "repeat the `-p` that it was trained with"
                return f"{again}: `{flags}`, or `init … except` in the spec; else {other}"
            return other or "the same architecture with other sizes: repeat the `-p` that it was trained with"
        return other or "it was made for another architecture, or the labels differ: a `names` table maps keys"


def _read_torch(path: Path) -> dict[str, Tensor]:
    """A `.pth` or `.pt` file through PyTorch's loader that builds nothing but tensors and plain containers."""
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as failure:
        if zipfile.is_zipfile(path) or "weights_only" in str(failure).lower():
            raise error(
                "A1102",
                f'"{path}" holds more than tensors, and reading it would run what its author wrote',
                help="in a place you trust, load it and save its `state_dict()` as safetensors",
            ) from None
        raise _corrupt(path, str(failure)) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as failure:
        raise _corrupt(path, str(failure)) from None
    while isinstance(found, dict) and not any(isinstance(v, Tensor) for v in found.values()):
        inner = next((found[k] for k in ("state_dict", "model", "model_state_dict") if k in found), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise error("A1102", f'"{path}" holds no table of tensors', help="save the module's `state_dict()`")
    return {str(key): value for key, value in found.items()}


def _corrupt(path: Path, reason: str) -> ArchError:
    first = (reason.splitlines() or [""])[0][:200]
    return error(
        "A1102",
        f'"{path}" is not a checkpoint, or is damaged: {first}',
        help="checkpoints are safetensors files; fetch or make it again",
    )


def _clean(text: str) -> str:
    """A key of a file from elsewhere, as a terminal may show it."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_LONGEST])
    return shown + "…" if len(text) > _LONGEST else shown


def _under(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)


def _shape(t: Tensor) -> str:
    return "[" + ", ".join(map(str, t.shape)) + "]"
