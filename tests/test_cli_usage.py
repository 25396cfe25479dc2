"""The command line's manners: help, usage errors, exit codes, errors of one line, quick to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from cli_program import PROGRAM, environment, pvdrace_program
from pvdrace import __version__
from pvdrace.cli.app import app
from pvdrace.cli.exits import exit_code, guarded
from pvdrace.errors import ConfigurationError, ConnectFailed, NoUsablePvd, PvdRaceError, ResolutionFailed
from pvdrace.model import Reachability
from pvdrace.policy import Policy
from pvdrace.testing.scenario import impostor, nodata, ok, pvd, refused, scenario

if TYPE_CHECKING:
    from pathlib import Path

    from pvdrace.race.report import RaceReport

PORTAL = Reachability.PORTAL


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


# ---------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["list"],
        ["resolve"],
        ["connect"],
        ["proxy"],
        ["history"],
        ["lab"],
        ["lab", "list"],
        ["lab", "run"],
        ["lab", "shell"],
        ["demo"],
    ],
)
def test_every_command_has_help(arguments: list[str]) -> None:
    code, out, err = invoke(*arguments, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")
    assert "..." not in out.partition("Commands:")[2]  # a summary that was cut off helps nobody
    assert max(map(len, out.splitlines())) <= 80


def test_version() -> None:
    assert invoke("--version") == (0, f"pvdrace {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["lab"]])
def test_a_group_without_a_command_shows_help_as_an_error(arguments: list[str]) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], "--bogus"),
        (["conect", "host", "1"], "conect"),
        (["connect", "host"], "PORT"),
        (["connect", "host", "https"], "'https' is not a port from 1 to 65535"),
        (["connect", "host", "1", "--history", __file__], "test_cli_usage.py is not a history of pvdrace"),
        (["explain", "host", "1", "--history", __file__], "test_cli_usage.py is not a history of pvdrace"),
        (["top", "--history", __file__], "test_cli_usage.py is not a history of pvdrace"),
        (["top", "--interval", "0"], "'0' is not a number of seconds of at least 0.1"),
        (["connect", "host", "0"], "is not a port from 1 to 65535"),
        (["connect", "host", "65536"], "is not a port from 1 to 65535"),
        (["connect", "ho st/", "1"], "neither a host name nor an IP address"),
        (["connect", "fe80::1%", "1"], "neither a host name nor an IP address"),
        (["connect", " host", "1"], "must be a name or an address"),
        (["connect", "host", "1", "--timeout", "0"], "--timeout"),
        (["connect", "host", "1", "--timeout", "nan"], "--timeout"),
        (["connect", "host", "1", "--timeout", "inf"], "--timeout"),
        (["resolve", "host", "--timeout", "-1"], "--timeout"),
        (["connect", "host", "1", "--require", "wifi"], "write pvd:wifi"),
        (["connect", "host", "1", "--prefer", "pvd:a", "--avoid", "cost:cheap"], "--avoid"),
        (["connect", "host", "1", "--prohibit", "pwd:x"], "no kind 'pwd'"),
        (["connect", "host", "1", "--ca-file", "x.pem"], "--ca-file is for --tls"),
        (["connect", "host", "1", "--tls", "--ca-file", "no-such.pem"], "no-such.pem: No such file"),
        (["connect", "host", "1", "--tls", "--ca-file", os.devnull], "no certificate in it"),
        (["resolve", "192.0.2.1"], "needs no lookup"),
        (["resolve", "fe80::1%eth0"], "needs no lookup"),
        (["resolve", "localhost"], "needs no lookup"),
        (["resolve", "a/b"], "neither a host name nor an IP address"),
        (["proxy", "--listen", "localhost:1080"], "is not an IP address and a port"),
        (["proxy", "--listen", "127.0.0.1:1080,profil=linux"], "after the comma comes one of profile=WORD"),
        (["proxy", "--listen", "127.0.0.1:1080,profile=linus"], "no profile 'linus', did you mean 'linux'?"),
        (["proxy", "--user", "a,profile=linux,policy=b.toml"], "a profile or a policy file, not both"),
        (["proxy", "--user", "a", "--user", "a"], "user: 'a' is there twice"),
        (["proxy", "--listen", "0.0.0.0:1080"], "takes allow_remote and passwords"),
        (["proxy", "--listen", "0.0.0.0:1080", "--allow-remote"], "no user has a password"),
        (["proxy", "--authenticate"], "no user has a password"),
        (["proxy", "--passwords", "no-such"], "no-such: No such file"),
        (["proxy", "--idle-timeout", "0"], "idle_timeout: a time is above 0 s"),
        (["lab", "run", "eth-blackhol", "true"], "did you mean eth-blackhole?"),
        (["lab", "run", "xyzzy", "true"], "pvdrace lab list"),
        (["lab", "run", "good"], "COMMAND"),
        (["lab", "run", "good", "--"], "COMMAND"),
        (["lab", "shell", "xyzzy"], "xyzzy"),
    ],
)
def test_a_usage_error_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("pvdrace: ")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["list"], ["resolve", "host"], ["connect", "host", "1"]])
@pytest.mark.parametrize("place", ["before", "after", "environment", "here"])
def test_a_wrong_configuration_is_one_line_and_code_2(
    command: list[str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in the order that the contract gives, named with file and line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PVDRACE_CONFIG", raising=False)
    name = "pvdrace.toml" if place == "here" else "other.toml"
    (tmp_path / "pvdrace.toml").write_text("discover = []\nworse = 1\n")
    (tmp_path / "other.toml").write_text("discover = []\n\nwrong = 1\n")
    if place == "environment":
        monkeypatch.setenv("PVDRACE_CONFIG", "other.toml")
    option = ["--config", "other.toml"]
    line = {"before": [*option, *command], "after": [*command, *option]}.get(place, command)
    code, out, err = invoke(*line)
    assert (code, out) == (2, "")
    assert err.startswith(f"pvdrace: {name}:{2 if place == 'here' else 3}: ")
    assert err.count("\n") == 1


def test_the_nearer_config_option_wins(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("discover = []\n")
    good = str(tmp_path / "good.toml")
    assert invoke("--config", "no-such.toml", "list", "--json", "--config", good)[0] == 0
    assert invoke("--config", good, "list", "--json", "--config", "no-such.toml")[0] == 2


# ---------------------------------------------------------------------- exit codes


def lost(**scripts: object) -> RaceReport:
    policy = scripts.pop("policy", None)
    return scenario(policy=policy, timeout=1.0, **scripts).report  # type: ignore[arg-type]


NOBODY = lost(eth=pvd(unusable="no address"))
PORTALS = lost(eth=pvd(reachability=PORTAL), lte=pvd(unusable="no address"))
INSIDE_A_PORTAL = lost(eth=pvd(v4=impostor(3, 4), reachability=PORTAL), policy=Policy(require=["pvd:eth"]))
REFUSED_BEHIND_LTE = lost(eth=pvd(reachability=PORTAL), lte=pvd(v4=refused(3)))
NO_NAME = lost(eth=pvd(aaaa=nodata(3), a=nodata(3)))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("pvdrace.toml:1: no"), 2),
        (NoUsablePvd("x", NOBODY), 3),
        (NoUsablePvd("x", None), 3),
        (ResolutionFailed("x", NO_NAME), 4),
        (ConnectFailed("x", REFUSED_BEHIND_LTE), 4),
        (ConnectFailed("x", None), 4),
        (NoUsablePvd("x", PORTALS), 5),
        (ConnectFailed("x", INSIDE_A_PORTAL), 5),
    ],
)
def test_exit_codes_of_errors(error: PvdRaceError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(error) == code

    def work() -> None:
        raise error

    assert guarded(work) == code
    assert capsys.readouterr().err == f"pvdrace: {error}\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (OSError(95, "Operation not supported"), 1, "pvdrace: Operation not supported\n"),
        (OSError(21, "Is a directory", "/tmp"), 1, "pvdrace: /tmp: Is a directory\n"),
        (OSError("the kernel says no"), 1, "pvdrace: the kernel says no\n"),
    ],
)
def test_exit_codes_of_circumstances(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    assert guarded(work) == code
    assert capsys.readouterr().err == line


def test_a_bug_is_not_hushed_up() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(work)


def test_success_is_0_whatever_a_command_returns() -> None:
    assert guarded(lambda: None) == 0
    assert guarded(lambda: 4) == 4
    assert scenario(eth=pvd(v4=ok(1))).won


# ---------------------------------------------------------------------- the process


def test_help_loads_neither_the_library_nor_rich() -> None:
    code = (
        "import sys; from pvdrace.cli.app import app; app.main(['--help'], standalone_mode=False);"
        "print(sorted({'rich', 'anyio', 'dns', 'pyroute2', 'trio', 'pvdrace.connector', 'pvdrace.lab'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_so(missing: str) -> None:
    """``pip install pvdrace`` brings the command, and ``pvdrace[cli]`` what it needs."""
    code = (
        "import sys, importlib.util as u; found = u.find_spec\n"
        f"import pvdrace.cli; pvdrace.cli.find_spec = lambda n: None if n == {missing!r} else found(n)\n"
        "sys.exit(pvdrace.cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert done.stderr == f"pvdrace: the command line needs {missing}: pip install 'pvdrace[cli]'\n"


def test_ctrl_c_is_quiet() -> None:
    """A process that watches has printed what there is, gets SIGINT, and ends with 130 and no word more."""
    with subprocess.Popen(
        [*PROGRAM, "list", "--watch", "--json", "--config", os.devnull],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert '"change": "present"' in first
    assert (process.returncode, errors) == (130, "")


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [*PROGRAM, "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, "")


def test_python_dash_m() -> None:
    done = pvdrace_program("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pvdrace {__version__}\n", "")
