"""Bounds on what a spec may ask of the compiler.

A spec is untrusted data: nothing in it may run or grow without end.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import error
from ..source import Span
from .values import Poisoned

STEPS = 500_000  # evaluations of an expression, in one file
NODES = 100_000  # nodes of one graph
BLOCKS = 3_000  # blocks that differ in arguments or in what enters them
ITEMS = 100_000  # elements of a list, or turns of a loop
TEXT = 100_000  # characters of a string made by an expression
BITS = 63  # of an integer
ELEMENTS = 2**31  # of a tensor that is made anew
DEPTH = 64  # blocks within blocks, functions within functions


@dataclass
class Budget:
    """Counts evaluation steps."""

    steps: int = 0
    blocks: int = 0
    spent: bool = False

    def spend(self, amount: int, span: Span) -> None:
        self.steps += amount
        if self.steps > STEPS:
            if self.spent:
                raise Poisoned  # said once; what follows would only meet it again
            self.spent = True
            raise error(
                "A0801",
                f"this program takes more than {STEPS:,} steps to evaluate",
                span,
                help="the limit keeps a spec from running without end; make its loops smaller",
            )

    def spend_block(self, name: str, span: Span) -> None:
        """One more block that has to be elaborated."""
        self.blocks += 1
        if self.blocks > BLOCKS:
            if self.spent:
                raise Poisoned
            self.spent = True
            raise error(
                "A0801",
                f"with `{name}`, this program has more than {BLOCKS:,} blocks that differ",
                span,
                help="blocks with equal arguments and operands count once; make its loops smaller",
            )


def check_count(count: int, what: str, span: Span) -> None:
    """A loop's turns or a list's length, before anything is made."""
    if count > ITEMS:
        raise error(
            "A0802",
            f"{what} {count:,}, and the limit is {ITEMS:,}",
            span,
            help="an architecture is unrolled when it is compiled; this one would be too large to build",
        )


def check_int(value: int, span: Span) -> int:
    """An integer that fits what a tensor library can count."""
    if value.bit_length() > BITS:
        raise error(
            "A0803", f"this number needs more than {BITS} bits", span, help="sizes and settings must fit in 64 bits"
        )
    return value
