"""History on disk: what is put away comes back, whatever becomes of the file."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace import Connector, history_file
from pvdrace.expectation import EXPECT_NOTHING
from pvdrace.history import History
from pvdrace.history.facts import DNS, HOLE, RATE, READY, WON, Fact, fact, facts, merged, restore
from pvdrace.history_file import APPLICATION_ID, HistoryFile
from pvdrace.history_store import HistoryStore
from pvdrace.model import Endpoint, PvdSet
from pvdrace.race.report import RaceReport
from pvdrace.testing.scenario import PvdScript, blackhole, build_pvds, ok, pvd, scenario

SCRIPTS: dict[str, PvdScript] = {
    "a": pvd(v6=blackhole, v4=blackhole, identity="prefix 2001:db8:1::/64"),
    "b": pvd(v6=ok(30), v4=ok(30), identity="router 02:00:00:00:00:02"),
}
NAMELESS: dict[str, PvdScript] = {"c": pvd(v6=ok(30))}
PVDS = build_pvds(SCRIPTS)
ENDPOINT = Endpoint("www.example.com", 443)


def raced(scripts: dict[str, PvdScript] = SCRIPTS, **options: Any) -> RaceReport:
    options.update(scripts)
    return scenario(**options).report


A_FAILS = raced()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "pvdrace" / "history.db"


def learnt(now: float | None = None) -> History:
    history = History()
    history.learn(A_FAILS, time.monotonic() if now is None else now)
    return history


def taken(path: Path) -> History:
    history, store = History(), HistoryStore(path)
    store.restore(history, store.load())
    return history


def some(n: int, at: float, host: str = "x") -> Fact:
    return Fact("a", "i", f"{host}{n}", 443, f"{READY}tcp", 0.1, 0.05, 0.0, at)


# ---------------------------------------------------------------------- facts


def test_what_is_put_away_comes_back_as_it_was() -> None:
    before, after = learnt(100.0), History()
    restore(after, [one.shifted(1e9).shifted(-1e9) for one in facts(before)], 101.0)
    expected = before.expected(PVDS, ENDPOINT, "tcp", 101.0)
    again = after.expected(PVDS, ENDPOINT, "tcp", 101.0)
    assert expected["a"].distrusted
    assert {name: one._replace(incumbent=False) for name, one in expected.items()} == again
    assert sorted(facts(after)) == sorted(facts(before))


def test_only_what_can_be_recognised_is_put_away_and_only_what_is_new() -> None:
    history = learnt(100.0)
    history.learn(raced(NAMELESS), 101.0)
    assert {one.pvd for one in facts(history)} == {"a", "b"}
    assert facts(history, 100.0) == []
    history.learn(raced(host="other.example"), 120.0)
    assert {one.host for one in facts(history, 100.0)} == {"other.example", ""}


@pytest.mark.parametrize(
    "row",
    [
        (),
        ("a", "i", "h", 443, "ready:tcp", 1.0, 1.0, 0.0),
        ("a", "i", "h", 443, "ready:tcp", 1.0, "1", 0.0, 1.0),
        ("a", "i", "h", 443, "ready:tcp", 1.0, None, 0.0, 1.0),
        ("a", "i", "h", 443, "ready:tcp", float("inf"), 1.0, 0.0, 1.0),
        ("a", "i", "h", 443, "ready:tcp", -1.0, 1.0, 0.0, 1.0),
        ("a", "i", "h", 70000, "ready:tcp", 1.0, 1.0, 0.0, 1.0),
        ("a", "i", "h", "443", "ready:tcp", 1.0, 1.0, 0.0, 1.0),
        ("a", "i", b"h", 443, "ready:tcp", 1.0, 1.0, 0.0, 1.0),
        ("", "i", "h", 443, "ready:tcp", 1.0, 1.0, 0.0, 1.0),
        ("a", "", "h", 443, "ready:tcp", 1.0, 1.0, 0.0, 1.0),
        ("a", "i", "h", 443, "hole:5", 1.0, 1.0, 0.0, 1.0),
        ("a", "i", "h", 443, "hole:x", 1.0, 1.0, 0.0, 1.0),
        ("a", "i", "h", 443, "magic", 1.0, 1.0, 0.0, 1.0),
    ],
)
def test_a_row_that_cannot_be_one_is_none(row: tuple[Any, ...]) -> None:
    assert fact(row) is None


def test_two_that_did_not_know_of_each_other_are_merged() -> None:
    def of(kind: str, x: float, y: float, z: float, at: float) -> Fact:
        return Fact("a", "i", "h", 1, kind, x, y, z, at)

    ready = f"{READY}tcp"
    old, new = of(ready, 0.1, 0.01, 0, 50), of(ready, 0.3, 0.02, 0, 60)
    assert merged(old, new, 55) == new, "it knew the old one"
    assert merged(old, new, 40) == of(ready, 0.2, 0.02, 0, 60)
    assert merged(of(ready, 9, 9, 1, 50), new, 40) == new, "a lower bound is no measurement"
    assert merged(old, of(ready, 9, 9, 1, 60), 40) == old._replace(at=60)
    assert merged(of(RATE, 4, 0, 0, 60), of(RATE, 0, 2, 0, 60), 40) == of(RATE, 4, 2, 0, 60)
    hole = f"{HOLE}0"
    assert merged(of(hole, 1, 10, 70, 60), of(hole, 0, 0, 0, 65), 40) == of(hole, 0, 0, 0, 65)
    assert merged(of(hole, 1, 10, 70, 60), of(hole, 0, 0, 0, 55), 40) == of(hole, 1, 10, 70, 60)
    assert merged(of(f"{WON}0", 0, 0, 0, 60), of(f"{WON}0", 0, 0, 0, 55), 40).at == 60


KINDS = st.sampled_from([f"{READY}tcp", DNS, RATE, f"{HOLE}0", f"{HOLE}6", f"{WON}4"])
NUMBERS = st.floats(0, 1e6)
FACTS = st.builds(
    Fact, st.just("a"), st.just("i"), st.just("h"), st.just(443), KINDS, NUMBERS, NUMBERS, NUMBERS, NUMBERS
)


@given(FACTS, FACTS, NUMBERS)
def test_law_a_merged_fact_is_a_fact_and_never_older_than_either(old: Fact, new: Fact, since: float) -> None:
    new = new._replace(kind=old.kind)
    best = merged(old, new, since)
    assert fact(tuple(best)) == best
    assert best.key == old.key
    assert best.at == max(old.at, new.at)


@given(st.lists(FACTS, max_size=10), NUMBERS)
def test_law_whatever_is_restored_nothing_fails(found: list[Fact], now: float) -> None:
    history = History()
    restore(history, found, now)
    history.expected(PVDS, ENDPOINT, "tcp", now)
    history.learn(A_FAILS, now + 1)
    for one in facts(history):
        assert fact(tuple(one)) == one


# ---------------------------------------------------------------------- the file


def test_the_file_gives_back_what_was_written_and_nobody_else_may_read_it(path: Path) -> None:
    before = os.umask(0o777)
    try:
        HistoryFile(path).write([some(1, time.time())], 0.0)
        with sqlite3.connect(path) as reader:  # so that the log is there to be looked at
            reader.execute("SELECT * FROM known").fetchall()
            HistoryFile(path).write([some(2, time.time())], 0.0)
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
        reader.close()
    finally:
        os.umask(before)
    assert modes == {"history.db": 0o600, "history.db-wal": 0o600, "history.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert {one.host for one in HistoryFile(path).read()} == {"x1", "x2"}


def test_a_file_that_others_may_read_is_closed_to_them(path: Path) -> None:
    HistoryFile(path).write([some(1, time.time())], 0.0)
    path.chmod(0o644)
    HistoryFile(path).read()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_home_is_what_a_tilde_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    HistoryFile("~/h.db").write([some(1, time.time())], 0.0)
    assert (path.parent / "h.db").is_file()


def test_the_number_of_rows_is_capped_and_the_oldest_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "ROWS_KEPT", 10)
    now = time.time()
    HistoryFile(path).write([some(n, now - n) for n in range(25)], 0.0)
    assert {one.host for one in HistoryFile(path).read()} == {f"x{n}" for n in range(10)}
    HistoryFile(path).write([some(n, now, "same") for n in range(25)], 0.0)
    assert len(HistoryFile(path).read()) == 10


def test_what_is_too_old_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    HistoryFile(path).write([some(1, now), some(2, now - 100)], 0.0)
    monkeypatch.setattr(history_file, "MAX_AGE", 50.0)
    assert [one.host for one in HistoryFile(path).read()] == ["x1"]
    HistoryFile(path).write([], 0.0)
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT host FROM known").fetchall() == [("x1",)]
    file.close()


def test_clear_forgets_one_or_all(path: Path) -> None:
    now = time.time()
    file = HistoryFile(path)
    file.write([some(1, now), some(2, now), some(3, now)._replace(pvd="b")], 0.0)
    assert file.clear("nobody") == 0
    assert file.clear("a") == 2
    assert [one.pvd for one in file.read()] == ["b"]
    assert file.clear() == 1
    assert file.read() == []


# ---------------------------------------------------------------------- damage


def truncated(path: Path) -> None:
    HistoryFile(path).write([some(n, time.time()) for n in range(500)], 0.0)
    os.truncate(path, path.stat().st_size // 2 + 17)


def overwritten(path: Path) -> None:
    HistoryFile(path).write([some(n, time.time()) for n in range(500)], 0.0)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 8192)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE bookmarks (url TEXT)")
        file.execute("INSERT INTO bookmarks VALUES ('https://www.example.com/')")
    file.close()


def newer(path: Path) -> None:
    HistoryFile(path).write([some(1, time.time())], 0.0)
    pragma(path, "user_version = 99")


def no_version(path: Path) -> None:
    HistoryFile(path).write([some(1, time.time())], 0.0)
    pragma(path, "user_version = 0")


def other_columns(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE known (something TEXT)")
    file.close()
    pragma(path, f"application_id = {APPLICATION_ID}")
    pragma(path, "user_version = 1")


def no_table(path: Path) -> None:
    pragma(path, f"application_id = {APPLICATION_ID}")
    pragma(path, "user_version = 1")


def pragma(path: Path, what: str) -> None:
    file = sqlite3.connect(path)
    file.execute(f"PRAGMA {what}")
    file.close()


def zeroes(path: Path) -> None:
    path.write_bytes(bytes(8192))


def text(path: Path) -> None:
    path.write_text("[[pvd]]\nname = 'wifi'\n")


UNFIT: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (truncated, overwritten, foreign, newer, no_version, other_columns, no_table, zeroes, text)
}


@pytest.mark.parametrize("how", UNFIT)
@pytest.mark.parametrize("first", ["read", "write"])
def test_what_is_no_history_is_set_aside_with_one_warning(
    path: Path, how: str, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir(parents=True)
    UNFIT[how](path)
    was = path.read_bytes()
    file = HistoryFile(path)
    if first == "read":
        assert file.read() == []
    file.write([some(1, time.time(), "new")], 0.0)
    if how in ("truncated", "overwritten") and first == "write" and not caplog.records:
        file.read()  # a damage elsewhere in the file is found when it is read
        file.write([some(1, time.time(), "new")], 0.0)
    assert [one.host for one in file.read()] == ["new1"]
    aside = path.with_name("history.db.damaged-1")
    assert len(aside.read_bytes()) == len(was)
    (warning,) = caplog.records
    assert str(aside) in warning.getMessage()
    assert sorted(entry.name for entry in path.parent.glob("*damaged*")) == ["history.db.damaged-1"]


def test_each_gets_a_name_of_its_own_and_their_number_is_bounded(path: Path) -> None:
    path.parent.mkdir(parents=True)
    for n in range(12):
        path.write_text(f"no database {n}")
        HistoryFile(path).read()
    names = sorted(entry.name for entry in path.parent.glob("*damaged*"))
    assert names == [f"history.db.damaged-{n}" for n in range(1, 10)]
    assert path.with_name("history.db.damaged-9").read_text() == "no database 11"


def test_an_empty_file_is_a_new_one(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    HistoryFile(path).write([some(1, time.time())], 0.0)
    assert len(HistoryFile(path).read()) == 1
    assert not caplog.records


def directory(path: Path) -> None:
    path.mkdir(parents=True)


def parent_is_a_file(path: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("in the way")


def fifo(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)


IN_THE_WAY: dict[str, Callable[[Path], None]] = {
    one.__name__: one for one in (directory, parent_is_a_file, fifo)
}


@pytest.mark.parametrize("how", IN_THE_WAY)
def test_where_no_file_can_be_history_stays_in_memory_and_says_so_once(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    IN_THE_WAY[how](path)
    store, history = HistoryStore(path), learnt()
    assert store.load() == []
    store.keep(history)
    store.close(history)
    (warning,) = caplog.records
    assert "in memory only" in warning.getMessage()
    assert str(path) in warning.getMessage()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_must_not_be_written_is_left_alone(path: Path, what: str) -> None:
    """As a user whom modes mean something to."""
    HistoryFile(path).write([some(1, time.time())], 0.0)
    program = """
        import os, sys, time
        from pvdrace.history_file import HistoryFile
        from pvdrace.history.facts import Fact
        path, what = sys.argv[1:]
        import sqlite3, pvdrace.history_file
        if os.geteuid() == 0:
            os.chmod(path, 0o444 if what == "file" else 0o666)
            at = path
            while (at := os.path.dirname(at)) != "/tmp" and at != "/":
                os.chmod(at, 0o755)
            if what == "directory":
                os.rename(path, path + "-elsewhere")
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        elif what == "file":
            os.chmod(path, 0o400)
        else:
            os.rename(path, path + "-elsewhere"); os.chmod(os.path.dirname(path), 0o500)
        try:
            HistoryFile(path).write([Fact("a", "i", "h", 1, "dns", 1.0, 1.0, 0.0, time.time())], 0.0)
        except OSError as error:
            print("refused", type(error).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path), what], capture_output=True, text=True
    )
    path.parent.chmod(0o700)
    assert done.stdout.startswith("refused"), done
    assert not list(path.parent.glob("*damaged*"))


