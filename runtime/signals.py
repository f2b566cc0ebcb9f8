"""Ctrl-C and requests to terminate, turned into a flag that a run looks at."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from archlang.compiler.diagnostics import ArchError, Diagnostic


class Interrupted(ArchError):
    """Training was told to stop, and has saved what it had. `exit_code` is what a shell expects of such an end."""

    def __init__(self, number: int, folder: Path, epoch: int, step: int) -> None:
        self.exit_code = 128 + number
        super().__init__(
            Diagnostic(
                "A1045",
                f"interrupted in epoch {epoch + 1} after {step} batches; everything is saved",
                help=f'resume with `--resume` in "{folder}"',
            )
        )


class Signals:
    """Turns Ctrl-C and a request to terminate into a flag; a second one takes effect at once."""

    def __init__(self) -> None:
        self.number = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._caught)
        return self

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
