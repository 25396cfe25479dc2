"""Asks the application which PvD it would have, where nothing decides between them."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING

import anyio

from .ranking.ambiguity import Choices, networks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .model import Ranked

    OnAmbiguous = Callable[[tuple[Ranked, ...]], "str | Awaitable[str | None] | None"]

log = logging.getLogger("pvdrace")

PATIENCE = 2.0
"""Seconds that the application has for its answer: then the ranking stands."""


class Chooser:
    """Puts each question once, however many races wait for the answer."""

    def __init__(self, on_ambiguous: OnAmbiguous) -> None:
        self.choices = Choices()
        self._on_ambiguous = on_ambiguous
        self._asking: dict[object, anyio.Event] = {}

    async def ask(self, between: tuple[Ranked, ...]) -> None:
        """Ask, or wait for who is asking; afterwards `choices` has the answer.

        Cancelled while it asks, it has not asked.
        """
        question = networks(between)
        while not self.choices.made(between):
            if (answered := self._asking.get(question)) is not None:
                await answered.wait()
                continue
            answered = self._asking[question] = anyio.Event()
            try:
                await self._ask(between)
            finally:
                del self._asking[question]
                answered.set()

    async def _ask(self, between: tuple[Ranked, ...]) -> None:
        names = ", ".join(ranked.pvd.name for ranked in between)
        answer: str | None = None
        try:
            with anyio.move_on_after(PATIENCE) as scope:
                said = self._on_ambiguous(between)
                answer = await said if isawaitable(said) else said
            if scope.cancelled_caught:
                log.warning("on_ambiguous did not choose between %s in %s s", names, PATIENCE)
            self.choices.make(between, answer)
        except Exception:
            log.exception("on_ambiguous failed to choose between %s", names)
            if not self.choices.made(between):
                self.choices.make(between, None)
