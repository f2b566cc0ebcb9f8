"""Labels: the paths at which modules live. Doubled, reserved and impossible ones are refused."""

from __future__ import annotations

from collections.abc import Iterable

from ..diagnostics import Label, error
from ..source import Span

# What an nn.Module, or the generated class, already has: a submodule of that name would hide it.
RESERVED = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict
    modules mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad objective play
    generator_losses discriminator_losses
    loss_weights
    """.split()  # noqa: SIM905
)
_LONGEST = 200
_FINE: set[str] = set()  # parts already found to be names


class Labels:
    """Every path claimed in one graph."""

    def __init__(self, reserved_first: Iterable[str] = ()) -> None:
        self.leaves: dict[str, Span] = {}
        self.levels: dict[str, Span] = {}  # labelled sequences
        self.inner: dict[str, Span] = {}  # every proper prefix of a path
        self.spoken_for = set(reserved_first)  # labels written further down, which automatic names avoid
        self._numbers: dict[str, int] = {}

    def claim(self, path: str, span: Span) -> None:
        """A layer, block or bare tensor at a path. Raises A0501 when it is taken, A0502 when it can't be a name."""
        self._names(path, span)
        self.claim_like(path, span)
        self._prefixes(path, span)

    def claim_like(self, path: str, span: Span) -> None:
        """Claims a path that differs from one already claimed by nothing but the number at its end."""
        taken = self.leaves.get(path) or self.levels.get(path) or self.inner.get(path)
        if taken is not None:
            raise _doubled(path, span, taken)
        self.leaves[path] = span

    def open(self, path: str, span: Span) -> None:
        """A labelled sequence at a path."""
        self._names(path, span)
        taken = self.leaves.get(path) or self.levels.get(path)
        if taken is not None:
            raise _doubled(path, span, taken)
        self._prefixes(path, span)
        self.levels[path] = span

    def automatic(self, prefix: str, kind: str) -> str:
        """`conv1`, `conv2`, … for a layer without a label."""
        number = self._numbers.get(prefix + kind, 0)
        while True:
            number += 1
            path = f"{prefix}{kind}{number}"
            if (
                path not in self.leaves
                and path not in self.inner
                and path not in self.levels
                and path not in self.spoken_for
            ):
                self._numbers[prefix + kind] = number
                return path

    def _prefixes(self, path: str, span: Span) -> None:
        at = path.find(".")
        while at != -1:
            above = path[:at]
            if above in self.leaves:
                raise error(
                    "A0501",
                    f"`{path}` can't stand below `{above}`, which is a layer or block of its own",
                    span,
                    labels=[Label(self.leaves[above], f"`{above}` is here")],
                )
            self.inner.setdefault(above, span)
            at = path.find(".", at + 1)

    @staticmethod
    def _names(path: str, span: Span) -> None:
        if len(path) > _LONGEST:
            raise error("A0502", f"this label has more than {_LONGEST} characters", span)
        for part in path.split("."):
            if part in _FINE:
                continue
            if not part or not (part.isidentifier() or part.isdecimal()) or not part.isascii():
                raise error(
                    "A0502",
                    f"`{path}` can't be a label: `{part}` is no name",
                    span,
                    help="between dots, a label is made of letters, digits and `_`",
                )
            if part in RESERVED or part.startswith("__"):
                raise error(
                    "A0503",
                    f"`{part}` can't be a label: every nn.Module already has something of that name",
                    span,
                    help=f"call it `{part}_` or something that says what it does",
                )
            if len(_FINE) < 10_000:
                _FINE.add(part)


def _doubled(path: str, span: Span, first: Span):
    same = first == span
    return error(
        "A0501",
        f"the label `{path}` is used twice",
        span,
        labels=[] if same else [Label(first, "first used here")],
        help="in a loop, number it: `` `layer{i}` ``"
        if same
        else "every label is a key of the checkpoint; give this one another name",
    )
