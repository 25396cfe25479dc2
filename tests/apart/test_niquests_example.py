"""The example for niquests, in its environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pvdrace.lab import Lab
from pvdrace.lab.scenarios import build
from test_examples import run_inside

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with build("good") as running:
        yield running


@pytest.mark.parametrize("how", [[], ["--asynchronous"]], ids=["blocking", "asynchronous"])
def test_niquests_session(lab: Lab, how: list[str]) -> None:
    lab["eth"].portal()
    printed = run_inside(lab, "niquests_session.py", f"https://{lab.name}/", "--ca-file", lab.ca_file, *how)
    assert printed.startswith("200 wifi\n")
    assert "wrong certificate" in printed
    assert "wifi won" in printed
