"""Everything that a lab makes is gone with it, however its owner ends: processes, namespaces, mounts,
files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab_kit.held import network_namespaces
from pvdrace.lab import Lab, LabError, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.lab
OWNER = Path(__file__).with_name("owner.py")
GRACE = 10.0  # seconds; it takes some 0.05


@dataclass(frozen=True)
class Made:
    processes: list[tuple[int, str]]
    namespaces: dict[str, int]
    directory: Path

    def left(self) -> list[str]:
        """What still stands."""
        alive = [f"process {pid}" for pid, start in self.processes if started(pid) == start]
        there = network_namespaces(only=set(self.namespaces))
        held = [name for name, cookie in self.namespaces.items() if there.get(name) == cookie]
        return alive + held + ([str(self.directory)] if self.directory.exists() else [])


@contextlib.contextmanager
def started_owner(how: str) -> Iterator[tuple[subprocess.Popen[str], Made]]:
    owner = subprocess.Popen(
        [sys.executable, str(OWNER), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with owner:
        try:
            yield owner, read(owner)
        finally:
            owner.kill()


def read(owner: subprocess.Popen[str]) -> Made:
    assert owner.stdout is not None
    processes, namespaces, directory = json.loads(owner.stdout.readline())
    return Made([(pid, start) for pid, start in processes], namespaces, Path(directory))


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("SIGKILL", lambda owner: owner.kill()),
        ("SIGTERM", lambda owner: owner.terminate()),
        ("Ctrl-C", lambda owner: os.killpg(owner.pid, signal.SIGINT)),
        ("hang-up", lambda owner: os.killpg(owner.pid, signal.SIGHUP)),
    ],
)
def test_nothing_is_left_when_the_owner_is_ended(
    name: str, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with started_owner("wait") as (owner, made):
        # keeper, servers, two wires, dnsmasq, three sleeping commands; wires, internet, two providers, client
        assert len(made.processes) >= 8
        assert len(made.namespaces) == 5
        assert len(made.left()) == len(made.processes) + len(made.namespaces) + 1
        end(owner)
        owner.communicate(timeout=GRACE)
    assert gone(made) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_nothing_is_left_after_an_exception() -> None:
    with started_owner("raise") as (owner, made):
        _, errors = owner.communicate(timeout=GRACE)
    assert "as asked" in errors
    assert gone(made) == []


def test_a_lab_outlives_the_thread_that_made_it_but_not_its_closing() -> None:
    with started_owner("thread") as (owner, made):
        assert len(made.processes) >= 5
        assert read(owner).processes == []
        assert owner.wait(GRACE) == 0
    assert gone(made) == []


def test_a_killed_keeper_takes_the_lab_with_it_and_is_named() -> None:
    with Lab([Provider("eth")]) as lab:
        assert lab._keeper is not None
        sleeper = lab.popen(["sleep", "600"])
        lab._keeper.kill()
        assert sleeper.wait(GRACE) == -signal.SIGKILL
        with pytest.raises(LabError, match="keeper does not answer"):
            lab["eth"].blackhole()
        directory = lab._directory
    assert directory is not None
    assert not directory.exists()


def test_a_lost_process_of_the_lab_is_named() -> None:
    with Lab([Provider("eth")]) as lab:
        deadline = time.monotonic() + GRACE
        found: list[Path] = []
        while not found and time.monotonic() < deadline:  # it gives itself its name
            found = [p for p in Path("/proc").iterdir() if name(p) == "lab-wire eth" and is_in(p, lab)]
        [wire] = found
        os.kill(int(wire.name), signal.SIGKILL)
        deadline = time.monotonic() + GRACE
        with pytest.raises(LabError, match=r"'wire eth' ended|is gone|Broken pipe|reset by peer"):
            while time.monotonic() < deadline:
                lab["eth"].counters()
                time.sleep(0.05)


def test_many_labs_leave_no_descriptor_and_no_thread() -> None:
    def look() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with Lab([Provider("eth")]):
        pass
    descriptors, threads = look()
    for _ in range(5):
        with Lab([Provider("eth")]) as lab:
            lab.run(["true"])
    left = look()
    # An idle thread of an earlier test may have ended meanwhile.
    assert left[0] == descriptors
    assert left[1] <= threads


def test_two_labs_at_once_do_not_meet() -> None:
    with Lab([Provider("eth")]) as one, Lab([Provider("eth")]) as other:
        one["eth"].blackhole()
        assert other.run(["curl", "-sS", "-m", "5", "https://www.example.test/"]).stdout == "eth\n"
        assert one["eth"].counters().packets == 0


def test_a_closed_lab_says_so() -> None:
    lab = Lab([Provider("eth")])
    with lab:
        pass
    for use in (lambda: lab.run(["true"]), lambda: lab["eth"].blackhole(), lambda: lab.ca_file):
        with pytest.raises(LabError, match="not running"):
            use()


def gone(made: Made) -> list[str]:
    deadline = time.monotonic() + GRACE
    while (left := made.left()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def started(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[19] if fields[0] != "Z" else None


def name(entry: Path) -> str | None:
    try:
        return (entry / "comm").read_text().strip() if entry.name.isdigit() else None
    except OSError:
        return None


def is_in(entry: Path, lab: Lab) -> bool:
    assert lab._keeper is not None
    return os.stat(f"{entry}/ns/pid").st_ino == os.stat(f"/proc/{lab._keeper.pid}/ns/pid").st_ino
