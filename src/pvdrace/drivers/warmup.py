"""PvDs that have to be brought up first: the application is told, and what was to be sent there waits."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING

import anyio

from ..race.actions import Connect, Lookup
from ..race.events import Failed, LookupFailed
from .stages import describe_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from ..model import ProvisioningDomain
    from ..race.actions import Action
    from ..race.events import Event

    OnNeed = Callable[[ProvisioningDomain], object]
    Packets = Lookup | Connect


class WarmUps:
    """The warm-ups of one race: one for each PvD with a ``warmup``, before the first packet there.

    ``on_need`` is called with the PvD, and awaited where it is asynchronous; no other PvD waits for it.
    ``perform`` gets what was kept, ``post`` what has failed.
    """

    def __init__(
        self,
        on_need: OnNeed,
        perform: Callable[[Sequence[Packets]], object],
        post: Callable[[Event], object],
    ) -> None:
        self._on_need = on_need
        self._perform = perform
        self._post = post
        self._by_name: dict[str, _WarmUp] = {}

    def keep(self, action: Action, tasks: TaskGroup | None, deferred: list[Action]) -> bool:
        """Keep an action until its PvD is up, or let it fail where it cannot be; False if it may go on.

        Without a task group it is ``deferred`` until there is one.
        """
        if not isinstance(action, Lookup | Connect) or not (pvd := _pvd_of(action)).warmup:
            return False
        if tasks is None:
            deferred.append(action)
            return True
        warm_up = self._by_name.get(pvd.name)
        if warm_up is None:
            warm_up = self._by_name[pvd.name] = _WarmUp()
            tasks.start_soon(self._bring_up, pvd, warm_up)
        if not warm_up.over:
            warm_up.waiting[action.id] = action
        elif warm_up.error is not None:
            self._post(_failure(action, warm_up.error))
        else:
            return False
        return True

    def forget(self, subject: int) -> None:
        """A lookup or attempt was cancelled."""
        for warm_up in self._by_name.values():
            warm_up.waiting.pop(subject, None)

    def pause(self) -> list[Packets]:
        """The tasks were cancelled with their group: what waited for them, to be kept anew."""
        waiting: list[Packets] = []
        for name, warm_up in list(self._by_name.items()):
            if not warm_up.over:
                waiting += warm_up.waiting.values()
                del self._by_name[name]
        return waiting

    def end(self) -> None:
        """The race is over: what is still being brought up is not needed any more."""
        for warm_up in self._by_name.values():
            warm_up.scope.cancel()

    async def _bring_up(self, pvd: ProvisioningDomain, warm_up: _WarmUp) -> None:
        if warm_up.scope.cancel_called:
            return  # the race was over before this task began
        with warm_up.scope:
            try:
                result = self._on_need(pvd)
                if isawaitable(result):
                    await result
            except Exception as error:  # whatever it raises is the end of this PvD in this race
                warm_up.error = f"not brought up: {describe_stage(error)}"
        warm_up.over = True
        waiting, warm_up.waiting = list(warm_up.waiting.values()), {}
        if warm_up.error is None:
            self._perform(waiting)
        else:
            for action in waiting:
                self._post(_failure(action, warm_up.error))


class _WarmUp:
    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.waiting: dict[int, Packets] = {}
        self.over = False
        self.error: str | None = None


def _pvd_of(action: Packets) -> ProvisioningDomain:
    return action.pvd if isinstance(action, Lookup) else action.candidate.pvd


def _failure(action: Packets, error: str) -> Event:
    return LookupFailed(action.id, error) if isinstance(action, Lookup) else Failed(action.id, error)
