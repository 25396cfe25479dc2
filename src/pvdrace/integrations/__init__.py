"""One file per client library; each imports the public names alone, and is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module


def __getattr__(name: str) -> object:
    if not name.startswith("_"):
        try:
            return import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise  # it is there, the client library is not
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
