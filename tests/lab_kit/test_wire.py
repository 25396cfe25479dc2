"""The forwarder: its queue and gate (pure), and what a link with delay, jitter, loss and rate does to real
packets."""

from __future__ import annotations

import random
import socket
import statistics
import time

import pytest

from lab_kit.client import connect
from pvdrace.lab import Lab, Provider, Wire
from pvdrace.lab.wire import Direction, Gate

FRAME = bytes(10 + 1000)


def departures(wire: Wire, arrivals: list[float], seed: int = 1) -> list[float]:
    direction = Direction(wire, random.Random(seed))
    for arrival in arrivals:
        direction.accept(FRAME, arrival)
    return [leaves for leaves, _ in direction.waiting]


class TestQueue:
    """One direction, in virtual time."""

    def test_delay_is_added_to_the_arrival(self) -> None:
        assert departures(Wire(delay=0.5), [1.0, 2.0]) == [1.5, 2.5]

    def test_jitter_spreads_around_the_delay_and_never_reorders(self) -> None:
        spread = departures(Wire(delay=0.5, jitter=0.1), [float(n) for n in range(2000)])
        late = [leaves - n for n, leaves in enumerate(spread)]
        assert 0.4 <= min(late) < 0.41
        assert 0.59 < max(late) <= 0.6
        assert statistics.mean(late) == pytest.approx(0.5, abs=0.01)
        close = departures(Wire(delay=0.5, jitter=0.4), [n / 1000 for n in range(2000)])
        assert close == sorted(close)

    def test_a_shorter_delay_does_not_let_packets_overtake(self) -> None:
        direction = Direction(Wire(delay=1.0), random.Random(1))
        direction.accept(FRAME, 0.0)
        direction.wire = Wire(delay=0.1)
        direction.accept(FRAME, 0.2)
        direction.accept(FRAME, 2.0)
        assert [leaves for leaves, _ in direction.waiting] == [1.0, 1.0, 2.1]

    def test_loss_is_a_probability_and_repeatable(self) -> None:
        kept = departures(Wire(loss=0.25), [float(n) for n in range(4000)])
        assert 2900 < len(kept) < 3100
        assert kept == departures(Wire(loss=0.25), [float(n) for n in range(4000)])
        assert kept != departures(Wire(loss=0.25), [float(n) for n in range(4000)], seed=2)
        assert departures(Wire(loss=1), [1.0, 2.0]) == []

    def test_rate_is_the_time_on_the_line(self) -> None:
        assert departures(Wire(rate=8000), [0.0, 0.0, 10.0]) == [1.0, 2.0, 11.0]
        assert departures(Wire(rate=8000, delay=5), [0.0]) == [6.0]

    def test_the_queue_has_an_end(self) -> None:
        kept = departures(Wire(rate=8_000_000), [0.0] * 1000)  # 1 ms each, a quarter of a second of them
        assert 240 <= len(kept) <= 255


class TestGate:
    """What passes under the faults of the link."""

    ARP = bytes(12) + b"\x08\x06" + bytes(28)

    def tcp4(self, payload: bytes, source: str = "192.168.1.2", target: str = "198.51.100.1") -> bytes:
        length = (40 + len(payload)).to_bytes(2, "big")
        ip = b"\x45\0" + length + bytes(5) + b"\x06\0\0" + socket.inet_aton(source) + socket.inet_aton(target)
        padding = bytes(max(0, 6 - len(payload)))  # Ethernet pads short frames, which is no data
        return bytes(12) + b"\x08\0" + ip + bytes(12) + b"\x50\x10" + bytes(6) + payload + padding

    def tcp6(self, payload: bytes) -> bytes:
        ip = b"\x60\0\0\0" + (20 + len(payload)).to_bytes(2, "big") + b"\x06\x40" + bytes(32)
        return bytes(12) + b"\x86\xdd" + ip + bytes(12) + b"\x50\x10" + bytes(6) + payload

    def test_dead_leaves_address_resolution_alive(self) -> None:
        assert Gate(dead=True).passes(self.ARP)
        assert not Gate(dead=True).passes(self.tcp4(b""))

    def test_mute_leaves_nothing(self) -> None:
        assert not Gate(mute=True).passes(self.ARP)
        assert not Gate(mute=True).passes(self.tcp4(b""))

    def test_stall_stops_data_alone(self) -> None:
        for make in (self.tcp4, self.tcp6):
            assert Gate(stall=True).passes(make(b""))
            assert not Gate(stall=True).passes(make(b"x"))

    def test_stall_spares_the_gateway(self) -> None:
        gate = Gate(stall=True, gateways=frozenset([socket.inet_aton("192.168.1.1")]))
        assert gate.passes(self.tcp4(b"x", target="192.168.1.1"))
        assert gate.passes(self.tcp4(b"x", source="192.168.1.1"))
        assert not gate.passes(self.tcp4(b"x"))


