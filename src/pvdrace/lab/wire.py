"""One link as a process: frames read at one end leave at the other, late, thinned out or not at all.

In user space, also where the kernel has netem: many have not, and this counts what passes too. ARP and
neighbour discovery pass at once and unharmed: a delay there would add a round trip to each first packet and
be measured as somebody else's. Frames never overtake each other.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .counters import is_link_business, key
from .syscalls import set_timer_slack

if TYPE_CHECKING:
    from .channel import Channel
    from .provider import Wire

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_SO_TIMESTAMPNS = 35
_VNET_HEADER = 10
_MAX_FRAME = 65536 + 100
_BATCH = 64
_REMEMBERED = 4096
_REMEMBERED_BYTES = 160
_BUFFER = 4 << 20


@dataclass(slots=True)
class Gate:
    """Faults that are the link's: ``dead`` drops all but ARP and ND, ``mute`` those too, ``stall`` TCP's
    data beyond ``gateways``."""

    dead: bool = False
    mute: bool = False
    stall: bool = False
    gateways: frozenset[bytes] = frozenset()

    def passes(self, frame: bytes) -> bool:
        """Whether a frame goes through."""
        if self.mute:
            return False
        if not (self.dead or self.stall) or is_link_business(frame):
            return True
        return not self.dead and not (self.stall and self._is_data(frame))

    def _is_data(self, frame: bytes) -> bool:
        if frame[12:14] == b"\x08\x00":
            if frame[23] != 6 or frame[26:30] in self.gateways or frame[30:34] in self.gateways:
                return False
            start = 14 + (frame[14] & 0x0F) * 4
            return int.from_bytes(frame[16:18], "big") + 14 > start + (frame[start + 12] >> 4) * 4
        if frame[20] != 6 or frame[22:38] in self.gateways or frame[38:54] in self.gateways:
            return False
        return int.from_bytes(frame[18:20], "big") > (frame[66] >> 4) * 4


@dataclass
class Direction:
    """One way through the link: what waits, and when it may leave."""

    wire: Wire
    chance: random.Random
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    line_free: float = 0.0
    last_departure: float = 0.0

    def accept(self, data: bytes, arrived: float) -> None:
        """Put a frame in the queue, or lose it."""
        wire = self.wire
        if wire.loss and self.chance.random() < wire.loss:
            return
        leaves = arrived
        if wire.rate is not None:
            seconds = (len(data) - _VNET_HEADER) * 8 / wire.rate
            # A queue of a quarter of a second, but some packets at least, as in a home router.
            if self.line_free - arrived > max(0.25, 8 * seconds):
                return
            leaves = self.line_free = max(arrived, self.line_free) + seconds
        leaves += wire.delay
        if wire.jitter:
            leaves += self.chance.uniform(-min(wire.jitter, wire.delay), wire.jitter)
        self.last_departure = leaves = max(leaves, self.last_departure)
        self.waiting.append((leaves, data))


def open_end(interface: str) -> socket.socket:
    """A packet socket on one end of the link, in the calling thread's namespace."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # With the virtio header a checksum that was left to the hardware stays so, instead of being wrong.
    end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    for option, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):
        try:
            end.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
        except PermissionError:  # in a user namespace
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    end.setblocking(False)
    end.bind((interface, 3))  # ETH_P_ALL
    return end


class Forwarder:
    """Both directions of one link, and the channel that commands it."""

    def __init__(self, ends: tuple[str, str], wire: Wire, gate: Gate, channel: Channel, seed: int) -> None:
        self.names = ends
        self.sockets = [open_end(ends[0]), open_end(ends[1])]
        self.directions = [Direction(wire, random.Random(seed)), Direction(wire, random.Random(seed + 1))]
        self.gate = gate
        self.channel = channel
        self.counts: dict[bytes, int] = {}
        self.recorded: deque[tuple[float, int, bytes]] = deque(maxlen=_REMEMBERED)

    def run(self) -> None:
        """Forward until the channel closes."""
        set_timer_slack(1)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        while True:
            due = min(
                (direction.waiting[0][0] for direction in self.directions if direction.waiting), default=None
            )
            timeout = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([*self.sockets, self.channel.socket], [], [], timeout)
            self._depart(time.monotonic())
            for side in (0, 1):
                if self.sockets[side] in ready:
                    self._arrive(side)
            if self.channel.socket in ready and not self._obey():
                return

    def close(self) -> None:
        """Close what a process that only started the forwarder does not need."""
        for end in self.sockets:
            end.close()
        self.channel.close()

    def _arrive(self, side: int) -> None:
        """Read what came in at one end."""
        direction, end = self.directions[side], self.sockets[side]
        for _ in range(_BATCH):
            try:
                data, ancillary, _flags, _address = end.recvmsg(_MAX_FRAME, 64)
            except BlockingIOError:
                return
            except OSError:  # the device went down or away; its packets with it
                return
            frame = data[_VNET_HEADER:]
            # In this order: preempted between the two, a frame leaves late, never early.
            wall, arrived = time.time(), time.monotonic()
            if ancillary:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                # From the kernel's own stamp, so that the time it took to wake up is not added to the delay.
                arrived -= min(max(0.0, wall - seconds - nanoseconds * 1e-9), 0.05)
            if side == 0:
                cut = key(frame)
                self.counts[cut] = self.counts.get(cut, 0) + 1
                self.recorded.append((arrived, len(frame), frame[:_REMEMBERED_BYTES]))
            if not self.gate.passes(frame):
                continue
            if is_link_business(frame):
                self._send(1 - side, data)
            else:
                direction.accept(data, arrived)
        self._depart(time.monotonic())

    def _depart(self, now: float) -> None:
        """Send what is due."""
        for side in (0, 1):
            waiting = self.directions[side].waiting
            while waiting and waiting[0][0] <= now:
                self._send(1 - side, waiting.popleft()[1])

    def _send(self, side: int, data: bytes) -> None:
        # A full device queue or a link that is down loses the packet, as a link does.
        with contextlib.suppress(OSError):
            self.sockets[side].send(data)

    def _obey(self) -> bool:
        """Carry out one command; False when there is nobody left to give one."""
        try:
            command, value = self.channel.receive()
        except (EOFError, OSError):
            return False
        answer: object = None
        if command == "wire":
            for direction in self.directions:
                direction.wire = value
        elif command == "gate":
            self.gate = value
        elif command == "counts":
            self._drain()
            answer = (dict(self.counts), list(self.recorded))
        elif command == "reset":
            self._drain()
            self.counts.clear()
            self.recorded.clear()
        elif command == "reopen":
            self.sockets[value].close()
            self.sockets[value] = open_end(self.names[value])
        self.channel.send(answer)
        return True

    def _drain(self) -> None:
        """Take in what the client has sent already, so that a count is of now."""
        self._arrive(0)
