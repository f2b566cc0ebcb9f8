"""Processes that tests start: always waited for, and ended with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Done = subprocess.CompletedProcess


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with its output in pipes, in a group of its own; whatever is left of the group at the end is killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, start_new_session=True, **(pipes | options)) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def finished(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    **options: Any,
) -> Done[str]:
    """Runs a command to its end, at most `timeout` seconds. Raises `subprocess.TimeoutExpired`."""
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    with started(command, cwd=cwd, env=env, stdin=stdin, **options) as process:
        out, err = process.communicate(input, timeout=timeout)
    return Done(list(command), process.returncode, out, err)