@pytest.mark.lab
class TestLive:
    """Real packets on a busy machine: bounds from below are tight, from above they are wide."""

    @pytest.mark.parametrize("round_trip", [0.0, 0.002, 0.010, 0.060, 0.200])
    def test_a_round_trip_is_never_shorter_than_asked_for(self, lab: Lab, round_trip: float) -> None:
        link = lab["eth"]
        connect(lab, link)
        link.set(delay=round_trip / 2)
        times = [connect(lab, link).connected or 9.0 for _ in range(7)]
        assert round_trip - 0.0001 <= min(times)
        assert statistics.median(times) < round_trip + 0.010

    def test_a_change_holds_when_the_call_returns(self, lab: Lab) -> None:
        link = lab["eth"]
        connect(lab, link)
        for delay in (0.05, 0.0, 0.05, 0.0):
            link.set(delay=delay)
            seen = connect(lab, link).connected or 9.0
            assert 2 * delay - 0.0001 <= seen < 2 * delay + 0.5

    def test_set_changes_only_what_is_named(self, lab: Lab) -> None:
        link = lab["eth"]
        link.set(delay=0.05)
        link.set(loss=0.0)
        assert (connect(lab, link).connected or 0) >= 0.1

    @pytest.mark.parametrize("family", [4, 6])
    def test_jitter_does_not_reorder_and_loss_loses(self, lab: Lab, family: int) -> None:
        link = lab["eth"]
        connect(lab, link, family=family)
        count = 300
        for loss in (0.0, 0.3):
            link.set(delay=0.004, jitter=0.003, loss=loss)
            came = self.echo(lab, count, family)
            assert came == sorted(came)
            # Lost on the way there or back.
            expected = count * (1 - loss) ** 2
            assert expected * 0.75 <= len(came) <= min(count, expected * 1.25)

    def test_rate_limits_a_download(self, lab: Lab) -> None:
        link = lab["eth"]
        link.set(delay=0.002, rate=8_000_000)
        start = time.monotonic()
        done = lab.run(
            ["curl", "-sS", "--interface", "eth", "-o", "/dev/null", f"http://{lab.address4}/bytes/500000"]
        )
        elapsed = time.monotonic() - start
        assert done.returncode == 0
        assert 0.5 <= elapsed < 2.0

    def test_a_bulk_transfer_arrives_whole(self, lab: Lab) -> None:
        command = [
            "curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            f"http://{lab.address4}/bytes/20000000",
        ]
        assert lab.run(command).stdout == "20000000"

    def test_loss_is_repeatable_by_its_seed(self) -> None:
        def survivors(seed: int) -> list[int]:
            with Lab([Provider("eth", loss=0.3, ipv6=False)], seed=seed) as lab:
                return self.echo(lab, 60)

        assert survivors(5) == survivors(5) != survivors(6)

    def echo(self, lab: Lab, count: int, family: int = 4) -> list[int]:
        """Which of ``count`` numbered datagrams came back, in the order that they came."""
        target = lab.address4 if family == 4 else lab.address6
        with (
            lab.enter(),
            socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock,
        ):
            sock.connect((target, lab.ports["echo"]))
            sock.settimeout(0.3)
            for number in range(count):
                sock.send(number.to_bytes(4, "big"))
                time.sleep(0.001)
            came = []
            while True:
                try:
                    came.append(int.from_bytes(sock.recv(10), "big"))
                except TimeoutError:
                    return came
