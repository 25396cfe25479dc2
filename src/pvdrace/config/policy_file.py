"""Policy in a file: what an application, a profile or the system wants of paths. Text in, values out. Pure.

`pvdrace.toml` has the same tables (`config` reads them from here), and PvDs besides.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from ..policy import Policy
from ..race.pacing import Pacing
from ..rules import Match, Rule
from .pvds import Override, read_override
from .toml_reader import TomlReader
from .values import as_bool, as_port, as_selector, as_text, as_word, kind_of

if TYPE_CHECKING:
    from .toml_lines import Path

#: The keys of ``[policy]``, and of ``[[rule]]`` besides ``match``.
PREFERENCES = ("require", "prefer", "avoid", "prohibit")
POLICY_KEYS = (
    *PREFERENCES,
    "capacity_profile",
    "latency_budget",
    "min_rate",
    "rank_by",
    "racing",
    "priority",
    "cross_pvd",
)
#: The tables that a policy file shares with `pvdrace.toml`.
SHARED_TABLES = ("policy", "rule", "override", "pacing")
#: The conditions of a rule's ``match``.
CONDITIONS = ("host", "port", "subnet", "label")


@dataclass(frozen=True)
class PolicyFile:
    """What a policy file says.

    ``name`` is what reasons and errors call it: ``profile s60-snap``, or the name of the file. ``policy``
    holds for every destination, the first of ``rules`` that matches for its own. ``overrides`` say what is to
    be taken for true of PvDs, ``pacing`` when things may start (None: nothing is said). ``title`` and
    ``description`` are for people.
    """

    name: str = ""
    title: str = ""
    description: str = ""
    policy: Policy | None = None
    rules: tuple[Rule, ...] = ()
    overrides: tuple[Override, ...] = ()
    pacing: Pacing | None = None


def parse_policy_file(text: str, filename: str, name: str | None = None) -> PolicyFile:
    """Read a policy file; ``name`` is what to call it, if not by its filename.

    Raises `ConfigurationError`, e.g. ``/etc/pvdrace/policy.toml:3: policy.require[0]: selector 'wifi' …``.
    """
    reader = TomlReader(text, filename)
    reader.check_keys(reader.document, (), ("title", "description", *SHARED_TABLES))
    return PolicyFile(
        name=name or filename,
        title=reader.value(reader.document, (), "title", as_word) or "",
        description=reader.value(reader.document, (), "description", as_text) or "",
        policy=read_application_policy(reader),
        rules=tuple(read_rule(reader, table, path) for table, path in reader.tables("rule")),
        overrides=tuple(read_override(reader, table, path) for table, path in reader.tables("override")),
        pacing=read_pacing(reader),
    )


def read_application_policy(reader: TomlReader) -> Policy | None:
    """The table ``[policy]``."""
    table = reader.table("policy")
    if table is None:
        return None
    reader.check_keys(table, ("policy",), POLICY_KEYS)
    return _policy(reader, table, ("policy",))


def read_rule(reader: TomlReader, table: dict[str, Any], path: Path) -> Rule:
    """A ``[[rule]]`` table."""
    reader.check_keys(table, path, ("match", *POLICY_KEYS))
    if not any(key in table for key in POLICY_KEYS):
        reader.fail(path, f"a rule needs one of {', '.join(POLICY_KEYS)}")
    return Rule(_match(reader, table.get("match", {}), (*path, "match")), _policy(reader, table, path))


def read_pacing(reader: TomlReader) -> Pacing | None:
    """The table ``[pacing]``: the defaults, but for what it says."""
    table = reader.table("pacing")
    if table is None:
        return None
    reader.check_keys(table, ("pacing",), tuple(f.name for f in fields(Pacing)))
    try:
        return Pacing(**table)
    except ValueError as error:
        key = str(error).split()[0]  # an error of a number begins with its name
        reader.fail(("pacing", key) if key in table else ("pacing",), str(error))


def _policy(reader: TomlReader, table: dict[str, Any], path: Path) -> Policy:
    says: dict[str, Any] = {
        key: found
        for key in PREFERENCES
        if (found := reader.values(table, path, key, as_selector)) is not None
    }
    for key in ("capacity_profile", "latency_budget", "min_rate", "racing", "priority"):
        if key in table:
            reader.attempt((*path, key), partial(Policy, **{key: table[key]}))
            says[key] = table[key]
    if (rules := reader.values(table, path, "rank_by", _as_ranking_rule)) is not None:
        says["rank_by"] = rules
    if (cross := reader.value(table, path, "cross_pvd", as_bool)) is not None:
        says["cross_pvd"] = cross
    return reader.attempt(path, partial(Policy, **says))


def _as_ranking_rule(value: object) -> str:
    word = as_word(value)
    Policy(rank_by=[word])
    return word


def _match(reader: TomlReader, table: object, path: Path) -> Match:
    if not isinstance(table, dict):
        reader.fail(path, f"a table {{ {', '.join(CONDITIONS)} }} is wanted, not {kind_of(table)}")
    reader.check_keys(table, path, CONDITIONS)
    # Each element in a Match of its own, so that an error has the element's own line.
    host = reader.values(table, path, "host", lambda value: Match(host=[as_word(value)]).host[0])
    port = reader.values(table, path, "port", lambda value: Match(port=[as_port(value)]).port[0])
    subnet = reader.values(table, path, "subnet", lambda value: Match(subnet=[as_word(value)]).subnet[0])
    label = reader.values(table, path, "label", as_word)
    return reader.attempt(path, partial(Match, host or (), port or (), subnet or (), label or ()))
