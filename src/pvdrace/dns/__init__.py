"""Names, inside one provisioning domain: its resolvers, on sockets pinned to it, answers kept apart.

`wire` is the codec, `servers` and `exchange` decide, `cache` remembers, `resolver` performs.
"""

from .messages import Answer as Answer
from .messages import DnsFailure as DnsFailure
from .resolver import PvdResolver as PvdResolver