# ---------------------------------------------------------------------- several processes

WRITER = """
    import sys, time
    from pvdrace.history.facts import Fact
    import pvdrace.history_file
    from pvdrace.history_file import HistoryFile
    pvdrace.history_file.PATIENCE = 60.0  # a busy machine is no failure
    path, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    file = HistoryFile(path)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(rounds):
        now = time.time()
        file.write([Fact("a", "i", f"{name}{n}", 443, "ready:tcp", 0.1, 0.1, 0.0, now),
                    Fact("a", "i", "both", 443, "ready:tcp", 0.1, 0.1, 0.0, now)], now)
        print(n, flush=True)
"""


def writer(path: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, str(rounds)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    processes = [writer(path, name, 40) for name in ("one", "two")]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    hosts = {one.host for one in HistoryFile(path).read()}
    assert hosts == {f"{name}{n}" for name in ("one", "two") for n in range(40)} | {"both"}
    assert not list(path.parent.glob("*damaged*"))


def test_a_process_that_is_killed_in_mid_write_leaves_a_good_file(path: Path) -> None:
    written = -1
    for attempt in range(3):
        process = writer(path, f"killed{attempt}-", 100000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(5 + attempt):
            written = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        hosts = {one.host for one in HistoryFile(path).read()}
        assert {f"killed{attempt}-{n}" for n in range(written + 1)} <= hosts
    assert not list(path.parent.glob("*damaged*"))
    HistoryFile(path).write([some(1, time.time())], 0.0)


def test_two_that_find_it_damaged_set_it_aside_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("no database")
    HistoryFile(path).write([some(1, time.time())], 0.0)
    late = HistoryFile(path)
    late._set_aside("damaged")  # it had looked before the other one was done
    assert [one.host for one in late.read()] == ["x1"]
    assert len(caplog.records) == 1


def test_a_file_that_another_holds_is_left_for_the_next_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history_file, "PATIENCE", 0.05)
    store, history = HistoryStore(path), learnt()
    store.load()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store.close(history)
    holder.execute("COMMIT")
    holder.close()
    assert taken(path).known == {}
    store.close(history)
    assert {one[0] for one in taken(path).known} == {"a", "b"}
    assert not caplog.records


# ---------------------------------------------------------------------- behind a connector


def test_what_is_new_is_written_behind_and_the_rest_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, history = HistoryStore(path), learnt()
    store.keep(history)
    assert store._writer is not None
    store._writer.join(30)
    assert {one[0] for one in taken(path).known} == {"a", "b"}
    history.learn(raced(host="other.example"), time.monotonic())
    store.keep(history)  # too soon
    assert not hosts(path) & {"other.example"}
    monkeypatch.setattr(store, "_due", 0.0)
    store.keep(history)
    store._writer.join(30)
    assert "other.example" in hosts(path)
    history.learn(raced(host="last.example"), time.monotonic())
    store.close(history)
    assert hosts(path) >= {"last.example", "www.example.com"}


def hosts(path: Path) -> set[str]:
    return {one.host for one in HistoryFile(path).read()}


def test_the_second_history_expects_what_the_first_has_learnt(path: Path) -> None:
    store, history = HistoryStore(path), learnt()
    store.close(history)
    again = taken(path)
    now = time.monotonic()
    assert again.expected(PVDS, ENDPOINT, "tcp", now)["a"].distrusted
    assert again.expected(PVDS, ENDPOINT, "tcp", now)["b"].ready == pytest.approx(0.080)
    assert facts(again, now) == [], "it does not write what it has read"


def test_a_child_of_a_fork_writes_for_itself(path: Path) -> None:
    store, history = HistoryStore(path), learnt()
    store.keep(history)
    assert store._writer is not None
    store._writer.join(30)  # Python would warn of a fork beside a thread
    child = os.fork()
    if child == 0:
        code = 1
        try:
            history.learn(raced(host="child.example"), time.monotonic())
            store.close(history)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    history.learn(raced(host="parent.example"), time.monotonic())
    store.close(history)
    assert hosts(path) >= {"child.example", "parent.example", "www.example.com"}


@pytest.mark.anyio
async def test_a_connector_with_a_damaged_file_connects(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("no database")
    async with Connector(history=path) as connector:
        assert connector._decisions.history.expected(PVDS, ENDPOINT, "tcp", 0.0) is EXPECT_NOTHING
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("history", ["", 5, b"", ["x"]])
def test_what_is_no_path_is_an_error(history: Any) -> None:
    with pytest.raises(ValueError, match="history must be the path of a file or None"):
        Connector(history=history)


def test_what_a_wrong_clock_has_written_does_not_outlast_what_is_learnt(path: Path) -> None:
    """A block of 2038 would come back with each start, and no success of now would ever replace it."""
    now = time.time()
    ahead = Fact("a", "net", "x", 443, "hole:0", 3.0, 300.0, now + 1e8 + 300, now + 1e8)
    HistoryFile(path).write([some(1, now)], now)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO known VALUES (?,?,?,?,?,?,?,?,?)", ahead)
    assert [one.host for one in HistoryFile(path).read()] == ["x1"]
    worked = ahead._replace(x=0.0, y=0.0, z=0.0, at=now)
    HistoryFile(path).write([worked], now)
    assert worked in HistoryFile(path).read()


def test_who_reads_waits_for_nobody_who_writes(path: Path) -> None:
    HistoryFile(path).write([some(1, time.time())], 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert len(HistoryFile(path).read()) == 1
        assert time.monotonic() - began < history_file.PATIENCE / 2


def test_whatever_goes_wrong_with_the_file_is_said_once_and_raised_never(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, history = HistoryStore(f"{path}\0"), learnt()
    assert store.load() == []
    store.close(history)
    store = HistoryStore(path)

    def unwritable(*_: object) -> None:
        "\udce9".encode()

    monkeypatch.setattr(store.file, "write", unwritable)
    store.close(history)
    assert len(caplog.records) == 2


def test_no_thread_to_write_with_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, history = HistoryStore(path), learnt()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        store.keep(history)
    store.close(history)
    assert {one[0] for one in taken(path).known} == {"a", "b"}


@pytest.mark.anyio
async def test_the_loop_goes_on_while_the_last_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has the file: that holds up who leaves the connector, and nobody else in the loop."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    HistoryFile(path).write([some(1, time.time())], 0.0)
    connector = Connector(history=path)
    await connector.__aenter__()
    connector._decisions.history = learnt()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            monkeypatch.setattr(history_file, "PATIENCE", 0.5)
            await connector.__aexit__(None, None, None)
            tasks.cancel_scope.cancel()
    assert ticks > 5


@pytest.mark.anyio
async def test_a_connector_that_is_cancelled_on_the_way_in_keeps_nothing(path: Path) -> None:
    connector = Connector(history=path)
    opened = connector._monitor.open
    with anyio.CancelScope() as scope:

        async def open_and_cancel() -> PvdSet:
            found = await opened()
            scope.cancel()  # before the file is read
            return found

        connector._monitor.open = open_and_cancel  # type: ignore[method-assign]
        async with connector:
            pytest.fail("it cannot have been entered")
    assert scope.cancelled_caught
    assert connector._monitor.fileno() == -1
