"""``pvdrace.toml`` and policy files: text in, values out. Pure; `pvdrace.files` reads them.

`configuration` is the whole; `policy_file`, `pvds`, `tables`, `probe_settings` are its parts, `values` one
value each; `toml_reader` and `toml_lines` say where an error is. `gai_conf` reads ``/etc/gai.conf``.
"""

from .configuration import DISCOVERY_SOURCES as DISCOVERY_SOURCES
from .configuration import PROFILES as PROFILES
from .configuration import Configuration as Configuration
from .configuration import parse as parse
from .pvds import Override as Override
from .pvds import PvdConfig as PvdConfig
from .tables import ADDRESS_TABLES as ADDRESS_TABLES
