"""Every asynchronous test runs on both backends, unless it says otherwise."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import hypothesis
import pytest

from loops import eager_loop

# A suite that was started in the background has inherited that these are ignored; its children must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A gate must not fail by luck: there the examples are the same every time. At a desk they are new each time.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What is asyncio's alone runs on each of its loops."""
    import uvloop

    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return loops | ({"eager": eager_loop} if sys.version_info >= (3, 12) else {})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
