"""Where nothing decides between PvDs, the application may: asked once for a set of networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import anyio
import pytest

import pvdrace
from loopback import HOST, Dns, Server, closing
from pvdrace import choosing
from pvdrace.choosing import Chooser
from pvdrace.config import Configuration, parse
from pvdrace.model import ProvisioningDomain, Ranked
from pvdrace.ranking.ambiguity import CHOICES_KEPT, Choices

A, B = (Ranked(ProvisioningDomain(name, interface=f"{name}0")) for name in "ab")
HOME, CAFE = (Ranked(ProvisioningDomain("wifi", identity=name)) for name in ("home", "cafe"))
LTE = Ranked(ProvisioningDomain("lte", identity="operator"))


# ---------------------------------------------------------------------- what is remembered


def test_an_answer_holds_for_the_same_networks_in_whatever_order() -> None:
    choices = Choices()
    assert not choices.made((A, B))
    choices.make((A, B), "b")
    assert choices.made((B, A))
    assert choices.of((B, A)) == "b"


def test_other_networks_are_another_question() -> None:
    choices = Choices()
    choices.make((HOME, LTE), "wifi")
    choices.make((CAFE, LTE), "lte")
    assert [choices.of((wifi, LTE)) for wifi in (HOME, CAFE)] == ["wifi", "lte"]
    assert not choices.made((HOME, CAFE))
    assert choices.of((HOME, CAFE)) is None


def test_a_network_is_recognised_by_its_identity_else_by_its_attachment() -> None:
    choices = Choices()
    choices.make((HOME, LTE), "wifi")
    elsewhere = replace(HOME.pvd, name="wlan1", attachment=7)
    assert choices.of((LTE, Ranked(elsewhere))) == "wlan1"
    choices.make((A, B), "a")
    assert not choices.made((Ranked(replace(A.pvd, attachment=2)), B))


def test_no_answer_is_one_too() -> None:
    choices = Choices()
    choices.make((A, B), None)
    assert choices.made((A, B))
    assert choices.of((A, B)) is None


def test_an_answer_that_is_none_of_them_is_an_error_and_asks_no_more() -> None:
    choices = Choices()
    with pytest.raises(ValueError, match=r"^on_ambiguous must return one of a, b or None, not 'c'$"):
        choices.make((A, B), "c")
    assert choices.made((A, B))


def test_only_so_many_are_kept() -> None:
    choices = Choices()
    several = [(A, Ranked(replace(B.pvd, attachment=n))) for n in range(CHOICES_KEPT + 1)]
    for between in several:
        choices.make(between, "a")
    assert [choices.made(several[n]) for n in (0, 1, -1)] == [False, True, True]


# ---------------------------------------------------------------------- who asks


@pytest.mark.anyio
async def test_many_races_at_once_put_one_question() -> None:
    asked = 0

    async def slowly(between: tuple[Ranked, ...]) -> str:
        nonlocal asked
        asked += 1
        await anyio.sleep(0.05)
        return "b"

    chooser = Chooser(slowly)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(chooser.ask, (A, B))
    assert (asked, chooser.choices.of((A, B))) == (1, "b")


@pytest.mark.anyio
async def test_who_is_cancelled_while_asking_has_not_asked() -> None:
    asked: list[anyio.Event] = []

    async def once_never(between: tuple[Ranked, ...]) -> str:
        asked.append(anyio.Event())
        if len(asked) == 1:
            await asked[0].wait()
        return "a"

    chooser = Chooser(once_never)
    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.05):
            tasks.start_soon(chooser.ask, (B, A))  # waits, asks second
            await chooser.ask((A, B))
    assert len(asked) == 2
    assert chooser.choices.of((A, B)) == "a"


@pytest.mark.anyio
async def test_who_does_not_answer_in_time_lets_the_ranking_stand(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert choosing.PATIENCE == 2.0
    monkeypatch.setattr(choosing, "PATIENCE", 0.02)

    async def never(between: tuple[Ranked, ...]) -> str:
        await anyio.sleep_forever()
        return "b"

    chooser = Chooser(never)
    with anyio.fail_after(5):
        await chooser.ask((A, B))
        await chooser.ask((A, B))
    assert chooser.choices.of((A, B)) is None
    assert caplog.messages == ["on_ambiguous did not choose between a, b in 0.02 s"]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [ZeroDivisionError(), "c"])
async def test_an_error_is_logged_and_the_ranking_stands(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(between: tuple[Ranked, ...]) -> str:
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    chooser = Chooser(callback)
    await chooser.ask((A, B))
    await chooser.ask((A, B))
    assert chooser.choices.of((A, B)) is None
    assert caplog.messages == ["on_ambiguous failed to choose between a, b"]


# ---------------------------------------------------------------------- a connector


@pytest.fixture
def host() -> Iterator[tuple[Configuration, int]]:
    """Two PvDs that nothing but their names tells apart, and the port of a server."""
    with ExitStack() as stack:
        server = Server("127.0.0.1")
        resolver = Dns({(HOST, "A"): ["127.0.0.1"], (HOST, "AAAA"): [], ("other.test", "A"): ["127.0.0.1"]})
        stack.enter_context(closing(server, resolver))
        pvds = "".join(
            f'[[pvd]]\nname = "{name}"\ninterface = "lo"\n\n'
            f'resolvers = ["127.0.0.1:{resolver.port}"]\ncost = "unmetered"\n'
            for name in ("left", "right")
        )
        yield parse("discover = []\n" + pvds), server.port


Answer = Callable[[tuple[Ranked, ...]], Any]


async def winners(
    host: tuple[Configuration, int], on_ambiguous: Answer, *names: str, **options: Any
) -> list[str]:
    """Who won the races to these hosts, one after the other, by one connector."""
    config, port = host
    found = []
    async with pvdrace.Connector(config, on_ambiguous=on_ambiguous, **options) as connector:
        for name in names:
            sock, report = await connector.connect(name, port)
            sock.close()
            assert report.winner is not None
            found.append(report.winner.pvd)
    return found


@pytest.mark.row("2.1", "3.5")
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.anyio
async def test_the_application_is_asked_once_with_the_ranked_pvds_and_its_answer_honoured(
    host: tuple[Configuration, int], asynchronous: bool
) -> None:
    """ "A connection manager asks the user if unsure; S60 asks at each start": here once a network."""
    asked: list[list[tuple[str, float | None]]] = []

    def choose(between: tuple[Ranked, ...]) -> str:
        asked.append([(ranked.pvd.name, ranked.head_start) for ranked in between])
        return "right"

    async def choose_in_time(between: tuple[Ranked, ...]) -> str:
        await anyio.sleep(0.01)
        return choose(between)

    callback = choose_in_time if asynchronous else choose
    assert await winners(host, callback, HOST, HOST, HOST) == ["right"] * 3
    assert asked == [[("left", 0.0), ("right", 0.25)]]


@pytest.mark.row("2.1")
@pytest.mark.anyio
async def test_silence_is_the_default(
    host: tuple[Configuration, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "PATIENCE", 0.02)

    async def never(between: tuple[Ranked, ...]) -> None:
        await anyio.sleep_forever()

    assert await winners(host, never, HOST, HOST) == ["left"] * 2
    assert await winners(host, lambda between: None, HOST) == ["left"]


@pytest.mark.anyio
async def test_nobody_is_asked_where_something_decides(host: tuple[Configuration, int]) -> None:
    def refuse(between: tuple[Ranked, ...]) -> None:
        raise AssertionError("asked")

    policy = pvdrace.Policy(prefer=["pvd:right"])
    assert await winners(host, refuse, HOST, policy=policy) == ["right"]
    assert await winners((replace(host[0], pvds=host[0].pvds[:1]), host[1]), refuse, HOST) == ["left"]


@pytest.mark.anyio
async def test_an_explanation_asks_nobody_and_knows_the_answer(
    host: tuple[Configuration, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    asked = []

    def choose(between: tuple[Ranked, ...]) -> str:
        asked.append(between)
        return "right"

    config, port = host
    async with pvdrace.Connector(config, on_ambiguous=choose) as connector:
        before = await connector.explain(HOST, port)
        assert (asked, [pvd.pvd for pvd in before.pvds]) == ([], ["left", "right"])
        sock, _ = await connector.connect(HOST, port)
        sock.close()
        after = await connector.explain(HOST, port)
    assert (len(asked), [pvd.pvd for pvd in after.pvds]) == (1, ["right", "left"])
    assert "chosen" in map(str, after.pvds[0].because)
