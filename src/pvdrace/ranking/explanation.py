"""Which PvDs a connection would run in, and why: a ranking in words, before anything was sent. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..race.branch import addresses_without_lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..model import Endpoint, ProvisioningDomain, Ranked, Ranking, Reason, Resolver

SCHEMA = "pvdrace.explain/1"
HEADERS = ("pvd", "starts", "families", "asks", "because")


class ExplainedPvd(NamedTuple):
    """One PvD of an `Explanation`; the fields are those of `pvdrace.model.Ranked`.

    ``resolvers`` are those that it would ask for the name, in order, as text; none for an address
    or where names are left to a proxy.
    """

    pvd: str
    head_start: float | None
    families: tuple[int, ...]
    resolvers: tuple[str, ...]
    because: tuple[Reason, ...]
    excluded: Reason | None

    @property
    def starts(self) -> str:
        """Its head start in words."""
        if self.excluded is not None:
            return "left out"
        if self.head_start is None:
            return "if all else fails"
        if not self.head_start:
            return "at once"
        milliseconds = self.head_start * 1000
        return f"+{milliseconds:.0f} ms" if milliseconds < 999.5 else f"+{self.head_start:.2f} s"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which PvDs would run for a destination, in which order, and why; then those that are left out, and why.

    ``layers`` are the names of the layers of policy that say something about it, the closest first.
    """

    endpoint: Endpoint
    layers: tuple[str, ...]
    pvds: tuple[ExplainedPvd, ...]

    @property
    def usable(self) -> bool:
        """Whether any PvD would run."""
        return any(pvd.excluded is None for pvd in self.pvds)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, schema ``pvdrace.explain/1``. Times are seconds."""
        return {
            "schema": SCHEMA,
            "endpoint": {"host": self.endpoint.host, "port": self.endpoint.port},
            "layers": list(self.layers),
            "pvds": [_to_dict(pvd) for pvd in self.pvds],
        }

    def to_json(self, **options: Any) -> str:
        """As JSON; ``options`` are those of `json.dumps`."""
        return json.dumps(self.to_dict(), **options)

    def rows(self) -> list[tuple[tuple[str, ...], ...]]:
        """The cells of a table below `HEADERS`, each a number of lines."""
        return [
            (
                (pvd.pvd,),
                (pvd.starts,),
                tuple(f"IPv{family}" for family in pvd.families),
                pvd.resolvers,
                tuple(map(str, pvd.because)) if pvd.excluded is None else (str(pvd.excluded),),
            )
            for pvd in self.pvds
        ]

    def heading(self) -> str:
        """The destination, and which layers of policy have a say."""
        names = dict.fromkeys(self.layers)  # there may be two that are the application's
        return f"{self.endpoint}" + (f"  policy: {', '.join(names)}" if names else "")

    def __str__(self) -> str:
        table = [[header.upper() for header in HEADERS]]
        table += [["; ".join(lines) or "-" for lines in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        return "\n".join([self.heading(), *lines])


def explain(
    endpoint: Endpoint,
    ranking: Ranking,
    layers: Iterable[str],
    servers: Callable[[ProvisioningDomain, tuple[int, ...]], Sequence[Resolver]],
) -> Explanation:
    """The explanation of a ranking; ``servers`` gives the resolvers of a PvD in the order of asking."""
    asks = addresses_without_lookup(endpoint.host) is None
    ran = [
        # Names are left to a proxy.
        _explained(r, servers(r.pvd, r.families) if asks and r.pvd.proxy is None else ())
        for r in ranking.ranked
    ]
    left_out = [_explained(r, ()) for r in ranking.excluded]
    return Explanation(endpoint, tuple(layers), (*ran, *left_out))


def _explained(ranked: Ranked, resolvers: Sequence[Resolver]) -> ExplainedPvd:
    pvd, head_start, because, families, excluded = ranked
    return ExplainedPvd(pvd.name, head_start, families, tuple(map(str, resolvers)), because, excluded)


def _to_dict(pvd: ExplainedPvd) -> dict[str, Any]:
    value: dict[str, Any] = {
        "pvd": pvd.pvd,
        "head_start": pvd.head_start,
        "families": [f"ipv{family}" for family in pvd.families],
        "resolvers": list(pvd.resolvers),
        "because": [reason.text for reason in pvd.because],
        "rules": [reason.rule for reason in pvd.because],
    }
    if pvd.excluded is not None:
        value["excluded"] = pvd.excluded.text
        value["excluded_by"] = pvd.excluded.rule
    return value
