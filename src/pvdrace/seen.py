"""The set of PvDs as it was seen last, and whether it may have changed since. Reading anew is for others.

Does: it asks the kernel's socket and the files whether there is anything new. Never waits.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING

from .discovery.merge import merge
from .discovery.system_dns import DnsFiles
from .reachability import overlay, same_verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config.configuration import Configuration
    from .discovery.diff import PvdChange
    from .discovery.kernel import Kernel
    from .discovery.resolvers import SystemDns
    from .discovery.state import KernelState
    from .model import ProvisioningDomain, PvdSet, Reached
    from .reachability import Known

#: Seconds between two looks at the DNS files, which make no event. Nobody looks while nobody asks.
DNS_INTERVAL = 1.0


class Seen:
    """What all monitors have in common: the snapshot, whether it is stale, and who wants to know."""

    def __init__(self, configuration: Configuration, dns: DnsFiles | None = None) -> None:
        self._configuration = configuration
        self._dns = dns or DnsFiles()
        self._kernel: Kernel | None = None
        self._snapshot: PvdSet | None = None
        self._plain: PvdSet | None = None  # the same, without what probes have found
        self._known: dict[str, Known] = {}
        self._state: KernelState | None = None  # of which it was made
        self._dirty = False
        self._dns_looked = -math.inf
        self._bells: set[int] = set()

    @property
    def snapshot(self) -> PvdSet:
        """The newest set of PvDs. Raises RuntimeError before `open`."""
        if self._snapshot is None:
            raise RuntimeError("the monitor is not open")
        return self._snapshot

    def fileno(self) -> int:
        """A socket that is readable when something may have changed; -1 when there is none."""
        return -1 if self._kernel is None else self._kernel.fileno()

    def stale(self) -> bool:
        """Whether something has changed since the last refresh. Never waits.

        One system call; once in `DNS_INTERVAL` a few more, for the DNS files.
        """
        if self._kernel is None:
            return False
        if self._kernel.changed():
            self._dirty = True
            self._ring()
        now = time.monotonic()
        if now - self._dns_looked >= DNS_INTERVAL:
            self._dns_looked = now
            if not self._dirty and self._dns.changed():
                self._dirty = True
                self._ring()
        return self._dirty

    def bell(self, seen: PvdSet) -> int:
        """A descriptor of the caller's own that is readable when `snapshot` may not be ``seen`` any more.

        It rings whoever finds out, and has rung already if that has happened before. `heard` silences it
        until the next time; give it back to `mute`. The events of the kernel are not in it until somebody
        looks: who wants to be woken by them waits for `fileno` too. Raises OSError if there is none to have.
        """
        rung = self._dirty or seen is not self._snapshot
        bell = os.eventfd(int(rung), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bells.add(bell)
        return bell

    def heard(self, bell: int) -> None:
        """Silence a bell. What comes after this call rings it again, so look after it, not before."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(bell)

    def mute(self, bell: int) -> None:
        """Close a bell."""
        self._bells.discard(bell)
        os.close(bell)

    def learn(self, pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> bool:
        """Take in what a probe has found of a PvD; whether that is another verdict than before.

        Then there is a new `snapshot`. It holds for this attachment of the PvD alone. Raises RuntimeError
        before `open`.
        """
        if self._plain is None:
            raise RuntimeError("the monitor is not open")
        now = self._plain.get(pvd.name)
        if now is None or now.attachment != pvd.attachment:
            return False
        attachment, before = self._known.get(pvd.name, (pvd.attachment, ()))
        if attachment == pvd.attachment and same_verdict(before, reached):
            return False
        self._known[pvd.name] = pvd.attachment, reached
        self._publish(self._plain)
        return True

    def _publish(self, plain: PvdSet) -> None:
        """Show a snapshot with all that is known of its PvDs, and tell everybody."""
        self._known = {name: known for name, known in self._known.items() if name in plain}
        before = self._snapshot.generation if self._snapshot is not None else plain.generation - 1
        self._snapshot = overlay(plain, self._known, before + 1)
        self._wake()

    def announce(self, change: PvdChange) -> None:
        """Tell all who follow the changes, where somebody can."""

    def _take_in(
        self, state: KernelState, dns: SystemDns, others: Sequence[ProvisioningDomain] = ()
    ) -> PvdSet:
        """Make the newest snapshot of what was read: the same object where nothing has changed."""
        newest = merge(self._configuration, state, dns, others, self._plain, self._state)
        self._state = state
        if newest is not self._plain or self._snapshot is None:
            self._plain = newest
            self._publish(newest)
        return self.snapshot

    def _ring(self) -> None:
        """Tell those who have a `bell` to look."""
        for bell in self._bells:
            os.eventfd_write(bell, 1)

    def _wake(self) -> None:
        """Tell everybody to look."""
        self._ring()
