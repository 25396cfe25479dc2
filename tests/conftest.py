"""Every asynchronous test runs on both backends, unless it says otherwise."""

from __future__ import annotations

import os

import hypothesis
import pytest

# A gate must not fail by luck: there the examples are the same every time. At a desk they are new each time.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
