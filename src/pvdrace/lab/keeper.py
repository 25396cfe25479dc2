"""The process that holds a lab: process 1 of its own PID namespace, so that all of the lab ends with it.

It builds the network, starts the forwarders and servers, and carries out the owner's commands. It ends when
the owner closes the channel or is no more, however the owner ended; the kernel then kills what ran inside.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from . import dnsmasq, rules, topology
from .channel import Channel, channel_pair
from .errors import LabError
from .host_files import cover_host_files
from .namespaces import ask_for_links, new_network_namespace, set_sysctls
from .plan import Plan, make_plan
from .programs import find_program, finish_programs, start_program
from .provider import DnsFault, Faults, Provider
from .records import records
from .services import Site, run_services
from .syscalls import CLONE_NEWNET, CLONE_NEWNS, set_process_name, setns, unshare
from .wire import Forwarder, Gate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from .blueprint import Blueprint


def main(channel_fd: int, owner_fd: int) -> NoReturn:
    """Hold one lab; ``owner_fd`` is a pidfd of the owner."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    set_process_name("lab-keeper")
    channel = Channel(socket.socket(fileno=channel_fd))
    directory = ""
    try:
        blueprint: Blueprint = channel.receive()
        directory = blueprint.directory
        _hold(Keeper(blueprint), channel, owner_fd)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except (LabError, OSError) as error:
        channel.send(("error", str(error)))
    except Exception as error:
        traceback.print_exc()
        channel.send(("error", f"the lab's keeper failed: {error!r}"))
    finally:
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
        # Nothing to unwind: as process 1 goes, so does everything in its namespaces.
        os._exit(0)


def _hold(keeper: Keeper, channel: Channel, owner_fd: int) -> None:
    keeper.build()
    channel.send(("ready", None))
    socket.send_fds(channel.socket, [b"."], keeper.gift())
    while True:
        ready, _, _ = select.select([channel.fileno(), owner_fd], [], [], 1.0)
        if owner_fd in ready:
            return
        keeper.reap()
        if channel.fileno() in ready:
            command, *arguments = channel.receive()
            try:
                answer = ("done", keeper.commands[command](*arguments))
            except (LabError, OSError, EOFError) as error:
                answer = ("error", f"{command}: {error}")
            channel.send(answer)


