"""Dataclasses and named tuples as JSON's values, and back, by their type hints. Pure.

Reading checks every type, and each error names its place: ``report.race.pvds[0].cost.kind: …``.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def write(value: Any) -> Any:
    """A value as dicts, lists, text, numbers, booleans and None."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: write(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: write(getattr(value, name)) for name in value._fields}
    if isinstance(value, list | tuple):
        return [write(item) for item in value]
    return sorted(value) if isinstance(value, frozenset) else value


def read(kind: type[T], value: Any, where: str) -> T:
    """A value of this kind; ValueError if it is none. ``where`` is its place, for the error."""
    found: T = _read(kind, value, where)
    return found


def member(record: Any, key: str, where: str) -> Any:
    """The member of a JSON object; ValueError if there is none."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: must be an object, not {_name(record)}")
    if key not in record:
        raise ValueError(f"{where}: {key!r} is missing")
    return record[key]


def items(value: Any, where: str) -> list[tuple[Any, str]]:
    """The items of a JSON array, each with its place; ValueError if it is no array."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: must be an array, not {_name(value)}")
    return [(item, f"{where}[{index}]") for index, item in enumerate(value)]


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin is UnionType:
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
        return _read(kind, value, where)
    if origin in (tuple, frozenset):
        return origin(_read(get_args(kind)[0], item, place) for item, place in items(value, where))
    if origin is dict:
        member_kind = get_args(kind)[1]
        keys = _keys(value, where)
        return {key: _read(member_kind, value[key], f"{where}.{key}") for key in keys}
    if issubclass(kind, Enum):
        known = {one.value: one for one in kind}
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(known)}")
        return known[value]
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _read_record(kind, value, where)
    if kind is float:
        return _number(value, where)
    if type(value) is not kind:
        raise ValueError(f"{where}: must be {_NAMES[kind]}, not {_name(value)}")
    return value


def _read_record(kind: Any, value: Any, where: str) -> Any:
    known, required = _members(kind)
    for key in _keys(value, where):
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}")
    for key in required:
        member(value, key, where)
    given = {key: _read(known[key], one, f"{where}.{key}") for key, one in value.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


@lru_cache(maxsize=64)
def _members(kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    hints = get_type_hints(kind)
    if not is_dataclass(kind):
        return hints, tuple(name for name in hints if name not in kind._field_defaults)
    given = [field for field in fields(kind) if field.init]
    required = [f.name for f in given if f.default is MISSING and f.default_factory is MISSING]
    return {field.name: hints[field.name] for field in given}, tuple(required)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: must be a number, not {_name(value)}")
    return value


def _keys(value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be an object, not {_name(value)}")
    return list(value)


_NAMES = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "an array"}


def _name(value: Any) -> str:
    if value is None:
        return "null"
    return (
        repr(value) if isinstance(value, bool | int | float | str) else _NAMES.get(type(value), repr(value))
    )
