from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvdrace.lab import Lab, Provider, become_root_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

# At import, before a plugin starts a thread; no effect where this process may build a lab already.
become_root_inside()


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    providers = [Provider("eth", delay=0.005), Provider("wifi", delay=0.015), Provider("lte", delay=0.030)]
    with Lab(providers) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """Three links with round trips of 10, 30 and 60 ms, all good at the start of each test."""
    yield shared_lab
    for link in shared_lab:
        link.heal()
    shared_lab.reset_counters()
