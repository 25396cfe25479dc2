"""A command that stays: on a terminal a picture that is drawn anew in place; and what ends it.

The cursor is never hidden and there is no other screen, so there is nothing to give back: whatever ends the
program, the last picture stands above the prompt.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from rich.cells import cell_len

from ..drivers.performing import sole

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rich.console import Console, RenderableType

_STYLE = re.compile(r"\x1b\[[0-9;:]*m")
_BLANKS = re.compile(r" +((?:\x1b\[[0-9;:]*m)*)$")


def is_live(console: Console) -> bool:
    """Whether a picture can be drawn in place: a terminal, and no dumb one."""
    return console.is_terminal and not console.is_dumb_terminal


class Picture:
    """What is shown, drawn in place. At most a screenful: the rest is counted."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._widths: list[int] = []  # of the lines that are on the screen
        self._drawn_at = 0

    def draw(self, content: RenderableType) -> None:
        """Show this in the place of what was shown; one write, so that nothing flickers."""
        console = self.console
        width, height = console.size
        with console.capture() as capture:
            console.print(content, soft_wrap=False)
        lines = [_BLANKS.sub(r"\1", line) for line in capture.get().splitlines()]
        if len(lines) >= height:
            hidden = len(lines) - max(height - 2, 0)
            lines = [*lines[: max(height - 2, 0)], f"({hidden} more lines)"[:width]]
        up = sum(self._rows(each, width) for each in self._widths)
        text = f"\x1b[{up}A\r" if up else "\r"
        if width != self._drawn_at:
            text += "\x1b[J"  # what the terminal has wrapped anew is no line of ours any more
        # Cleared first: behind the last column there is nothing to clear, but the last character.
        text += "".join(f"\x1b[2K{line}\n" for line in lines)
        console.file.write(f"{text}\x1b[J")
        console.file.flush()
        self._widths = [cell_len(_STYLE.sub("", line)) for line in lines]
        self._drawn_at = width

    def leave(self) -> None:
        """Clear the line below, where the terminal may have echoed a key."""
        self.console.file.write("\r\x1b[K")
        self.console.file.flush()

    def _rows(self, length: int, width: int) -> int:
        """A terminal that became narrower has wrapped a line of this length into so many."""
        return max(1, -(-length // width)) if width < self._drawn_at else 1


async def stay(
    work: Callable[[], Coroutine[Any, Any, None]],
    *beside: Callable[[], Coroutine[Any, Any, None]],
    resized: Callable[[], object] | None = None,
) -> None:
    """Run until ``work`` is over, with others beside it for as long.

    ``resized`` is called when the terminal has another size.

    SIGTERM first cancels the work, so that it cleans up, and then ends the process as it does by default.
    Raises BrokenPipeError when the reader of stdout has gone, also while there is nothing to write.
    """
    ended: list[str] = []
    try:
        async with anyio.create_task_group() as tasks:

            async def hear() -> None:
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGWINCH) as signals:
                    async for number in signals:
                        if number == signal.SIGTERM:
                            ended.append("terminated")
                            tasks.cancel_scope.cancel()
                        elif resized is not None:
                            resized()

            async def miss_the_reader() -> None:
                await _no_reader()
                ended.append("no reader")
                tasks.cancel_scope.cancel()

            for other in (hear, miss_the_reader, *beside):
                tasks.start_soon(other)
            await work()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None
    if "terminated" in ended:
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if "no reader" in ended:
        raise BrokenPipeError


async def _no_reader() -> None:
    """Return when nobody can read stdout any more; where that cannot be told (a file), never."""
    with select.epoll() as epoll:
        try:
            epoll.register(sys.stdout.fileno(), 0)  # errors and hang-ups are told unasked
        except (OSError, ValueError):
            await anyio.sleep_forever()
        await anyio.wait_readable(epoll.fileno())


class Keys:
    """Keys as they are pressed, without their echo, while the standard input is a terminal that is ours."""

    def __init__(self) -> None:
        self._before: list[object] | None = None

    def __enter__(self) -> Keys:
        import termios
        import tty

        with suppress(OSError, ValueError, termios.error):
            descriptor = sys.stdin.fileno()
            if os.tcgetpgrp(descriptor) == os.getpgrp():  # else the shell's: in the background
                self._before = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self._before is not None:
            with suppress(OSError, ValueError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    async def pressed(self, key: str) -> None:
        """Return when a key has been pressed; never where there are none."""
        while self._before is not None:
            await anyio.wait_readable(sys.stdin.fileno())
            read = os.read(sys.stdin.fileno(), 256)
            if not read:
                break
            if key.encode() in read:
                return
        await anyio.sleep_forever()
