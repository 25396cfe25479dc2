"""What a process tells of its races: the counters, their file, and that it goes with its process."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import pvdrace
from cli_program import environment
from loopback import Server
from pvdrace.config import Configuration
from pvdrace.model import ProvisioningDomain, Reachability, Reached
from pvdrace.policy import Policy
from pvdrace.race.report import RaceReport
from pvdrace.reachability import with_reached
from pvdrace.telemetry.counting import MOST, OTHER, PvdCounts, Told, decode, encode
from pvdrace.telemetry.live import LiveSink, live_directory, live_sinks, network_namespace, read_live, started
from pvdrace.testing.scenario import blackhole, impostor, ok, pvd, refused, scenario
from telling_reports import SECRETS, with_secrets

if TYPE_CHECKING:
    from pathlib import Path

REPORT = scenario(
    eth=pvd(v6=blackhole, v4=refused(10)),
    wifi=pvd(v6=impostor(10, 20), v4=ok(30, tls=15)),
    lte=pvd(v4=ok(1)),
    policy=Policy(prohibit=["pvd:lte"]),
).report


def told_of(*reports: RaceReport) -> Told:
    told = Told(7, 1234, 100.0, 4026531840)
    for report in reports:
        told.count(report, 200.0)
    return told


# ---------------------------------------------------------------------- counting


def test_what_is_counted() -> None:
    lost = scenario(eth=pvd(v4=refused(5))).report
    told = told_of(REPORT, lost, replace(REPORT, result=None, ended=None, log=REPORT.log[:8]))
    assert (told.won, told.lost, told.cancelled, told.last) == (1, 1, 1, 200.0)
    assert told.pvds == {
        "eth": PvdCounts(races=3, attempts=4, failed=2, cancelled=2),
        "wifi": PvdCounts(races=2, attempts=2, won=1, failed=1),
    }


def test_a_race_that_only_looked_a_name_up_in_a_pvd_ran_there() -> None:
    slow = scenario(eth=pvd(v4=ok(5)), wifi=pvd(dns=500, v4=ok(1))).report
    assert told_of(slow).pvds["eth"] == PvdCounts(races=1, attempts=1, won=1)


def test_it_can_be_read_again() -> None:
    reached = (Reached(4, Reachability.PARTIAL, "HTTP 204", 5.0, None, (80,), (25,), (443,)),)
    ranked = [r._replace(pvd=with_reached(r.pvd, reached)) for r in REPORT.ranking.ranked]
    told = told_of(replace(REPORT, ranking=REPORT.ranking._replace(ranked=tuple(ranked))))
    again = decode(encode(told))
    assert again is not None
    assert again.known["eth"].reached == (reached[0]._replace(evidence=""),)
    for known in told.known.values():
        known.reached = again.known["eth"].reached
    assert again == told


def test_so_many_pvds_and_no_more() -> None:
    told = Told(7, 1, 0.0)
    for n in range(MOST + 9):
        report = replace(REPORT, log=[], result=None)
        report.__dict__["lookups"] = ()
        report.__dict__["attempts"] = (replace(REPORT.attempts[0], pvd=f"veth{n}"),)
        told.count(report, 0.0)
    assert len(told.pvds) == MOST + 1
    assert told.pvds[OTHER].attempts == 9
    assert len(encode(told)) < 16_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + b"\n",
        lambda data: data.replace(b'"pid":7', b'"pid":8'),
        lambda data: b"zz" + data[2:],
        lambda data: b"\x00" * 100 + b"\n",
        lambda data: signed(b"[]"),
        lambda data: signed(b"{}"),
        lambda data: signed(b'{"schema":"pvdrace.live/2"}'),
        lambda data: signed(data[9:-1].replace(b'"pvds":{', b'"pvds":{"x":[1,2,3,4,5,6],')),
        lambda data: signed(data[9:-1].replace(b'"races":[1,0,0]', b'"races":[1]')),
        lambda data: signed(data[9:-1].replace(b'"pid":7', b'"pid":"seven"')),
    ],
)
def test_what_is_damaged_is_nothing(damage: object) -> None:
    assert callable(damage)
    data = encode(told_of(REPORT))
    assert decode(data) is not None
    assert decode(data + b"what a longer line has left behind") is not None
    assert decode(damage(data)) is None


def signed(text: bytes) -> bytes:
    from zlib import crc32

    return b"%08x %s\n" % (crc32(text), text)


def test_no_host_and_no_secret_is_in_it() -> None:
    text = encode(told_of(REPORT, with_secrets())).decode()
    assert [word for word in ("example", "198.51.100", "2001:db8:99", *SECRETS) if word in text] == []


# ---------------------------------------------------------------------- the file


def test_a_race_is_read_by_others_until_the_sink_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "live"
    sink = LiveSink(directory)
    (path,) = directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    sink(REPORT)
    sink(REPORT)
    (told,) = read_live(directory)
    assert (told.pid, told.started, told.network) == (os.getpid(), started(os.getpid()), network_namespace())
    assert told.pvds["wifi"] == PvdCounts(races=2, attempts=4, won=2, failed=2)
    assert told.since <= told.last <= time.time()
    sink.close()
    sink.close()
    sink(REPORT)
    assert list(directory.iterdir()) == []
    assert read_live(directory) == []


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_live(tmp_path / "none") == []


PROGRAM = """
import os, sys, time
from pvdrace.telemetry.live import LiveSink
from test_live import REPORT
sink = LiveSink(sys.argv[1])
sink(REPORT)
print("ready", flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
elif sys.argv[2] == "raise":
    raise RuntimeError("the end")
"""


def start(directory: Path, how: str) -> subprocess.Popen[str]:
    variables = environment()
    variables["PYTHONPATH"] += f":{os.path.dirname(__file__)}"
    command = [sys.executable, "-c", PROGRAM, str(directory), how]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
    )


def test_it_goes_with_its_process_and_what_a_killed_one_leaves_is_not_believed(tmp_path: Path) -> None:
    for how in ("end", "raise"):
        start(tmp_path, how).communicate(timeout=30)
        assert list(tmp_path.iterdir()) == []
    with start(tmp_path, "wait") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert [told.pid for told in read_live(tmp_path)] == [process.pid]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.iterdir())) == 1
    assert read_live(tmp_path) == []
    assert list(tmp_path.iterdir()) == []  # who looks tidies up


def test_a_child_of_fork_counts_for_itself(tmp_path: Path) -> None:
    sink = LiveSink(tmp_path)
    sink(REPORT)
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def child() -> None:
        sink(REPORT)
        sink(REPORT)
        ready.set()
        done.wait(30)

    process = context.Process(target=child)
    process.start()
    assert ready.wait(30)
    assert {told.pid: told.won for told in read_live(tmp_path)} == {os.getpid(): 1, process.pid: 2}
    sink.close()
    assert [told.pid for told in read_live(tmp_path)] == [process.pid]
    done.set()
    process.join(30)
    assert read_live(tmp_path) == []


def test_a_child_does_not_keep_its_parents_file_alive(tmp_path: Path) -> None:
    """The lock is its process's, however many children live on."""
    program = PROGRAM.replace('if sys.argv[2] == "wait":', "if os.fork():\n    os._exit(0)\nelse:")
    variables = environment()
    variables["PYTHONPATH"] += f":{os.path.dirname(__file__)}"
    program = program.replace("sleep(60)", "sleep(5)").partition("elif")[0]
    command = [sys.executable, "-c", program, str(tmp_path), "x"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=variables, timeout=30)
    assert len(list(tmp_path.iterdir())) == 1
    assert read_live(tmp_path) == []


def test_threads_share_one_sink_and_a_reader_sees_whole_lines(tmp_path: Path) -> None:
    sink = LiveSink(tmp_path)
    stop = threading.Event()
    counted: list[int] = []

    def count() -> None:
        """For as long as somebody reads: how long that takes is for the machine's load to say."""
        races = 0
        while races < 300 or not stop.is_set():
            sink(REPORT)
            races += 1
        counted.append(races)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    until = time.monotonic() + 30
    while len(seen) < 20 and time.monotonic() < until:
        seen += [told.won for told in read_live(tmp_path)]
    stop.set()
    for thread in threads:
        thread.join()
    (told,) = read_live(tmp_path)
    assert (told.won, told.pvds["eth"].attempts) == (sum(counted), 2 * sum(counted))
    assert len(seen) >= 20
    assert seen == sorted(seen)
    sink.close()


def test_the_child_of_a_fork_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    sink = LiveSink(tmp_path)
    with sink._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            sink.close()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(read_live(tmp_path)) == 1
    sink.close()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user may write to"):
        LiveSink(tmp_path)
    link = tmp_path / "link"
    link.symlink_to("/tmp")
    with pytest.raises(PermissionError):
        LiveSink(link)
    with pytest.raises(FileExistsError):
        LiveSink(__file__)


def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "x.live").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "d.live").mkdir()
    os.mkfifo(tmp_path / "f.live")
    assert read_live(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.live", "f.live", "notes.txt", "x.live"]


def test_what_the_files_of_another_network_namespace_say_is_of_other_pvds(tmp_path: Path) -> None:
    sink = LiveSink(tmp_path)
    sink(REPORT)
    sink._told.network += 1
    sink(REPORT)
    assert read_live(tmp_path) == []
    sink.close()


# ---------------------------------------------------------------------- who turns it on


@pytest.mark.parametrize(
    ("variables", "directory"),
    [
        ({"PVDRACE_LIVE": "/x/y"}, "/x/y"),
        ({"PVDRACE_LIVE": "1", "XDG_RUNTIME_DIR": "/"}, "/pvdrace"),
        ({"XDG_RUNTIME_DIR": "/"}, "/pvdrace"),
        ({"XDG_RUNTIME_DIR": "/nosuch"}, None),
        ({}, None),
    ],
)
def test_where_it_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], directory: str | None
) -> None:
    for name in ("PVDRACE_LIVE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    user = os.getuid()
    run = f"/run/user/{user}"
    usual = f"{run}/pvdrace" if os.path.isdir(run) else f"/tmp/pvdrace-{user}"
    assert str(live_directory()) == (directory or usual)


def test_the_environment_turns_it_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PVDRACE_LIVE", raising=False)
    assert live_sinks() == ()
    monkeypatch.setenv("PVDRACE_LIVE", str(tmp_path))
    (sink,) = live_sinks()
    assert live_sinks() == (sink,)  # one a process
    assert len(read_live(tmp_path)) == 1
    sink.close()
    tmp_path.chmod(0o777)
    assert live_sinks() == ()
    assert "no counters for pvdrace top" in caplog.text
    tmp_path.chmod(0o700)


ASYNCHRONOUS = """
import os, sys, anyio, pvdrace
from pvdrace.telemetry.live import read_live

async def main():
    sock, _ = await pvdrace.connect("127.0.0.1", int(sys.argv[1]))
    sock.close()
    print([(told.won, list(told.pvds)) for told in read_live(os.environ["PVDRACE_LIVE"])])

anyio.run(main)
"""
BLOCKING = """
import os, sys, threading, pvdrace.sync
from pvdrace.telemetry.live import read_live

def connect():
    sock, _ = pvdrace.sync.connect("127.0.0.1", int(sys.argv[1]))
    sock.close()

thread = threading.Thread(target=connect)
thread.start()
thread.join()
print([(told.won, list(told.pvds)) for told in read_live(os.environ["PVDRACE_LIVE"])])
"""


@pytest.mark.parametrize("program", [ASYNCHRONOUS, BLOCKING], ids=["asynchronous", "blocking"])
def test_the_functions_of_the_module_tell_where_the_environment_asks_for_it(
    tmp_path: Path, program: str
) -> None:
    server = Server("127.0.0.1")
    try:
        command = [sys.executable, "-c", program, str(server.port)]
        variables = environment(PVDRACE_LIVE=str(tmp_path))
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, timeout=30)
    finally:
        server.close()
    assert done.stdout == "[(1, ['loopback'])]\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_a_connector_counts_real_races(tmp_path: Path) -> None:
    sink = LiveSink(tmp_path)
    server = Server("127.0.0.1")
    try:
        async with pvdrace.Connector(Configuration(discover=()), hooks=[sink]) as connector:
            for _ in range(3):
                connection = await connector.open_connection("127.0.0.1", server.port)
                await connection.aclose()
    finally:
        server.close()
    (told,) = read_live(tmp_path)
    assert (told.won, told.pvds) == (3, {"loopback": PvdCounts(races=3, attempts=3, won=3)})
    sink.close()


def test_the_schema_has_its_name() -> None:
    assert json.loads(encode(Told(1, 1, 0.0)).partition(b" ")[2])["schema"] == "pvdrace.live/1"
    assert ProvisioningDomain("x").reached == ()
