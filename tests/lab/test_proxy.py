"""The proxy under programs that know nothing of it: curl, git, pip, Chromium; and what only the wire tells.

Each test has its control: what the program does by itself, where the default link is dead.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

import pvdrace
from browser import QUIET
from cli_program import PROGRAM
from lab.racing import SLACK, configuration, sent, trusting
from pvdrace.lab import Lab
from pvdrace.proxy import Listen, Proxy, ProxySettings

pytestmark = pytest.mark.lab

LIMIT = "1"  # seconds that the control has


@contextlib.contextmanager
def proxy(lab: Lab, *options: str, config: str = "") -> Iterator[str]:
    """``HOST:PORT`` of a proxy inside the lab; it ends cleanly."""
    file = lab.files.parent / "proxy.toml"
    file.write_text(lab.config() + config, "utf-8")
    command = [*PROGRAM, "--config", str(file), "proxy", "--listen", "127.0.0.1:0", "-v", *options]
    environment = {"PYTHONPATH": str(Path(pvdrace.__file__).parents[1])}
    with lab.popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            assert said.startswith("pvdrace: listening on "), said
            yield said.split()[-1]
        finally:
            process.terminate()
            _, log = process.communicate(timeout=20)
            sys.stdout.write(log)
        assert process.returncode == 0


def curl(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.run(["curl", "--silent", "--show-error", "--max-time", "8", *arguments])


def by(address: str, scheme: str) -> list[str]:
    """curl's words for a proxy."""
    return {
        "socks5h": ["--proxy", f"socks5h://{address}"],
        "http": ["--proxy", f"http://{address}"],
        "user": ["--proxy", f"socks5h://user:secret@{address}"],
    }[scheme]


# ---------------------------------------------------------------------- curl


@pytest.mark.parametrize("url", ["https://{0}/", "http://{0}/"])
def test_curl(t2: Lab, url: str) -> None:
    """The default link loses everything beyond its DNS server; by SOCKS, by CONNECT, by a URL."""
    t2["wA"].blackhole()
    url = url.format(t2.name)
    assert curl(t2, "--max-time", LIMIT, url).returncode == 28
    with proxy(t2) as address:
        for scheme in ("socks5h", "http"):
            assert curl(t2, *by(address, scheme), url).stdout == "wB\n"


def test_curl_finds_a_name_that_one_network_has(t2: Lab) -> None:
    """``dead`` DNS at the default link: looked up in the other, and dialled there."""
    t2["wA"].dns("dead")
    with proxy(t2) as address:
        assert curl(t2, *by(address, "socks5h"), f"https://{t2.name}/").stdout == "wB\n"


def test_a_download_and_an_upload_are_what_they_were(t2: Lab, tmp_path: Path) -> None:
    t2["wA"].blackhole()
    content = os.urandom(2_000_000)
    (t2.files / "blob").write_bytes(content)
    (tmp_path / "blob").write_bytes(content)
    with proxy(t2) as address:
        for scheme in ("socks5h", "http"):
            for url in (f"https://{t2.name}", f"http://{t2.name}"):
                got = tmp_path / "got"
                done = curl(t2, *by(address, scheme), "--output", str(got), f"{url}/files/blob")
                assert done.returncode == 0, done.stderr
                assert got.read_bytes() == content
                got.unlink()
                upload = ["--data-binary", f"@{tmp_path / 'blob'}", f"{url}/sha256"]
                assert (
                    curl(t2, *by(address, scheme), *upload).stdout.strip()
                    == hashlib.sha256(content).hexdigest()
                )


def test_the_second_connection_knows_what_the_first_has_learnt(t2: Lab) -> None:
    t2["wA"].blackhole()
    with proxy(t2) as address:
        times = []
        for _ in range(2):
            before = time.monotonic()
            assert curl(t2, *by(address, "socks5h"), f"https://{t2.name}/").stdout == "wB\n"
            times.append(time.monotonic() - before)
    assert times[1] < times[0] + SLACK


# ---------------------------------------------------------------------- policy


def test_a_prohibited_network_sees_no_packet(t2: Lab) -> None:
    """Though it is the default, and whatever happens on the other: DNS, TCP, and no reset in the end."""
    with proxy(t2, "--prohibit", "pvd:wA") as address:
        t2.reset_counters()
        for scheme in ("socks5h", "http"):
            for url in (f"https://{t2.name}/", f"http://{t2.name}/"):
                assert curl(t2, *by(address, scheme), url).stdout == "wB\n"
        # broken off in the middle of a download: whatever still comes must not be answered elsewhere
        for url in (f"https://{t2.name}/bytes/20000000", f"http://{t2.name}/bytes/20000000"):
            assert (
                curl(t2, *by(address, "socks5h"), "--max-time", "0.3", "--output", os.devnull, url).returncode
                == 28
            )
        refused = curl(t2, *by(address, "socks5h"), f"https://{t2.name}:9/")
        assert refused.returncode == 97
        time.sleep(1.2)  # whatever lingers has gone
    assert [packet for packet in t2["wA"].packets() if packet.kind != "link"] == []
    assert t2["wB"].counters().syn > 6


