"""The files that govern a connector, read: the configuration, policy files, profiles."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .config import gai_conf
from .config.configuration import PROFILES, Configuration, governed, parse
from .config.policy_file import PolicyFile, parse_policy_file
from .errors import ConfigurationError
from .selectors import near

if TYPE_CHECKING:
    from .policy import Policy

    File = str | os.PathLike[str]

#: The system's policy, if it is there; ``$PVDRACE_SYSTEM_POLICY`` names another one, empty: none.
SYSTEM_POLICY = "/etc/pvdrace/policy.toml"
SYSTEM_POLICY_VARIABLE = "PVDRACE_SYSTEM_POLICY"
#: What ``address_table = "gai.conf"`` means.
GAI_CONF = "/etc/gai.conf"


def read_configuration(
    config: File | Configuration | None,
    policy: Policy | PolicyFile | None = None,
    system: File | PolicyFile | None = None,
    *,
    instead: str | None = None,
) -> Configuration:
    """A configuration from what a caller may give for one, with all policy files that govern it.

    ``policy`` and ``system`` as in `Connector`; ``instead`` is a profile in the place of the one that the
    configuration names. Raises `ConfigurationError`.
    """
    if config is None:
        config = Configuration()
    elif not isinstance(config, Configuration):
        config = parse(_text(config), os.fspath(config))
    if instead is not None:
        config = replace(config, profile=instead)
    config = governed(
        config,
        policy if isinstance(policy, PolicyFile) else None,
        profile(config.profile) if config.profile else None,
        _system_policy(system),
    )
    return _with_gai_conf(config) if config.wants_gai_conf else config


def read_policy_file(path: File) -> PolicyFile:
    """A policy file, for `Connector`'s ``policy`` and ``system``. Raises `ConfigurationError`."""
    return parse_policy_file(_text(path), os.fspath(path))


def profile(name: str) -> PolicyFile:
    """A policy file that ships with the package: how another system chooses, see `profiles`.

    For ``Connector(policy=)``, or by its name for ``profile`` in the configuration. Raises
    `ConfigurationError` for a name that is none.
    """
    if name not in PROFILES:
        raise ConfigurationError(f"no profile {name!r}{near(str(name), PROFILES)}")
    return _profile(name)


def profiles() -> tuple[str, ...]:
    """The names that `profile` knows."""
    return PROFILES


@lru_cache
def _profile(name: str) -> PolicyFile:
    from importlib.resources import files

    text = files("pvdrace").joinpath("profiles", f"{name}.toml").read_text("utf-8")
    return parse_policy_file(text, f"pvdrace/profiles/{name}.toml", f"profile {name}")


def _system_policy(system: File | PolicyFile | None) -> PolicyFile | None:
    """The system's layer. One that is there and cannot be read is an error: it may prohibit something."""
    if isinstance(system, PolicyFile):
        return system
    if system is None:
        told = os.environ.get(SYSTEM_POLICY_VARIABLE)
        system = told if told is not None else SYSTEM_POLICY if os.path.lexists(SYSTEM_POLICY) else ""
    return read_policy_file(system) if os.fspath(system) else None


def _with_gai_conf(config: Configuration) -> Configuration:
    """The configuration with the host's table; without that file, glibc's own table is what holds."""
    text = _text(GAI_CONF) if os.path.lexists(GAI_CONF) else ""
    try:
        return replace(config, address_tables=(*config.address_tables, gai_conf.parse(text)))
    except ValueError as error:
        raise ConfigurationError(f"{GAI_CONF}: {error}") from None


def _text(path: File) -> str:
    if "\n" in (name := os.fspath(path)):
        raise ConfigurationError(f"{name.splitlines()[0]!r} ...: the path of a file is wanted, not its text")
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{os.fspath(path)}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{os.fspath(path)}: not UTF-8 at byte {error.start}") from error
