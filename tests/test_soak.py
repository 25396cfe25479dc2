"""Ten thousand races in one process: nothing grows."""

from __future__ import annotations

import gc
import sys

import anyio
import pytest

from loopback import Dns, Server, closing
from pvdrace.dns.resolver import PvdResolver
from pvdrace.drivers.aio import Driven, drive
from pvdrace.race.race import Won
from test_driver import descriptors, pvd, race_over, settle

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

RACES = 10_000


def held() -> int:
    """Blocks of memory in use."""
    gc.collect()
    return sys.getallocatedblocks()


async def test_ten_thousand_races_leave_nothing_behind() -> None:
    """Descriptors, tasks and memory: after 10,000 races as after the first few hundred.

    Every fourth race asks its resolver anew, every tenth loses an attempt first (nobody listens on ::1).
    """
    server = Server("127.0.0.1")
    dns = Dns({("one.test", "AAAA"): [], ("one.test", "A"): ["127.0.0.1"]})
    dns.answers |= {("two.test", "AAAA"): ["::1"], ("two.test", "A"): ["127.0.0.1"]}
    here = pvd("a", dns)

    async def races(count: int) -> None:
        resolver = PvdResolver()
        for number in range(count):
            if number % 4 == 0:
                resolver.forget("a")
            race = race_over(here, port=server.port, host="one.test" if number % 10 else "two.test")
            driven: Driven[None] = await drive(race, resolver)
            assert isinstance(race.outcome, Won)
            assert driven.sock is not None
            driven.sock.close()
        dns.asked.clear()  # the server's own memory

    with closing(server, dns):
        await races(500)
        await anyio.sleep(0.3)  # the server's ends are closed too
        open_before, tasks = descriptors(), len(anyio.get_running_tasks())
        await races(500)
        before = held()
        await races(RACES - 1000)
        growth = held() - before
        assert await settle(open_before) <= 0
        assert len(anyio.get_running_tasks()) == tasks
        assert growth < RACES / 20, f"{growth} blocks of memory more after {RACES} races"
