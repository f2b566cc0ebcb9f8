"""Names of generated code: valid, unique, and never in the way of what the code itself needs."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata

_OURS = ("self", "torch", "nn", "F", "math", "Tensor", "Recurrence", "_")
_AMBIGUOUS = ("l", "O", "I")  # ruff refuses them as names
RESERVED = frozenset([*keyword.kwlist, *dir(builtins), *_OURS, *_AMBIGUOUS])

# What nn.Module has already. Attributes of a generated module must not hide it.
MODULE_ATTRIBUTES = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
        "objective",
        "play",
        "discriminator_losses",
        "generator_losses",
        "loss_weights",
        "program",
        "source",
    ]
)
# What the containers have besides.
DICT_ATTRIBUTES = MODULE_ATTRIBUTES | frozenset(["clear", "items", "keys", "pop", "update", "values"])

_LONGEST = 32


def identifier(wanted: str, fallback: str = "x") -> str:
    """The wanted name, bent until it is one that code may use."""
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", plain).strip("_")[:_LONGEST].rstrip("_")
    if not plain:
        plain = fallback
    if plain[0].isdigit():
        plain = f"{fallback}{plain}" if fallback[-1].isalpha() else f"{fallback}_{plain}"
    return f"{plain}_" if plain in RESERVED else plain


def is_plain(label: str) -> bool:
    """Can the label stand after a dot as it is?"""
    return label.isascii() and label.isidentifier() and not keyword.iskeyword(label) and not label.startswith("__")


class Scope:
    """Names in use; hands out new ones."""

    def __init__(self, taken: frozenset[str] | set[str] = frozenset()) -> None:
        self.taken = set(taken)
        self._next: dict[str, int] = {}

    def new(self, wanted: str, fallback: str = "x") -> str:
        """A free name like the wanted one, now taken."""
        base = identifier(wanted, fallback)
        found, count = base, self._next.get(base, 2)
        while found in self.taken or found in RESERVED:
            separator = "_" if base[-1].isdigit() else ""
            found, count = f"{base}{separator}{count}", count + 1
        self._next[base] = count
        self.taken.add(found)
        return found

    def free(self, name: str) -> None:
        self.taken.discard(name)
        self._next.pop(re.sub(r"_?\d+$", "", name), None)
