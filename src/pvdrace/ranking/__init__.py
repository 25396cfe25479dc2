"""Who may run, in which order, when each begins, and why. Pure.

`order` puts PvDs in order: `filters` leave some out, `rules` compare the others, `head_starts` says when each
begins. `ambiguity` is for where nothing decides, `explanation` says
it all before anything is sent.
"""

from .order import LOOPBACK_PVD as LOOPBACK_PVD
from .order import ambiguous as ambiguous
from .order import rank as rank
from .order import rank_by_choice as rank_by_choice
