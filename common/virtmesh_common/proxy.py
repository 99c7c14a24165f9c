"""Which HTTP proxy gRPC uses for an address: for error messages, and to leave proxies out.

gRPC reads the variables of VARIABLES, in lower case only. It asks no proxy for a unix socket, and
none for a host in `no_proxy`; it would ask one for 127.0.0.1 (gRPC core,
src/core/handshaker/http_connect/http_proxy_mapper.cc).
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""Variables that name a proxy. The first one that is set counts."""
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
"""Variables that list hosts without a proxy. The first one that is set counts."""
LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})


def host_of(address: str) -> str:
    """Return the host of HOST:PORT without brackets; empty for a unix socket."""
    if address.startswith("unix:"):
        return ""
    return address.rpartition(":")[0].strip("[]")


def is_local(address: str) -> bool:
    """Say whether `unix:PATH` or `HOST:PORT` is on this host by its name: no proxy leads there."""
    host = _name_of(address)
    ip = _ip_of(host)
    return not host or is_loopback(address) or (ip is not None and ip.is_unspecified)


def is_loopback(address: str) -> bool:
    """Say whether only this host reaches HOST:PORT, by its name."""
    host = _name_of(address)
    ip = _ip_of(host)
    named = host in LOCAL_NAMES or host.endswith(".localhost")
    return named or (ip is not None and ip.is_loopback)


def _name_of(address: str) -> str:
    """Return the host of HOST:PORT as it is compared; empty for a unix socket."""
    return host_of(address).rstrip(".").lower()


def _ip_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a host is, that of IPv4 if it is mapped; None for a name."""
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def find_proxy(address: str) -> str:
    """Return the proxy that the environment names for an address, as VARIABLE=URL; empty: none."""
    if is_local(address):
        return ""
    name = next((name for name in VARIABLES if os.environ.get(name)), "")
    if not name or _is_excepted(host_of(address)):
        return ""
    scheme, found, rest = os.environ[name].partition("://")
    place = (rest if found else scheme).rpartition("@")[2]  # What stands before is a password.
    return f"{name}={scheme}://{place}" if found else f"{name}={place}"


def _is_excepted(host: str) -> bool:
    """Say whether `no_proxy` lists a host: by name, by the end of its name, or by its network."""
    listed = next((os.environ[name] for name in EXCEPTIONS if os.environ.get(name)), "")
    entries = (entry.strip() for entry in listed.split(","))
    return any(_matches(host, entry) for entry in entries if entry)


def _matches(host: str, entry: str) -> bool:
    """Say whether an entry of `no_proxy` means a host."""
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host.lower().endswith(entry.lower())
