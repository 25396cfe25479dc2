"""A thread that lives inside the lab, to start commands from: a child is born where its parent thread is."""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from .syscalls import CLONE_FS, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, setns, unshare

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class InsideThread:
    """Runs functions in the client's network, mount and PID namespaces, one after the other.

    The PID namespace is that of the keeper: whatever is started here dies with the lab.
    """

    def __init__(self, network: int, mounts: int, pids: int) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lab-inside", daemon=True)
        self._thread.start()
        try:
            self.call(lambda: _move(network, mounts, pids))
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside and wait for it."""
        future: Future[T] = Future()
        self._work.put((future, function))
        return future.result()

    def close(self) -> None:
        """End the thread; what it started goes on."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, function = item
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)


def _move(network: int, mounts: int, pids: int) -> None:
    directory = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_FS)
        setns(mounts, CLONE_NEWNS)
        setns(network, CLONE_NEWNET)
        setns(pids, CLONE_NEWPID)
    finally:
        os.close(directory)
