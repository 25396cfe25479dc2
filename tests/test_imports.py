"""The public names, and what it costs to import them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pvdrace

PUBLIC = [
    "Answer",
    "Configuration",
    "ConfigurationError",
    "ConnectFailed",
    "Connection",
    "Connector",
    "Cost",
    "CostClass",
    "Match",
    "NoUsablePvd",
    "Pacing",
    "Path",
    "Policy",
    "PolicyFile",
    "PolicyProhibited",
    "Preference",
    "Provisional",
    "ProvisioningDomain",
    "PvdRaceError",
    "PvdSet",
    "RaceReport",
    "Reachability",
    "Reached",
    "ResolutionFailed",
    "Rule",
    "WaitTimeout",
    "__version__",
    "connect",
    "open_connection",
    "profile",
    "profiles",
    "report_of",
]


def test_all_is_what_was_promised() -> None:
    assert pvdrace.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(pvdrace, name)
    assert value is not None
    assert name in dir(pvdrace)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Conector'"):
        pvdrace.Conector  # noqa: B018


@pytest.mark.parametrize("room", ["integrations", "lab", "testing"])
def test_a_room_is_loaded_when_it_is_first_used(room: str) -> None:
    code = (
        f"import sys, pvdrace; print({room!r} in dir(pvdrace), 'pvdrace.{room}' in sys.modules);"
        f"print(pvdrace.{room}.__name__, pvdrace.{room} is sys.modules['pvdrace.{room}'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["True False", f"pvdrace.{room} True"]


def test_an_integration_is_loaded_when_it_is_first_used() -> None:
    code = "import pvdrace; print(pvdrace.integrations.asyncio.open_connection.__module__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "pvdrace.integrations.asyncio\n"
    with pytest.raises(AttributeError, match="has no attribute 'asincio'"):
        pvdrace.integrations.asincio  # noqa: B018


HEAVY = ("anyio", "asyncio", "dns", "opentelemetry", "prometheus_client", "pyroute2", "ssl", "trio")


@pytest.mark.parametrize(
    "statement",
    [
        "import pvdrace",
        "from pvdrace import Policy, ProvisioningDomain, RaceReport",
        "import pvdrace.testing.scenario",
    ],
)
def test_a_fresh_interpreter_loads_no_heavy_library(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
