"""What the public server has at a path, whatever protocol asks for it. Pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 65521
_ZEROS_PATH, _PATTERN_PATH = "/bytes/", "/pattern/"
_MOST = 1 << 30


class Content(NamedTuple):
    """So many bytes: a block again and again, until there are enough."""

    length: int
    block: bytes

    def pieces(self) -> Iterator[bytes]:
        """The bytes, in pieces of moderate size."""
        for start in range(0, self.length, len(self.block) or 1):
            yield self.block[: self.length - start]


def content(path: str, name: str) -> Content:
    """``/bytes/N`` is N zero bytes, ``/pattern/N`` the first N bytes of `pattern`, anything else a line with
    the provider's ``name``. ValueError if N is no number."""
    for prefix, block in ((_ZEROS_PATH, bytes(BLOCK)), (_PATTERN_PATH, pattern(BLOCK))):
        if path.startswith(prefix):
            return Content(min(int(path[len(prefix) :]), _MOST), block)
    return whole(f"{name}\n".encode())


def whole(data: bytes) -> Content:
    """Just these bytes."""
    return Content(len(data), data)


def pattern(size: int) -> bytes:
    """Bytes that repeat after a prime number of them, so that no two buffers are alike."""
    block = random.Random("pattern").randbytes(BLOCK)
    return (block * (size // BLOCK + 1))[:size]
