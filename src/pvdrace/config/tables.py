"""``[[address_table]]`` of ``pvdrace.toml``: RFC 6724 policy tables of one's own. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from ..model import AddressRow, AddressTable
from .gai_conf import NAME as GAI_CONF
from .values import as_text, as_word, kind_of, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .toml_lines import Path
    from .toml_reader import TomlReader

#: The RFC 6724 policy tables that can be named in ``address_table`` without being given.
ADDRESS_TABLES = ("rfc6724", "rfc6724-ipv4-first", "rfc6724-update", "glibc", "android-2.2")
TABLE_KEYS = ("name", "rows")
_ROW_KEYS = ("prefix", "precedence", "label")
_MAX = 255  # RFC 7078 s4.2: eight bits for a label and for a precedence


def read_tables(reader: TomlReader) -> tuple[AddressTable, ...]:
    """The ``[[address_table]]`` tables of a document. Raises `ConfigurationError`."""
    tables = tuple(_table(reader, table, path) for table, path in reader.tables("address_table"))
    reader.check_unique([table.name for table in tables], lambda n: ("address_table", n, "name"))
    return tables


def as_table(document: Mapping[str, Any]) -> Callable[[object], str]:
    """The conversion of a table's name, for a document that may have tables of its own."""
    tables = document.get("address_table")
    given = [table.get("name") for table in tables if isinstance(table, dict)] if tables else []
    return one_of((*ADDRESS_TABLES, *(name for name in given if isinstance(name, str)), GAI_CONF))


def _table(reader: TomlReader, table: dict[str, Any], path: Path) -> AddressTable:
    _check(reader, table, path, TABLE_KEYS)
    name = reader.value(table, path, "name", as_word) or ""
    if name in (*ADDRESS_TABLES, GAI_CONF):
        reader.fail((*path, "name"), f"{name!r} is the name of a built-in table")
    path = (*path, "rows")
    rows = table["rows"]
    if not isinstance(rows, list):
        reader.fail(path, f"a list is wanted, not {kind_of(rows)}")
    found = tuple(_row(reader, row, (*path, n)) for n, row in enumerate(rows))
    prefixes = [row.prefix for row in found]
    for n, prefix in enumerate(prefixes):
        if prefix in prefixes[:n]:
            reader.fail((*path, n), f"{prefix} has a row already")
    if "::/0" not in prefixes:
        reader.fail(path, "a table needs a row for ::/0, so that every address has one")
    return AddressTable(name, found)


def _row(reader: TomlReader, row: object, path: Path) -> AddressRow:
    if not isinstance(row, dict):
        reader.fail(path, f"a table {{ prefix, precedence, label }} is wanted, not {kind_of(row)}")
    _check(reader, row, path, _ROW_KEYS)
    return AddressRow(
        reader.value(row, path, "prefix", _as_prefix) or "",
        reader.value(row, path, "precedence", _as_byte) or 0,
        reader.value(row, path, "label", _as_byte) or 0,
    )


def _check(reader: TomlReader, table: dict[str, Any], path: Path, keys: tuple[str, ...]) -> None:
    reader.check_keys(table, path, keys)
    for key in keys:
        if key not in table:
            reader.fail(path, f"{key} is missing")


def _as_prefix(value: object) -> str:
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


def _as_byte(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is wanted, not {kind_of(value)}")
    if not 0 <= value <= _MAX:
        raise ValueError(f"{value} is not between 0 and {_MAX}")
    return value
