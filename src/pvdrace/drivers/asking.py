"""The lookups of one race of the blocking driver."""

from __future__ import annotations

import select
from contextlib import ExitStack
from math import inf
from typing import TYPE_CHECKING

from ..dns.messages import DnsFailure
from ..race.events import LookupAnswered, LookupFailed

if TYPE_CHECKING:
    from collections import deque

    from ..dns.conversations import Release
    from ..dns.messages import Answer
    from ..race.actions import Lookup
    from ..race.events import Event
    from .blocking_roles import BlockingLookups, BlockingPending


class Questions:
    """What is being asked; what comes of it goes to the ``inbox``. Each is one descriptor of the driver's."""

    def __init__(self, lookups: BlockingLookups, release: Release, inbox: deque[Event]) -> None:
        self._lookups = lookups
        self._release = release
        self._inbox = inbox
        self._asking: dict[int, BlockingPending] = {}  # by lookup
        self._actions: dict[int, Lookup] = {}  # by descriptor
        self._epoll: select.epoll | None = None

    def __bool__(self) -> bool:
        return bool(self._asking)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._actions

    def ask(self, action: Lookup) -> None:
        """Answer it from the cache, or send the question."""
        answer = self._lookups.cached(action.pvd, action.name, action.type)
        if answer is not None:
            self._inbox.append(LookupAnswered(action.id, answer.addresses, answer.server, True))
            return
        try:
            asking = self._lookups.begin(
                action.pvd, action.name, action.type, families=action.families, release=self._release
            )
        except (OSError, ValueError) as error:
            self._inbox.append(LookupFailed(action.id, str(error), None))
            return
        self._asking[action.id] = asking
        if asking.outcome is not None:
            self._conclude(action, asking.outcome)
            return
        descriptor = asking.fileno()
        self._actions[descriptor] = action
        if self._epoll is not None:
            self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, epoll: select.epoll) -> None:
        """From now on this is what the driver waits with."""
        self._epoll = epoll
        for descriptor in self._actions:
            epoll.register(descriptor, select.EPOLLIN)

    def due(self) -> float:
        """Seconds until `tick` has something to do."""
        return min((asking.due() for asking in self._asking.values()), default=inf)

    def heard(self, descriptor: int) -> None:
        """Something has come on this descriptor."""
        self._proceed(self._actions[descriptor])

    def tick(self) -> None:
        """Time has passed."""
        for action in list(self._actions.values()):
            if self._asking[action.id].due() <= 0:
                self._proceed(action)

    def forget(self, lookup: int) -> None:
        """It is not wanted any more, or over. Harmless for what was never asked."""
        asking = self._asking.pop(lookup, None)
        if asking is None:
            return
        for descriptor in [d for d, action in self._actions.items() if action.id == lookup]:
            del self._actions[descriptor]
            if self._epoll is not None:
                self._epoll.unregister(descriptor)
        asking.close()

    def close(self) -> None:
        """Give all of it up."""
        with ExitStack() as ends:
            for asking in self._asking.values():
                ends.callback(asking.close)
        self._asking.clear()
        self._actions.clear()

    def _proceed(self, action: Lookup) -> None:
        asking = self._asking[action.id]
        try:
            asking.proceed()
        except ValueError as error:
            self._conclude(action, DnsFailure(str(error)))
        else:
            if asking.outcome is not None:
                self._conclude(action, asking.outcome)

    def _conclude(self, action: Lookup, outcome: Answer | DnsFailure) -> None:
        self.forget(action.id)
        if isinstance(outcome, DnsFailure):
            self._inbox.append(LookupFailed(action.id, str(outcome), outcome.server))
        else:
            self._inbox.append(LookupAnswered(action.id, outcome.addresses, outcome.server, outcome.cached))
