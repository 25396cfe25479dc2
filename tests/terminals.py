"""A real terminal for tests: tmux, of which the screen can be read as a person reads it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli_program import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

PATIENCE = 20.0


class Terminal:
    """A window with a shell's command in it, which says at its end what became of it: ``[code 130]``."""

    def __init__(self, command: Sequence[str], *, width: int = 80, **variables: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="pvdrace-tmux-")
        self.command = command
        self.width = width
        kept = environment(**variables)
        self.variables = {k: v for k, v in kept.items() if k not in ("TMUX", "LINES", "COLUMNS", "TERM")}
        self.variables |= {k: v for k, v in variables.items() if k != "TERM"}
        # tmux has a word of its own for what its windows are.
        self.term = variables.get("TERM")

    def __enter__(self) -> Self:
        quoted = " ".join(f"'{part}'" for part in self.command)
        term = f"TERM={self.term}" if self.term else ""
        # In a shell of its own, that stays: what a key does is done to the command alone.
        script = f'set -m; {term} {quoted} & fg >/dev/null; echo "[code $?]"; stty -a; sleep 600'
        new = ["-d", "-s", "s", "-x", str(self.width), "-y", "40"]
        self._tmux("-f", "/dev/null", "new-session", *new, "bash", "-c", script, variables=self.variables)
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")
        self.folder.cleanup()

    def screen(self) -> list[str]:
        """The lines that are on the screen, without the empty ones at its end."""
        return self._tmux("capture-pane", "-p", "-t", "s").rstrip().splitlines()

    def colours(self) -> str:
        """The same with its escape sequences."""
        return self._tmux("capture-pane", "-e", "-p", "-t", "s")

    def until(self, seen: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen is like this; the screen then."""
        end = time.monotonic() + PATIENCE
        while not seen(lines := self.screen()):
            assert time.monotonic() < end, "\n".join(lines)
            time.sleep(0.05)
        return lines

    def until_it_says(self, text: str) -> list[str]:
        return self.until(lambda lines: any(text in line for line in lines))

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "s", *keys)

    def resize(self, width: int) -> None:
        self._tmux("resize-window", "-t", "s", "-x", str(width))

    @property
    def pid(self) -> int:
        """Of what is in the foreground."""
        shell = int(self._tmux("display-message", "-p", "-t", "s", "#{pane_pid}"))
        status = Path(f"/proc/{shell}/stat").read_text("ascii").rpartition(")")[2].split()
        return int(status[5])  # tpgid: the command's own group, which has its pid

    @property
    def shows_a_cursor(self) -> bool:
        return self._tmux("display-message", "-p", "-t", "s", "#{cursor_flag}").strip() == "1"

    @property
    def alternate(self) -> bool:
        return self._tmux("display-message", "-p", "-t", "s", "#{alternate_on}").strip() == "1"

    def _tmux(self, *arguments: str, variables: dict[str, str] | None = None) -> str:
        env = variables or dict(os.environ)
        command = ["tmux", "-S", f"{self.folder.name}/s", *arguments]
        return subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=30, env=env, check=False
        ).stdout
