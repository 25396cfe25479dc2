"""``[[address_table]]`` of ``pvdrace.toml``: RFC 6724 policy tables of one's own. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from .config_values import as_text, as_word, kind_of
from .gai_conf import NAME as GAI_CONF
from .model import AddressRow, AddressTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from .toml_lines import Path

#: The RFC 6724 policy tables that can be named in ``address_table`` without being given.
ADDRESS_TABLES = ("rfc6724", "rfc6724-ipv4-first", "rfc6724-update", "glibc", "android-2.2")
_MAX = 255  # RFC 7078 s4.2: eight bits for a label and for a precedence
_ROW = ("prefix", "precedence", "label")


def read_tables(
    tables: Iterable[tuple[dict[str, Any], Path]], fail: Callable[[Path, str], NoReturn]
) -> tuple[AddressTable, ...]:
    """The tables of a document; ``fail`` raises the error for a place in it."""
    found: dict[str, AddressTable] = {}
    for table, path in tables:
        if (problem := _problem(table, ("name", "rows"))) is not None:
            fail((*path, *problem[0]), problem[1])
        name = _attempt(as_word, table["name"], (*path, "name"), fail)
        if name in found or name in (*ADDRESS_TABLES, GAI_CONF):
            what = "used by another table" if name in found else "the name of a built-in table"
            fail((*path, "name"), f"{name!r} is {what}")
        rows = table["rows"]
        if not isinstance(rows, list):
            fail((*path, "rows"), f"a list is wanted, not {kind_of(rows)}")
        found[name] = AddressTable(
            name, tuple(_row(row, (*path, "rows", n), fail) for n, row in enumerate(rows))
        )
        prefixes = [row.prefix for row in found[name].rows]
        for n, prefix in enumerate(prefixes):
            if prefix in prefixes[:n]:
                fail((*path, "rows", n), f"{prefix} has a row already")
        if "::/0" not in prefixes:
            fail((*path, "rows"), "a table needs a row for ::/0, so that every address has one")
    return tuple(found.values())


def as_table(tables: Iterable[AddressTable]) -> Callable[[Any], str]:
    """The conversion of a table's name, where these tables stand in the same file."""
    known = (*ADDRESS_TABLES, *(table.name for table in tables), GAI_CONF)

    def convert(value: Any) -> str:
        text = as_text(value)
        if text not in known:
            raise ValueError(f"{text!r} is not one of {', '.join(known)}")
        return text

    return convert


def _row(row: Any, path: Path, fail: Callable[[Path, str], NoReturn]) -> AddressRow:
    if not isinstance(row, dict):
        fail(path, f"a table {{ prefix, precedence, label }} is wanted, not {kind_of(row)}")
    if (problem := _problem(row, _ROW)) is not None:
        fail((*path, *problem[0]), problem[1])
    return AddressRow(
        _attempt(_as_prefix, row["prefix"], (*path, "prefix"), fail),
        _attempt(_as_byte, row["precedence"], (*path, "precedence"), fail),
        _attempt(_as_byte, row["label"], (*path, "label"), fail),
    )


def _problem(table: dict[str, Any], keys: tuple[str, ...]) -> tuple[Path, str] | None:
    for key in table:
        if key not in keys:
            return (key,), f"unknown key; known are {', '.join(keys)}"
    for key in keys:
        if key not in table:
            return (), f"{key} is missing"
    return None


def _attempt(
    convert: Callable[[Any], Any], value: Any, path: Path, fail: Callable[[Path, str], NoReturn]
) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        fail(path, str(error))


def _as_prefix(value: Any) -> str:
    """An IPv6 prefix, or an IPv4 one, which stands for its IPv4-mapped form; canonical."""
    text = as_text(value)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a prefix: {error}") from None
    if network.version == 4:
        mapped = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + network.network_address.packed)
        return str(ipaddress.IPv6Network((mapped, network.prefixlen + 96)))
    return str(network)


def _as_byte(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is wanted, not {kind_of(value)}")
    if not 0 <= value <= _MAX:
        raise ValueError(f"{value} is not between 0 and {_MAX}")
    return value
