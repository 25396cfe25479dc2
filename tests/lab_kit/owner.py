"""A program that owns a lab, to be killed: prints what it made, as JSON, then waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from lab_kit.held import network_namespaces
from pvdrace.lab import Lab, Provider, become_root_inside


def main(how: str) -> None:
    become_root_inside()
    lab = Lab([Provider("eth"), Provider("own", dns="own")])
    if how == "thread":
        # The thread that makes a lab may end before the lab does.
        thread = threading.Thread(target=lab.__enter__)
        thread.start()
        thread.join()
        lab.run(["true"])
        tell(lab)
        lab.close()
        tell(lab)
        return
    with lab:
        lab["eth"].dns("servfail")
        # A command that leaves its session and its parent behind.
        lab.popen(["setsid", "sh", "-c", "sleep 600 & exec sleep 600"])
        lab.popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        time.sleep(0.2)
        tell(lab)
        if how == "raise":
            raise RuntimeError("as asked")
        time.sleep(600)


def tell(lab: Lab) -> None:
    """The processes of the lab with their start times, its network namespaces, its directory."""
    pids = os.stat(f"/proc/{lab._keeper.pid}/ns/pid").st_ino if lab._keeper is not None else 0
    processes: list[tuple[int, str]] = []
    namespaces: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/pid").stat().st_ino == pids:
                processes.append(
                    (int(entry.name), (entry / "stat").read_text().rsplit(")", 1)[1].split()[19])
                )
                namespaces |= network_namespaces(entry)
        except OSError:
            continue
    namespaces.pop(os.readlink("/proc/self/ns/net"), None)
    sys.stdout.write(json.dumps([processes, namespaces, str(lab._directory)]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
