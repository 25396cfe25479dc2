"""Headless Chromium, driven through chromedriver's HTTP API (W3C WebDriver), in a network namespace.

Chromium looks up names when it starts. So it runs only where nothing but a loopback is: the calling thread
has to be inside `namespaces.network_namespace`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUIET = (
    "--headless",
    "--no-sandbox",  # root, also in a user namespace
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--font-render-hinting=none",
)


class Browser:
    """One window of Chromium."""

    def __init__(self, port: int, profile: str) -> None:
        self.port = port
        chromium = shutil.which("chromium")
        options = {"args": [*QUIET, f"--user-data-dir={profile}"], "binary": chromium}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session = self._ask("POST", "/session", wanted)["sessionId"]

    def open(self, file: Path, width: int, height: int, scheme: str = "light", media: str = "screen") -> None:
        """Show a file in a window of so many CSS pixels, to one who prefers this colour scheme."""
        phone = width < 500
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.cdp("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=features)
        self._in_session("POST", "/url", {"url": file.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function's body."""
        return self._in_session("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._in_session("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self) -> bytes:
        """What is to be seen, from top to bottom, as PNG."""
        taken = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def complaints(self) -> list[str]:
        """What the console has said since it was asked last, e.g. of a policy that was violated."""
        return [entry["message"] for entry in self._in_session("POST", "/se/log", {"type": "browser"})]

    def pixels(self, png: bytes) -> dict[str, Any]:
        """Of a PNG: how many colours it has, and which one is the most frequent, as ``r,g,b``."""
        self._in_session("POST", "/url", {"url": "about:blank"})
        script = """
            const [data, done] = arguments, image = new Image();
            image.onload = () => {
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [image.width, image.height];
                const context = canvas.getContext('2d');
                context.drawImage(image, 0, 0);
                const seen = new Map();
                const all = context.getImageData(0, 0, image.width, image.height).data;
                for (let i = 0; i < all.length; i += 4) {
                    const key = all[i] + ',' + all[i + 1] + ',' + all[i + 2];
                    seen.set(key, (seen.get(key) || 0) + 1);
                }
                const most = [...seen].sort((a, b) => b[1] - a[1])[0][0];
                done({colours: seen.size, most, width: image.width, height: image.height});
            };
            image.src = 'data:image/png;base64,' + data;
        """
        arguments = [base64.b64encode(png).decode()]
        found: dict[str, Any] = self._in_session(
            "POST", "/execute/async", {"script": script, "args": arguments}
        )
        return found

    def close(self) -> None:
        self._ask("DELETE", f"/session/{self.session}")

    def _in_session(self, method: str, path: str, body: Any = None) -> Any:
        return self._ask(method, f"/session/{self.session}{path}", body)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser in the calling thread's network namespace."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.fail("Chromium is missing: apt-get install chromium chromium-driver (tools/setup.sh does it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [driver, f"--port={port}", "--log-level=OFF"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port, process)
            window = Browser(port, profile)
            try:
                yield window
            finally:
                window.close()
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("chromedriver did not start")
