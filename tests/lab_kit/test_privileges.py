"""The lab without root, and what it says where it can't be built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pvdrace.lab import Lab, LabError, Provider, become_root_inside, privileges, programs

HERE = Path(__file__).parent
SOURCES = Path(privileges.__file__).parents[2]

pytestmark = pytest.mark.lab

USER = """
import os, threading
from pvdrace.lab import Lab, Provider, become_root_inside
assert become_root_inside() is True
assert become_root_inside() is False
with Lab([Provider("a", delay=0.002), Provider("b")], overlapping=True) as lab:
    lab["a"].dns("servfail"); lab["a"].remove(); lab["a"].heal(); lab["b"].portal(); lab["b"].login()
    for name in "ab":
        print(lab.run(["curl", "-sS", "--interface", name, "https://www.example.test/"]).stdout, end="")
    print(lab["a"].counters().syn, lab["b"].counters().syn)
"""

THREADS = """
import threading, time
from pvdrace.lab import Lab, Provider, LabError, become_root_inside
threading.Thread(target=time.sleep, args=(1,)).start()
for build in (become_root_inside, Lab([Provider("a")]).__enter__):
    try: build()
    except LabError as error: print(error)
"""


def as_nobody(*command: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run as a plain user without capabilities; as root through nobody.py, else as we are."""
    inner = [*command, sys.executable, "-c", code] if code else list(command)
    outer = [sys.executable, str(HERE / "nobody.py")] if os.geteuid() == 0 else []
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(SOURCES), *sys.path[1:]]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [*outer, *inner], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def test_a_plain_user_has_the_whole_lab() -> None:
    done = as_nobody(code=USER)
    assert done.stderr == ""
    assert done.stdout.split() == ["a", "b", "1", "1"]


def test_a_command_can_be_given_the_right_first() -> None:
    done = as_nobody(
        sys.executable, "-m", "pvdrace.lab", sys.executable, "-c", USER.replace("is True", "is False")
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["a", "b", "1", "1"]


def test_that_command_has_a_loopback_and_nothing_else() -> None:
    done = as_nobody(sys.executable, "-m", "pvdrace.lab", "ip", "-brief", "link")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["lo"]
    assert "LOWER_UP" in done.stdout


def test_threads_are_in_the_way_and_are_named() -> None:
    first, second = as_nobody(code=THREADS).stdout.splitlines()
    assert first.startswith("can't enter a user namespace with 2 threads running: call become_root_inside()")
    assert "before any thread starts" in second


def test_a_system_that_forbids_user_namespaces_is_told_in_one_line() -> None:
    """Really forbidden: by a limit of zero in a namespace of our own, with all capabilities dropped."""
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all"
        f" --no-new-privs {sys.executable} -m pvdrace.lab true"
    )
    done = as_nobody("unshare", "--user", "--map-root-user", "sh", "-c", script)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        (
            "the lab needs root or an unprivileged user namespace, and this system forbids the latter"
            " (No space left on device): run as root, or 'sudo sysctl user.max_user_namespaces=10000'"
        )
    ]


@pytest.mark.parametrize(
    ("sysctl", "value", "advice"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "1", "in a container, start it with --privileged"),
    ],
)
def test_the_advice_is_for_this_system(tmp_path: Path, sysctl: str, value: str, advice: str) -> None:
    file = tmp_path / sysctl
    file.parent.mkdir(parents=True)
    file.write_text(value + "\n")
    told = privileges.refusal(PermissionError(1, "Operation not permitted"), str(tmp_path))
    assert "(Operation not permitted)" in told
    assert advice in told
    assert "\n" not in told


def test_with_the_right_already_there_nothing_changes() -> None:
    before = os.readlink("/proc/self/ns/user")
    assert become_root_inside() is False
    assert os.readlink("/proc/self/ns/user") == before


@pytest.mark.parametrize("program", ["ip", "nft", "dnsmasq"])
def test_a_missing_program_names_its_package(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path: None if name == program else f"/bin/{name}")
    programs.find_program.cache_clear()
    try:
        with pytest.raises(
            LabError, match=f"needs the program '{program}': apt-get install {programs.PACKAGES[program]}"
        ):
            Lab([Provider("a")]).__enter__()
    finally:
        programs.find_program.cache_clear()


def test_a_plain_client_can_run_in_a_lab_of_root() -> None:
    """The CA and the configuration are readable, and device binding works without capabilities."""
    with Lab([Provider("a"), Provider("b")]) as lab:
        drop = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        if Path("/proc/self/uid_map").read_text().split()[2] != "1":  # there are other users to become
            drop += ["--reuid=65534", "--regid=65534", "--clear-groups"]
        done = lab.run([*drop, "curl", "-sS", "--interface", "b", "https://www.example.test/"])
        assert (done.stdout, done.stderr) == ("b\n", "")
