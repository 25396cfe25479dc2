"""What cannot be in one environment with the other clients: collected where it is installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("niquests") else ["test_niquests.py", "test_niquests_example.py"]
