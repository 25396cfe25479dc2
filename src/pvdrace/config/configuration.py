"""``pvdrace.toml``: text in, values out. Pure: somebody else reads the file.

Every error names the file, the line and the key. A key that was left out is None, never an empty value: what
is left out is read from the kernel, what is empty is meant to be empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..rules import first_match
from .gai_conf import NAME as GAI_CONF
from .policy_file import SHARED_TABLES, PolicyFile, read_application_policy, read_pacing, read_rule
from .probe_settings import ProbeSettings, read_probe
from .profile_names import PROFILES as PROFILES
from .proxy_settings import ProxySettings, read_proxy
from .pvds import Override, read_override, read_pvd
from .pvds import PvdConfig as PvdConfig
from .tables import ADDRESS_TABLES as ADDRESS_TABLES
from .tables import read_tables
from .toml_reader import TomlReader
from .values import one_of

if TYPE_CHECKING:
    from ..model import AddressTable, Endpoint
    from ..policy import Policy
    from ..race.pacing import Pacing
    from ..rules import Rule

#: The sources of provisioning domains that can be named in ``discover``.
DISCOVERY_SOURCES = ("netlink",)


@dataclass(frozen=True)
class Configuration:
    """A whole ``pvdrace.toml``. The default is what holds where there is no file.

    ``profile`` names a policy file that ships with the package. ``files`` are the policy files that stand
    behind this one in the application's layer, the profile among them, and ``system`` is the system's: a
    `Connector` puts them there.
    """

    discover: tuple[str, ...] = ("netlink",)
    pvds: tuple[PvdConfig, ...] = ()
    rules: tuple[Rule, ...] = ()
    policy: Policy | None = None
    overrides: tuple[Override, ...] = ()
    pacing: Pacing | None = None
    profile: str | None = None
    files: tuple[PolicyFile, ...] = ()
    system: PolicyFile | None = None
    address_tables: tuple[AddressTable, ...] = ()
    probe: ProbeSettings | None = None
    proxy: ProxySettings | None = None

    def layers(
        self,
        endpoint: Endpoint,
        application: Policy | None = None,
        call: Policy | None = None,
        label: str | None = None,
    ) -> list[tuple[str, Policy]]:
        """The policies for a destination and what to call them, as `ranking.rank` takes them.

        The closest to the caller first: the call's; that of the first rule that matches, here or in
        ``files``; the application's, of the code, of this file and of ``files``; then the system's: that of
        its first rule that matches, and its own.
        ``label`` is the application's word for this use.
        """
        layers = [("call", call)]
        for name, rules in [("", self.rules), *((file.name, file.rules) for file in self.files)]:
            if found := first_match(rules, endpoint, label):
                layers.append((f"{name} rule {found[0]}".strip(), found[1].policy))
                break
        layers += [("application", application), ("application", self.policy)]
        layers += [(file.name, file.policy) for file in self.files]
        if self.system is not None:
            if found := first_match(self.system.rules, endpoint, label):
                layers.append((f"system rule {found[0]}", found[1].policy))
            layers.append(("system", self.system.policy))
        return [(name, policy) for name, policy in layers if policy]

    @property
    def all_overrides(self) -> tuple[Override, ...]:
        """The application's overrides: of two that say the same key of a PvD, the earlier counts."""
        return (*self.overrides, *(override for file in self.files for override in file.overrides))

    @property
    def wants_gai_conf(self) -> bool:
        """Whether something here names the host's ``/etc/gai.conf`` as a table, and that is not here yet."""
        system = self.system.overrides if self.system else ()
        said = (*self.pvds, *(override.settings for override in (*self.all_overrides, *system)))
        known = {table.name for table in self.address_tables}
        return GAI_CONF not in known and any(one.address_table == GAI_CONF for one in said)

    @property
    def effective_pacing(self) -> Pacing | None:
        """The timers of the closest file that sets any, None where none does."""
        files = (*self.files, self.system) if self.system else self.files
        return next((p for p in (self.pacing, *(file.pacing for file in files)) if p is not None), None)


def governed(
    configuration: Configuration,
    application: PolicyFile | None = None,
    profile: PolicyFile | None = None,
    system: PolicyFile | None = None,
) -> Configuration:
    """The configuration with the policy files that stand behind it, and the system's.

    Each takes the place of one that is there.
    """
    files = tuple(file for file in (application, profile) if file is not None) or configuration.files
    return replace(configuration, files=files, system=system or configuration.system)


def parse(text: str, filename: str = "pvdrace.toml") -> Configuration:
    """Read a configuration.

    Raises `ConfigurationError`, e.g. ``pvdrace.toml:12: pvd[1].cost: 'chaep' is not one of unmetered, …``.
    The elements of an array are counted from 0.
    """
    reader = TomlReader(text, filename)
    keys = ("discover", "profile", "pvd", *SHARED_TABLES, "address_table", "probe", "proxy")
    reader.check_keys(reader.document, (), keys)
    address_tables = read_tables(reader)
    pvds = tuple(read_pvd(reader, table, path) for table, path in reader.tables("pvd"))
    reader.check_unique([pvd.name for pvd in pvds], lambda n: ("pvd", n, "name"))
    discover = reader.values(reader.document, (), "discover", one_of(DISCOVERY_SOURCES))
    reader.check_unique(discover or (), lambda n: ("discover", n))
    return Configuration(
        discover=Configuration.discover if discover is None else discover,
        pvds=pvds,
        rules=tuple(read_rule(reader, table, path) for table, path in reader.tables("rule")),
        policy=read_application_policy(reader),
        overrides=tuple(read_override(reader, table, path) for table, path in reader.tables("override")),
        pacing=read_pacing(reader),
        profile=reader.value(reader.document, (), "profile", one_of(PROFILES)),
        address_tables=address_tables,
        probe=read_probe(reader),
        proxy=read_proxy(reader),
    )
