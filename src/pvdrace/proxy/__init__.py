"""A proxy for programs that are not written in Python: SOCKS 5 and HTTP CONNECT, with a race behind each.

`Proxy` and `serve` are public, with `ProxySettings`, `Listen`, `User` and `Way`. What is said in either
protocol is decided in `socks5`, `http_messages`, `client_hello`, `accounts`, `targets` and `replies`;
`server`, `session`, `http_session`, `dialling`, `first_flight`, `guard` and `relay` do it.
"""

from ..config.proxy_settings import Listen as Listen
from ..config.proxy_settings import ProxySettings as ProxySettings
from ..config.proxy_settings import User as User
from ..config.proxy_settings import Way as Way
from .server import Proxy as Proxy
from .server import serve as serve
