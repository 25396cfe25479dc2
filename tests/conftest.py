"""Every asynchronous test runs on both backends, unless it says otherwise."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest

# A suite that was started in the background has inherited that these are ignored; its children must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A gate must not fail by luck: there the examples are the same every time. At a desk they are new each time.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
