"""Running one command inside a scenario: what ``pvdrace lab run`` does."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from .errors import LabError
from .scenarios import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def run_command(scenario: str, command: Sequence[str]) -> int:
    """Run a command inside with this process's stdin, stdout and stderr; its exit code, 128 + N after
    signal N.

    ``PVDRACE_CONFIG`` names a file with the scenario's PvDs. Ctrl-C goes to the command, as in a shell.
    LabError where the lab can't be built, or the command can't be started.
    """
    if not command:
        raise LabError("no command to run")
    with build(scenario) as lab, _interrupts_left_to_the_command():
        try:
            process = lab.popen(command)
        except OSError as error:
            raise LabError(f"can't run {command[0]}: {error.strerror}") from None
        code: int = process.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _interrupts_left_to_the_command() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Not SIG_IGN, which the command would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
