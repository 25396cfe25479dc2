"""A walk over a parsed TOML document: every error names the file, the line and the key. Pure."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import ConfigurationError
from .toml_lines import LineIndex, Path
from .values import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class TomlReader:
    """A TOML text and where things stand in it. A path goes with every value: ``("pvd", 1, "cost")``.

    Raises `ConfigurationError`, here and in every method: ``pvdrace.toml:12: pvd[1].cost: …``.
    """

    def __init__(self, text: str, filename: str) -> None:
        self._filename = filename
        try:
            self.document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(_syntax_error(text, filename, error)) from None
        self._lines = LineIndex(text)

    def tables(self, key: str) -> Iterable[tuple[dict[str, Any], Path]]:
        """The tables under ``[[key]]``, each with its path."""
        tables = self.document.get(key, [])
        if not isinstance(tables, list):
            self.fail((key,), f"tables are wanted, each under [[{key}]], not {kind_of(tables)}")
        for n, table in enumerate(tables):
            if not isinstance(table, dict):
                self.fail((key, n), f"a table is wanted, not {kind_of(table)}")
            yield table, (key, n)

    def table(self, key: str) -> dict[str, Any] | None:
        """The table ``[key]``, None where it is left out."""
        table = self.document.get(key)
        if table is not None and not isinstance(table, dict):
            self.fail((key,), f"a table [{key}] is wanted, not {kind_of(table)}")
        return table

    def value(self, table: dict[str, Any], path: Path, key: str, convert: Callable[[Any], T]) -> T | None:
        """One value, None where it is left out."""
        if key not in table:
            return None
        return self.attempt((*path, key), lambda: convert(table[key]))

    def values(
        self, table: dict[str, Any], path: Path, key: str, convert: Callable[[Any], T]
    ) -> tuple[T, ...] | None:
        """The values of a list, None where it is left out."""
        if key not in table:
            return None
        values, path = table[key], (*path, key)
        if not isinstance(values, list):
            self.fail(path, f"a list is wanted, not {kind_of(values)}")
        return tuple(self._element(value, (*path, n), convert) for n, value in enumerate(values))

    def _element(self, value: object, path: Path, convert: Callable[[Any], T]) -> T:
        return self.attempt(path, lambda: convert(value))

    def attempt(self, path: Path, make: Callable[[], T]) -> T:
        """What ``make`` makes; a ValueError of it is an error of this place."""
        try:
            return make()
        except ValueError as error:
            self.fail(path, str(error))

    def check_keys(self, table: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
        """Nothing but the known keys."""
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.fail((*path, key), f"unknown key; {hint}")

    def check_unique(self, names: Iterable[str], path_of: Callable[[int], Path]) -> None:
        """No name twice; ``path_of`` says where the n-th stands."""
        first: dict[str, int] = {}
        for n, name in enumerate(names):
            if name in first:
                line = self._lines.line_of(*path_of(first[name]))
                self.fail(path_of(n), f"{name!r} is already used in line {line}")
            first[name] = n

    def fail(self, path: Path, message: str) -> NoReturn:
        """The error of a place."""
        line = self._lines.line_of(*path)
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
        raise ConfigurationError(f"{self._filename}:{line}: {where}: {message}")


def _syntax_error(text: str, filename: str, error: tomllib.TOMLDecodeError) -> str:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
    if place is None:
        return f"{filename}: {error}"
    message = str(error)[: place.start()]
    if place[1] is None:
        return f"{filename}:{len(text.splitlines()) or 1}: {message} at the end of the file"
    return f"{filename}:{place[1]}: {message} (column {place[2]})"
