"""What experience says of one PvD for one destination: what `history` knows and `ranking` reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Expectation(NamedTuple):
    """What is to be expected of a PvD, for one destination, port and readiness. Times are seconds.

    ``ready``: how long it usually takes from its first lookup to ready; None where nothing is known.
    ``soon``: the time by which it probably is ready (a high quantile); None where nothing is known.
    ``distrusted``: it lost to one behind it a moment ago. ``blocked``: the families (6, 4) in which this port
    does not work here. ``errors``: the share of its attempts that failed lately, 0.0 to 1.0. ``flaps``: how
    often it came and went lately. ``incumbent``: the last connection to this destination was its.
    ``rtt``: the round-trip times of its addresses (RFC 8305 s4).
    """

    ready: float | None = None
    soon: float | None = None
    distrusted: bool = False
    blocked: tuple[int, ...] = ()
    errors: float = 0.0
    flaps: int = 0
    incumbent: bool = False
    rtt: Mapping[str, float] = MappingProxyType({})


#: What is expected of a PvD of which nothing is known.
NOTHING_KNOWN = Expectation()

#: By the names of PvDs. `history` gives the same object again for as long as it says the same.
Expectations = Mapping[str, Expectation]
EXPECT_NOTHING: Expectations = MappingProxyType({})
