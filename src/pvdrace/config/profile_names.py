"""The profiles that ship with the package, by name. Pure."""

from __future__ import annotations

#: The profiles that ship with the package, for ``profile``: the files of ``pvdrace/profiles``.
PROFILES = (
    "amss-netpolicy",
    "android-2.2",
    "arena",
    "blackberry",
    "blackberry-wlan",
    "dhclient",
    "dhcpcd-r",
    "htc-wlan",
    "linux",
    "peerdns-no",
    "pump-nodns",
    "pump-nogateway",
    "s60-iap",
    "s60-snap",
    "windows",
    "windows-mobile",
    "windows-phone-7",
)