@pytest.mark.anyio
async def test_a_prohibited_network_sees_no_packet_on_either_backend(t2: Lab) -> None:
    """In this process: TLS through the tunnel, and a tunnel that is broken off in a download."""
    settings = ProxySettings(listen=(Listen(port=0),))
    forbidden = pvdrace.Policy(prohibit=["pvd:wA"])
    through = Proxy(settings, config=configuration(t2), policy=forbidden)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(through.run)
            for request in (b"who\n", b"GET /bytes/20000000 HTTP/1.1\r\nHost: x\r\n\r\n"):
                async with await anyio.connect_tcp(host, port) as stream:
                    name = t2.name.encode()
                    asked = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x01\xbb"
                    await stream.send(b"\x05\x01\x00" + asked)
                    while len(await stream.receive()) < 10:
                        pass
                    secure = await TLSStream.wrap(
                        stream, hostname=t2.name, ssl_context=trusting(t2), standard_compatible=False
                    )
                    await secure.send(request)
                    said = await secure.receive()
                    assert said == b"wB\n" or b"Server: pvdrace-lab/wB" in said
                    if request != b"who\n":
                        await anyio.aclose_forcefully(stream)
            await anyio.sleep(0.2)
            through.stop()
    assert [packet for packet in t2["wA"].packets() if packet.kind != "link"] == []


def test_a_required_network_that_is_dead_never_falls_back(t2: Lab) -> None:
    t2["wB"].dead()
    with proxy(t2, "--require", "pvd:wB", "--connect-timeout", "1.5") as address:
        t2.reset_counters()
        failed = curl(t2, *by(address, "http"), "--output", "-", f"http://{t2.name}/")
        assert "wB" in failed.stdout
        assert failed.stdout.startswith(f"{t2.name}:80: ")
    assert sent(t2["wA"]) == []


RULES = """
[proxy]
[[proxy.user]]
name = "user"
label = "second"
[[rule]]
match = { label = ["second"] }
require = ["pvd:wB"]
"""


def test_the_user_chooses_the_network(t2: Lab) -> None:
    with proxy(t2, config=RULES) as address:
        url = f"https://{t2.name}/"
        assert curl(t2, *by(address, "socks5h"), url).stdout == "wA\n"
        assert curl(t2, *by(address, "user"), url).stdout == "wB\n"
        unknown = curl(t2, "--proxy", f"socks5h://nobody:x@{address}", url)
        assert (unknown.returncode, unknown.stdout) == (97, "")
        unknown = curl(t2, "--proxy", f"http://nobody:x@{address}", url)
        assert unknown.returncode == 56
        assert "407" in unknown.stderr


def test_a_name_that_leads_to_this_host_is_dialled_nowhere() -> None:
    """As an answer of DNS says: loopback, link-local, an address of the host. No packet but the questions."""
    from pvdrace.lab import Provider

    addresses = ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "192.168.1.2", "::ffff:127.0.0.1"]
    zones = {"evil.example.test": addresses}
    with Lab([Provider("wA", zones=zones)]) as lab, proxy(lab) as address:
        lab.reset_counters()
        failed = curl(lab, *by(address, "http"), f"http://evil.example.test:{address.split(':')[1]}/")
        assert "not a target of this proxy" in failed.stdout
        assert {packet.port for packet in lab["wA"].packets() if packet.kind != "link"} == {53}


# ---------------------------------------------------------------------- interception


@pytest.mark.parametrize("how", ["stall", "portal"])
def test_a_path_that_is_dead_or_intercepted_at_the_first_flight(t2: Lab, how: str) -> None:
    """TCP always connects there. What stays silent is left for the next network; a wrong certificate is not.

    The control is curl by itself.
    """
    if how == "stall":
        t2["wA"].stall()
        assert curl(t2, "--max-time", LIMIT, f"https://{t2.name}/").returncode == 28
        with proxy(t2) as address:
            for scheme in ("socks5h", "http"):
                assert curl(t2, *by(address, scheme), f"https://{t2.name}/").stdout == "wB\n"
    else:
        t2["wA"].portal()
        assert curl(t2, f"https://{t2.name}/").returncode == 60
        with proxy(t2) as address:
            assert curl(t2, *by(address, "socks5h"), f"https://{t2.name}/").returncode == 60


