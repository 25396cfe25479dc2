"""The rows of ``pvdrace top``: PvDs, what processes tell of them, and what the kernel counts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ..model import LOOPBACK, PvdSet, Reachability
from ..reachability import with_reached
from .counting import PvdCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..expectation import Expectations
    from ..model import ProvisioningDomain, Ranking
    from ..net.sock_diag import TcpSocket
    from .counting import Told

#: In which order rows can be.
ORDERS = ("rank", "name", "traffic", "races")
#: Seconds for which what a process last knew of a PvD's reach is taken for true.
REACH_KEPT = 600.0
GONE = "gone"


class Volume(NamedTuple):
    """Bytes of one PvD; ``open``: connections now. The rates are in bytes a second; None at first."""

    open: int = 0
    received: int = 0
    sent: int = 0
    receiving: float | None = None
    sending: float | None = None


class Overview(NamedTuple):
    """One PvD. ``place`` is that in the ranking for general traffic, from 1; ``because`` what decided it.

    ``place`` None: it would not run, and ``because`` says why. ``latency`` is what history expects, in
    seconds from the name to ready. ``pvd`` is None for one that is not there any more.
    """

    name: str
    pvd: ProvisioningDomain | None
    place: int | None
    because: tuple[str, ...]
    latency: float | None
    counts: PvdCounts
    volume: Volume


class Look(NamedTuple):
    """All of it at one moment: ``time`` in seconds since 1970, the rows, and what each process tells.

    ``trouble``: why nothing is known of connections, where the kernel does not say.
    """

    time: float
    rows: list[Overview]
    tolds: list[Told]
    trouble: str | None = None


def with_what_is_told(pvds: PvdSet, tolds: Iterable[Told], now: float) -> PvdSet:
    """The PvDs of which nothing is known here, with the newest that a process of ours knows of their reach.

    ``now`` is in seconds since 1970. It holds for the network in which it was found: for the same addresses.
    """
    newest = sorted((told for told in tolds if now - told.last <= REACH_KEPT), key=lambda told: told.last)
    found = {}
    for told in newest:
        for name, known in told.known.items():
            pvd = pvds.get(name)
            addresses = () if pvd is None else tuple(address.address for address in pvd.addresses)
            if pvd is not None and addresses == known.addresses and pvd.unusable is None:
                found[name] = known.reached
    return PvdSet(
        tuple(
            with_reached(pvd, found[pvd.name])
            if pvd.name in found and pvd.reachability is Reachability.UNKNOWN
            else pvd
            for pvd in pvds
        ),
        pvds.generation,
    )


@dataclass
class _Tally:
    """One PvD: what is behind it, and what its sockets that are open have carried."""

    received: int = 0
    sent: int = 0
    sockets: dict[int, tuple[int, int]] = field(default_factory=dict)


class Traffic:
    """Adds up what sockets carry, from one look to the next.

    What a connection carried between the last look at it and its end is not in it, nor is one that came and
    went between two looks: nobody saw it.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {}
        self._at: float | None = None
        self.volumes: dict[str, Volume] = {}

    def look(self, sockets: Sequence[tuple[str, TcpSocket]], now: float) -> None:
        """Take in the sockets that there are, each with the name of its PvD; ``now`` in seconds."""
        seen: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in self._tallies}
        for name, sock in sockets:
            seen.setdefault(name, {})[sock.cookie] = (sock.received, sock.sent)
        elapsed = None if self._at is None else now - self._at
        self.volumes = {name: self._volume(name, open_now, elapsed) for name, open_now in seen.items()}
        self._at = now

    def _volume(self, name: str, now: dict[int, tuple[int, int]], elapsed: float | None) -> Volume:
        tally = self._tallies.setdefault(name, _Tally())
        came = went = 0
        for cookie, (received, sent) in now.items():
            before = tally.sockets.get(cookie, (0, 0))
            came += received - before[0]
            went += sent - before[1]
        tally.received += came
        tally.sent += went
        tally.sockets = now
        rates = (came / elapsed, went / elapsed) if elapsed else (None, None)
        return Volume(len(now), tally.received, tally.sent, *rates)


def by_pvd(sockets: Iterable[TcpSocket], pvds: PvdSet) -> list[tuple[str, TcpSocket]]:
    """Which PvD a socket is in: that of the device that it is bound to, as `pvdrace.net.sockets` pins it.

    In a PvD that is pinned in another way: that of its address, for a socket that is bound to no device.
    """
    devices = {pvd.ifindex: pvd.name for pvd in pvds if pvd.ifindex and pvd.pin == "device"}
    sources = {a.address: pvd.name for pvd in pvds if pvd.pin != "device" for a in pvd.addresses}
    found = []
    for sock in sockets:
        name = devices.get(sock.ifindex) if sock.ifindex else sources.get(sock.local)
        if name is not None:
            found.append((name, sock))
    return found


def overview(
    pvds: PvdSet, ranking: Ranking, expected: Expectations, tolds: Iterable[Told], volumes: dict[str, Volume]
) -> list[Overview]:
    """A row for each PvD: those that would run, in order, those that would not, and those that are gone."""
    counts = added_up(tolds)
    places: dict[str, tuple[int | None, tuple[str, ...]]] = {
        ranked.pvd.name: (place, tuple(map(str, ranked.because)))
        for place, ranked in enumerate(ranking.ranked, 1)
    }
    left_out = {ranked.pvd.name: (None, (str(ranked.excluded),)) for ranked in ranking.excluded}
    stands = {**places, **left_out}
    heard_of = counts.keys() | {name for name, volume in volumes.items() if volume.open}
    stands |= dict.fromkeys(sorted(heard_of - stands.keys()), (None, (GONE,)))
    return [
        Overview(
            name,
            pvds.get(name),
            place,
            because,
            expected[name].ready if name in expected else None,
            counts.get(name, PvdCounts()),
            volumes.get(name, Volume()),
        )
        for name, (place, because) in stands.items()
    ]


def added_up(tolds: Iterable[Told]) -> dict[str, PvdCounts]:
    """What all processes tell, by PvD; what stayed on this host is left out."""
    found: dict[str, PvdCounts] = {}
    for told in tolds:
        for name, more in told.pvds.items():
            if name == LOOPBACK:
                continue
            sum_ = found.get(name, PvdCounts())
            found[name] = replace(
                sum_,
                races=sum_.races + more.races,
                attempts=sum_.attempts + more.attempts,
                won=sum_.won + more.won,
                failed=sum_.failed + more.failed,
                cancelled=sum_.cancelled + more.cancelled,
            )
    return found


def ordered(rows: Sequence[Overview], by: str) -> list[Overview]:
    """The rows by place in the ranking (as they come), by name, or what carries most first."""
    if by == "name":
        return sorted(rows, key=lambda row: row.name)
    if by == "traffic":
        return sorted(rows, key=lambda row: -(row.volume.received + row.volume.sent))
    if by == "races":
        return sorted(rows, key=lambda row: -row.counts.races)
    return list(rows)
