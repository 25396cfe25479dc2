"""A multi-homed host in a box: Linux network namespaces with links that can be made slow, lossy or wrong.

::

    with Lab([Provider("eth", delay=0.005), Provider("wifi", delay=0.015)]) as lab:
        lab["eth"].blackhole()
        lab.run(["curl", "https://www.example.test/"])

It imports nothing else of pvdrace, and never sends a packet outside the namespaces that it made.
"""

from .counters import Counters as Counters
from .counters import Flow as Flow
from .counters import Packet as Packet
from .errors import LabError as LabError
from .lab import Lab as Lab
from .link import Link as Link
from .privileges import become_root_inside as become_root_inside
from .provider import DnsFault as DnsFault
from .provider import Faults as Faults
from .provider import Provider as Provider
from .provider import Wire as Wire
from .run import run_command as run_command