# ---------------------------------------------------------------------- git, pip, Chromium


def git(lab: Lab, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_SSL_CAINFO": lab.ca_file,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.test",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.test",
    }
    return lab.run(["git", *arguments], cwd=cwd, env=environment | variables)


def test_git_clones(t2: Lab, tmp_path: Path) -> None:
    """From a repository that the public server shows as files (git's dumb protocol)."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "file").write_text("content of the lab\n", "utf-8")
    bare = t2.files / "project.git"
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "a"]):
        assert git(t2, *arguments, cwd=made).returncode == 0
    if not bare.exists():
        assert git(t2, "clone", "-q", "--bare", str(made), str(bare), cwd=tmp_path).returncode == 0
        assert git(t2, "update-server-info", cwd=bare).returncode == 0
    t2["wA"].blackhole()
    url = f"https://{t2.name}/files/project.git"
    slow = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": LIMIT}
    with contextlib.suppress(subprocess.TimeoutExpired):
        control = ["-c", "http.proxy="]
        process = t2.popen(
            ["git", *control, "clone", "-q", url, "control"],
            cwd=tmp_path,
            env=slow | {"GIT_SSL_CAINFO": t2.ca_file},
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                assert process.wait(float(LIMIT)) != 0
            finally:
                process.kill()
    assert not (tmp_path / "control" / "file").exists()
    with proxy(t2) as address:
        for scheme in ("socks5h", "http"):
            for each in (url, url.replace("https:", "http:")):
                copy = tmp_path / f"{scheme}-{each[:5]}"
                done = git(
                    t2, "-c", f"http.proxy={scheme}://{address}", "clone", "-q", each, str(copy), cwd=tmp_path
                )
                assert done.returncode == 0, done.stderr
                assert (copy / "file").read_text("utf-8") == "content of the lab\n"


def wheel(name: str) -> bytes:
    """A package of one file."""
    file = io.BytesIO()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "word = 'from the lab'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


def test_pip_downloads(t2: Lab, tmp_path: Path) -> None:
    """From a simple index (PEP 503) that the public server shows, over https and http."""
    index = t2.files / "simple" / "labpackage"
    index.mkdir(parents=True)
    content = wheel("labpackage")
    (index / "labpackage-1.0-py3-none-any.whl").write_bytes(content)
    link = '<a href="labpackage-1.0-py3-none-any.whl">labpackage-1.0-py3-none-any.whl</a>'
    (index / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>", "utf-8")
    t2["wA"].blackhole()
    pip = [sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]

    def download(scheme: str, to: str, *options: str) -> int:
        url = f"{scheme}://{t2.name}/files/simple/"
        where = ["--index-url", url, "--trusted-host", t2.name, "--cert", t2.ca_file, "--retries", "0"]
        command = [
            *pip,
            "download",
            "--no-deps",
            *where,
            *options,
            "--dest",
            str(tmp_path / to),
            "labpackage",
        ]
        done = t2.run(command)
        sys.stdout.write(done.stdout + done.stderr)
        return done.returncode

    assert download("https", "control", "--timeout", "0.5") != 0
    with proxy(t2) as address:
        for scheme in ("https", "http"):
            assert download(scheme, scheme, "--proxy", f"http://{address}") == 0
            assert next((tmp_path / scheme).glob("*.whl")).read_bytes() == content


def test_chromium_loads_a_page(t2: Lab, tmp_path: Path) -> None:
    """Over https, by SOCKS; what it asks for besides goes nowhere, as there is nothing else in the lab."""
    program = shutil.which("chromium")
    assert program, "this test needs Chromium: apt-get install chromium (tools/setup.sh does, as root)"
    (t2.files / "page.html").write_text(
        "<!DOCTYPE html><title>t</title><p id=p></p><script>"
        "fetch('/').then(r => r.text()).then(t => document.title = 'via ' + t.trim())</script>",
        "utf-8",
    )
    t2["wA"].blackhole()
    url = f"https://{t2.name}/files/page.html"

    def load(name: str, *options: str, limit: float) -> str:
        command = [
            program,
            *QUIET,
            "--ignore-certificate-errors",
            f"--user-data-dir={tmp_path / name}",
            *options,
            "--virtual-time-budget=4000",
            "--dump-dom",
            url,
        ]
        process = t2.popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        with process:
            try:
                output: str = process.communicate(timeout=limit)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                output = ""
        return output

    assert "via" not in load("control", limit=3)
    with proxy(t2) as address:
        assert "<title>via wB</title>" in load("proxied", f"--proxy-server=socks5://{address}", limit=40)
