"""pvdrace: happy eyeballs across provisioning domains.

The names below are loaded when they are first used: ``import pvdrace`` loads no DNS, netlink or event loop
library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import integrations as integrations
    from . import lab as lab
    from . import proxy as proxy
    from . import sync as sync
    from . import testing as testing
    from .answers import Answer as Answer
    from .config.configuration import Configuration as Configuration
    from .config.policy_file import PolicyFile as PolicyFile
    from .connection import Connection as Connection
    from .connector import Connector as Connector
    from .default import connect as connect
    from .default import open_connection as open_connection
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ConnectFailed as ConnectFailed
    from .errors import NoUsablePvd as NoUsablePvd
    from .errors import PolicyProhibited as PolicyProhibited
    from .errors import PvdRaceError as PvdRaceError
    from .errors import ResolutionFailed as ResolutionFailed
    from .errors import WaitTimeout as WaitTimeout
    from .errors import report_of as report_of
    from .files import profile as profile
    from .files import profiles as profiles
    from .model import Cost as Cost
    from .model import CostClass as CostClass
    from .model import ProvisioningDomain as ProvisioningDomain
    from .model import PvdSet as PvdSet
    from .model import Reachability as Reachability
    from .model import Reached as Reached
    from .paths import Path as Path
    from .policy import Policy as Policy
    from .policy import Preference as Preference
    from .provisional import Provisional as Provisional
    from .race.pacing import Pacing as Pacing
    from .race.report import RaceReport as RaceReport
    from .rules import Match as Match
    from .rules import Rule as Rule

_HOMES = {
    "Answer": "answers",
    "Configuration": "config.configuration",
    "ConfigurationError": "errors",
    "ConnectFailed": "errors",
    "Connection": "connection",
    "Connector": "connector",
    "Cost": "model",
    "CostClass": "model",
    "Match": "rules",
    "NoUsablePvd": "errors",
    "Pacing": "race.pacing",
    "Path": "paths",
    "Policy": "policy",
    "PolicyFile": "config.policy_file",
    "PolicyProhibited": "errors",
    "Preference": "policy",
    "Provisional": "provisional",
    "ProvisioningDomain": "model",
    "PvdRaceError": "errors",
    "PvdSet": "model",
    "RaceReport": "race.report",
    "Reachability": "model",
    "Reached": "model",
    "ResolutionFailed": "errors",
    "Rule": "rules",
    "WaitTimeout": "errors",
    "connect": "default",
    "open_connection": "default",
    "profile": "files",
    "profiles": "files",
    "report_of": "errors",
}

_ROOMS = ("integrations", "lab", "proxy", "sync", "testing")

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