class Keeper:
    """The namespaces and processes of one lab."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        numbers = range(1, len(blueprint.providers) + 1)
        self.plans = [make_plan(n, overlapping=blueprint.overlapping) for n in numbers]
        self.namespaces: dict[str, int] = {}
        self.faults = [Faults() for _ in numbers]
        self.wires: list[Channel] = []
        self.workers: dict[int, str] = {}
        self.broken: str | None = None
        self.removed: set[int] = set()
        self.commands: dict[str, Callable[..., Any]] = {
            "faults": self.set_faults,
            "wire": lambda index, wire: self._wire(index, "wire", wire),
            "counts": lambda index: self._wire(index, "counts", None),
            "reset": self.reset_counts,
            "link": self.set_link,
        }

    # ------------------------------------------------------------------ building

    def build(self) -> None:
        """Make everything; LabError says what could not be."""
        unshare(CLONE_NEWNS)
        blueprint = self.blueprint
        for name in ("wires", "internet", *map(_key, self.plans), "client"):
            self.namespaces[name] = new_network_namespace()
            set_sysctls(topology.sysctls(name, blueprint.rp_filter))
        cover_host_files(blueprint.directory, self._resolv_conf())
        self._start_services()
        client = f"/proc/self/fd/{self.namespaces['client']}"
        inside = [f"/proc/self/fd/{self.namespaces[_key(plan)]}" for plan in self.plans]
        pairs = list(zip(blueprint.providers, self.plans, strict=True))
        wires = [line for provider, plan in pairs for line in topology.link_commands(provider, plan, client)]
        wires += [
            line
            for plan, path in zip(self.plans, inside, strict=True)
            for line in topology.lan_commands(plan, path)
        ]
        finish_programs(
            [self._ip("wires", wires), self._ip("internet", topology.internet_commands(self.plans, inside))]
        )
        lines = [line for provider, plan in pairs for line in topology.client_commands(provider, plan)]
        running = [self._ip("client", ["link set dev lo up", *lines])]
        for provider, plan in pairs:
            running.append(self._ip(_key(plan), topology.provider_commands(provider, plan)))
            others = [other for other in self.plans if other.number != plan.number]
            text = rules.base_rules(provider, plan, others, overlapping=blueprint.overlapping)
            running.append(
                self._nft(_key(plan), text + rules.fault_rules(Faults(), own_dns=provider.dns == "own"))
            )
        finish_programs(running)
        self._start_wires()
        for name in self.namespaces:
            self._enter(name)
            ask_for_links()
        finish_programs(
            [self._dns_server(provider, plan) for provider, plan in pairs if provider.dns != "own"]
        )
        try:
            self.services.receive()
        except EOFError:
            raise LabError("the lab's servers did not start") from None
        for provider, plan in pairs:
            if provider.dns == "own":
                self._own_dns(plan, Faults())
        self._enter("client")

    def gift(self) -> list[int]:
        """Descriptors for the owner: the client's network namespace, the mounts and PIDs of commands
        inside."""
        return [
            self.namespaces["client"],
            *(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("mnt", "pid")),
        ]

    def _resolv_conf(self) -> str:
        pairs = zip(self.blueprint.providers, self.plans, strict=True)
        ordered = sorted(pairs, key=lambda pair: topology.metric(*pair))
        # IPv4 first: the C library reads three servers only, and each provider should be among them.
        servers = [plan.gateway4 for provider, plan in ordered if provider.ipv4]
        servers += [plan.gateway6 for provider, plan in ordered if provider.ipv6]
        return "".join(f"nameserver {server}\n" for server in dict.fromkeys(servers))

    def _start_services(self) -> None:
        pairs = zip(self.blueprint.providers, self.plans, strict=True)
        sites = [Site(provider, plan, self.namespaces[_key(plan)]) for provider, plan in pairs]
        ours, theirs = channel_pair()
        self._fork(
            "servers",
            lambda: run_services(theirs, sites, self.namespaces["internet"], self.blueprint.directory),
            ours,
        )
        theirs.close()
        self.services = ours

    def _start_wires(self) -> None:
        self._enter("wires")
        for provider, plan in zip(self.blueprint.providers, self.plans, strict=True):
            ours, theirs = channel_pair()
            ends = (f"c{plan.number}", f"p{plan.number}")
            forwarder = Forwarder(ends, provider.wire, Gate(), theirs, self.blueprint.seed + 2 * plan.number)
            self._fork(f"wire {provider.name}", forwarder.run, ours)
            forwarder.close()
            self.wires.append(ours)

    def _fork(self, name: str, work: Callable[[], None], ours: Channel) -> None:
        if pid := os.fork():
            self.workers[pid] = name
            return
        status = 1
        try:
            ours.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            set_process_name(f"lab-{name}")
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    # ------------------------------------------------------------------ commands

    def set_faults(self, index: int, faults: Faults) -> None:
        """Make these faults, and no others, hold for one provider."""
        self._check()
        plan, provider, before = self.plans[index], self.blueprint.providers[index], self.faults[index]
        own = provider.dns == "own"
        if faults.dns != before.dns:
            own_needed = faults.dns.mode not in ("ok", "dead", "closed")
            if own or own_needed:
                self._own_dns(plan, faults)
        if faults.portal != before.portal:
            self._ask_services(plan, faults.portal)
        texts = [
            rules.fault_rules(each, own_dns=own or each.dns.mode not in ("ok", "dead", "closed"))
            for each in (before, faults)
        ]
        if texts[0] != texts[1]:
            finish_programs([self._nft(_key(plan), texts[1])])
        self._wire(index, "gate", _gate(faults, plan))
        if faults.no_arp != before.no_arp:
            self._forget_neighbours(index)
        self.faults[index] = faults

    def reset_counts(self) -> None:
        """All counters to zero."""
        for index in range(len(self.wires)):
            self._wire(index, "reset", None)

    def set_link(self, index: int, state: str) -> None:
        """``up``, ``down``, ``unplugged`` (no carrier) or ``removed``."""
        self._check()
        plan, provider = self.plans[index], self.blueprint.providers[index]
        if state == "removed":
            if index not in self.removed:
                finish_programs([self._ip("client", [f"link del dev {provider.name}"])])
                self.removed.add(index)
            return
        if index in self.removed:
            client = f"/proc/self/fd/{self.namespaces['client']}"
            finish_programs([self._ip("wires", topology.link_commands(provider, plan, client))])
            self._wire(index, "reopen", 0)
            self.removed.discard(index)
        finish_programs(
            [self._ip("wires", [f"link set dev c{plan.number} {'down' if state == 'unplugged' else 'up'}"])]
        )
        if state == "down":
            finish_programs([self._ip("client", [f"link set dev {provider.name} down"])])
        elif state == "unplugged":
            # The kernel takes up to a second to notice a lost carrier, unless somebody asks.
            self._enter("client")
            ask_for_links()
        elif state == "up":
            finish_programs([self._ip("client", topology.client_commands(provider, plan))])
            for name in ("wires", "client"):
                self._enter(name)
                ask_for_links()
            self._forget_neighbours(index)

    def _forget_neighbours(self, index: int) -> None:
        """What was known of the next hop, or known not to answer, is not so any more."""
        processes = [self._ip(_key(self.plans[index]), ["neigh flush dev lan nud all"])]
        if index not in self.removed:
            processes.append(
                self._ip("client", [f"neigh flush dev {self.blueprint.providers[index].name} nud all"])
            )
        finish_programs(processes)

    def reap(self) -> None:
        """Collect ended processes; a worker of ours must not end."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.workers:
                self.broken = f"the lab's process '{self.workers.pop(pid)}' ended (status {status})"

    def _check(self) -> None:
        if self.broken:
            raise LabError(self.broken)

    def _own_dns(self, plan: Plan, faults: Faults) -> None:
        self._ask_services(plan, faults.dns)

    def _ask_services(self, plan: Plan, change: DnsFault | bool) -> None:
        """How the provider's DNS server misbehaves, or whether its API says that the client is captive."""
        if problem := self.services.ask((plan.number, change)):
            raise LabError(f"the lab's own servers: {problem}")

    def _wire(self, index: int, command: str, value: object) -> Any:
        self._check()
        return self.wires[index].ask((command, value))

    # ------------------------------------------------------------------ programs

    def _enter(self, name: str) -> None:
        setns(self.namespaces[name], CLONE_NEWNET)

    def _ip(self, name: str, lines: list[str]) -> subprocess.Popen[bytes]:
        return self._start(name, [find_program("ip"), "-batch", "-"], "\n".join(lines))

    def _nft(self, name: str, text: str) -> subprocess.Popen[bytes]:
        return self._start(name, [find_program("nft"), "-f", "-"], text)

    def _dns_server(self, provider: Provider, plan: Plan) -> subprocess.Popen[bytes]:
        """Start a real one. It goes to the background by itself, after it has bound its sockets."""
        base = f"{self.blueprint.directory}/dnsmasq-{provider.name}"
        told = records(plan, provider.zones)
        hosts = f"{base}.hosts"
        files = {
            hosts: dnsmasq.hosts(told),
            f"{base}.conf": dnsmasq.configuration(provider, plan, told, hosts),
        }
        for path, text in files.items():
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        return self._start(_key(plan), [find_program("dnsmasq"), "-C", f"{base}.conf"], "")

    def _start(self, name: str, command: list[str], text: str) -> subprocess.Popen[bytes]:
        self._enter(name)
        return start_program(command, text, list(self.namespaces.values()))


def _key(plan: Plan) -> str:
    return f"provider{plan.number}"


def _gate(faults: Faults, plan: Plan) -> Gate:
    gateways = [(socket.AF_INET, plan.gateway4), (socket.AF_INET6, plan.gateway6)]
    return Gate(
        faults.dead, faults.no_arp, faults.stall, frozenset(socket.inet_pton(*pair) for pair in gateways)
    )
