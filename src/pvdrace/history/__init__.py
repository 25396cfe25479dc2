"""What races teach of PvDs, and what is therefore to be expected of them. Pure."""

from .history import History as History
from .history import instance as instance
