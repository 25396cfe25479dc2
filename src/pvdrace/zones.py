"""Split DNS: may a PvD be asked for this name, and does the name belong to it? Pure.

The answer is one of three, as in systemd-resolved's ``dns_scope_good_domain``: NO, MAYBE, or YES with the
number of labels that matched, so that the longest match over all PvDs owns the name.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from .names import ascii_or_itself, fold

if TYPE_CHECKING:
    from .model import ProvisioningDomain


class Verdict(enum.IntEnum):
    """NO: the name is none of this PvD's. MAYBE: it serves any name. YES: the name is in one of its zones."""

    NO = 0
    MAYBE = 1
    YES = 2


class ZoneMatch(NamedTuple):
    """A verdict, the labels of the longest zone that matched (0 unless YES), and that zone."""

    verdict: Verdict
    labels: int = 0
    zone: str = ""


NO = ZoneMatch(Verdict.NO)
MAYBE = ZoneMatch(Verdict.MAYBE)


def YES(labels: int, zone: str = "") -> ZoneMatch:
    """A name inside a zone of so many labels."""
    return ZoneMatch(Verdict.YES, labels, zone)


def match(pvd: ProvisioningDomain, name: str) -> ZoneMatch:
    """Whether a name is for the resolvers of this PvD.

    No zones, or the zone ".": any name, MAYBE. Otherwise the longest zone that is a suffix of the name,
    label by label, in any case (RFC 4343) and in any script (see `names.to_ascii`), makes it YES; none makes
    it NO. A single label ("printer") is completed with the PvD's own search domains before it is looked up,
    so it is at least MAYBE where one of them leads into a zone. What a PvD that is not trusted claims counts
    for nothing (RFC 7556 s7.1): it serves any name, and owns none.
    """
    return _match(pvd.zones if pvd.trusted else (), pvd.search, ascii_or_itself(name))


@lru_cache(maxsize=4096)
def _match(zones: tuple[str, ...], search: tuple[str, ...], name: str) -> ZoneMatch:
    found = _longest(zones, _labels(name))
    if (
        found is NO
        and "." not in name
        and any(_longest(zones, _labels(f"{name}.{s}")) is not NO for s in search)
    ):
        return MAYBE
    return found


def _longest(zones: tuple[str, ...], labels: tuple[str, ...]) -> ZoneMatch:
    best = NO if zones else MAYBE
    for zone in zones:
        wanted = _labels(zone)
        if not wanted:
            best = max(best, MAYBE)
        elif labels[-len(wanted) :] == wanted:
            best = max(best, YES(len(wanted), ".".join(wanted)))
    return best


@lru_cache(maxsize=4096)
def _labels(name: str) -> tuple[str, ...]:
    """The labels of a name as they are compared: "Corp.Example." has two, "." has none."""
    bare = fold(name)
    return tuple(bare.split(".")) if bare else ()
