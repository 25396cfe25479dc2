"""Where the keys of a TOML text stand. Pure.

``tomllib`` gives values without lines, and an error without a line is half an error. This reads a text that
``tomllib`` has already accepted, so it only has to find its way, not to judge.
"""

from __future__ import annotations

import tomllib

Path = tuple[str | int, ...]


class LineIndex:
    """The line (from 1) of each table, key and array element of a valid TOML 1.0 text.

    A path is spelt as one would index the parsed value: ``("pvd", 1, "addresses", 0)``.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {(): 1}
        _Reader(text, self._lines).document()

    def line_of(self, *path: str | int) -> int:
        """The line of a path, or of the nearest thing around it that stands in the text."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]


class _Reader:
    """A walk over the text that notes the line of everything that has a path."""

    def __init__(self, text: str, lines: dict[Path, int]) -> None:
        self._text = text
        self._at = 0
        self._lines = lines
        self._line = 1
        self._counted = 0
        self._elements: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Path:
        line = self._here()
        self._at += brackets
        keys = self._dotted()
        self._at += brackets
        path: Path = ()
        for key in keys[:-1]:
            path = self._newest((*path, key))
        path = (*path, keys[-1])
        self._note(path, line)
        return path

    def _array_header(self) -> Path:
        line = self._here()
        path = self._header(2)
        index = self._elements.get(path, -1) + 1
        self._elements[path] = index
        self._note((*path, index), line)
        return (*path, index)

    def _newest(self, path: Path) -> Path:
        """``[pvd.x]`` after ``[[pvd]]`` belongs to the newest element (TOML 1.0, Array of Tables)."""
        return (*path, self._elements[path]) if path in self._elements else path

    def _pair(self, table: Path) -> None:
        line = self._here()
        path = table
        for key in self._dotted():
            path = (*path, key)
            self._note(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._string()
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\r\n":
                self._at += 1

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._skip_blank(",") and self._text[self._at] != "]":
            self._note((*path, index), self._here())
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip_blank(",") and self._text[self._at] != "}":
            self._pair(path)
        self._at += 1

    def _dotted(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip_blank(".")
            if self._text[self._at] in "=]":
                return keys
            start = self._at
            if self._text[start] in "\"'":
                self._string()
                # tomllib itself reads the escapes of a quoted key.
                keys.append(tomllib.loads(f"x = {self._text[start : self._at]}")["x"])
            else:
                while self._text[self._at] not in ".=] \t":
                    self._at += 1
                keys.append(self._text[start : self._at])

    def _string(self) -> None:
        quote = self._text[self._at]
        if self._text.startswith(quote * 3, self._at):
            self._skip_to(quote * 3, start=self._at + 3)
            # Up to two more quotes before the closing three belong to the string.
            while self._text.startswith(quote, self._at):
                self._at += 1
        else:
            self._skip_to(quote, start=self._at + 1)

    def _skip_to(self, closing: str, start: int) -> None:
        at = start
        while not self._text.startswith(closing, at):
            at += 2 if self._text[at] == "\\" and closing[0] == '"' else 1
        self._at = at + len(closing)

    def _skip_blank(self, more: str = "") -> bool:
        """Skip white space, line ends, comments and ``more``; whether anything is left."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in " \t\r\n" + more:
                self._at += 1
            else:
                return True
        return False

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        self._lines.setdefault(path, line)
