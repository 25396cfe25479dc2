"""The control of websockets' rows in the shared suite, `lab.test_clients`: what it does by itself."""

from __future__ import annotations

import pytest
import websockets.asyncio.client

from lab.racing import trusting
from pvdrace.lab import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.lab]


async def test_without_pvdrace_the_portal_is_an_error(t2: Lab) -> None:
    """The address is given, as the ordinary resolver is not the lab's."""
    t2["wA"].portal()
    with pytest.raises(OSError, match="certificate verify failed"):
        async with websockets.asyncio.client.connect(
            f"wss://{t2.name}/", ssl=trusting(t2), proxy=None, host=t2.address4
        ):
            pass
