"""What a page needs for each path and topic: the RPCs of the machine that stand behind it.

For the machine the panel is who started it, whoever's token a page has. So the panel asks the table
of roles itself: a page gets what its role could call, and nothing else.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from virtmesh_common.security.roles import (
    DEVICE,
    DISPLAY,
    INPUT,
    INPUT_DEVICE,
    KERNEL,
    TRACE,
    UART,
    find_access,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from virtmesh_common.security.roles import Role

    Needs = tuple[str, ...]
    """Full names of methods."""

PUBLIC = frozenset(("/", "/static/{path}"))
"""Paths of files, which hold nothing of the machine: they need no token."""


def rpcs(service: str, *methods: str) -> Needs:
    """Return the full names of methods."""
    return tuple(f"/{service}/{method}" for method in methods)


DESCRIBED = rpcs(DEVICE, "Describe", "DescribeInterface")
TRACED = rpcs(TRACE, "Read")
SHOWN = rpcs(DISPLAY, "Describe", "Watch")
DEVICE_PATH = "/api/devices/{name}"

ROUTES: Mapping[tuple[str, str], Needs] = MappingProxyType(
    {
        ("GET", "/live"): (
            *rpcs(KERNEL, "ListDevices"),
            *rpcs(DEVICE, "GetStatus", "GetStats"),
            *DESCRIBED,
            *TRACED,
        ),
        ("GET", "/serial/{name}"): rpcs(UART, "Open"),
        ("GET", "/vnc/{name}"): SHOWN,
        ("GET", "/api/about"): (),
        ("GET", f"{DEVICE_PATH}/registers"): DESCRIBED,
        ("POST", f"{DEVICE_PATH}/reset"): rpcs(KERNEL, "ResetDevice"),
        ("POST", f"{DEVICE_PATH}/restart"): rpcs(KERNEL, "RestartDevice"),
        ("POST", f"{DEVICE_PATH}/detach"): rpcs(KERNEL, "DetachDevice"),
        ("POST", f"{DEVICE_PATH}/attach"): rpcs(KERNEL, "AttachDevice"),
        ("POST", f"{DEVICE_PATH}/type"): rpcs(INPUT, "Type"),
        ("POST", f"{DEVICE_PATH}/key"): rpcs(INPUT, "Key"),
        ("GET", f"{DEVICE_PATH}/input"): rpcs(INPUT, "GetInfo", "GetStats"),
        ("POST", f"{DEVICE_PATH}/release"): rpcs(INPUT, "ReleaseAll"),
    }
)
"""By method and path. HEAD is as GET."""
TOPICS: Mapping[str, Needs] = MappingProxyType(
    {
        "dialogue": (*TRACED, *DESCRIBED),
        "inputs": (*rpcs(INPUT_DEVICE, "Watch"), *TRACED),
        "registers": (*TRACED, *DESCRIBED),
    }
)
"""What a page may want beside the state of the machine, by the word before the colon."""
USE = (*rpcs(INPUT, "GetInfo", "Inject", "Type", "Key", "ReleaseAll"), *rpcs(DISPLAY, "SetMode"))
"""To type and point at the screen, and to resize it."""
PARTS: Mapping[str, Needs] = MappingProxyType(
    {
        "screen": SHOWN,
        "use": USE,
        "serial": ROUTES["GET", "/serial/{name}"],
        "inputs": TOPICS["inputs"],
        **{
            word: ROUTES["POST", f"{DEVICE_PATH}/{word}"]
            for word in ("type", "reset", "restart", "detach", "attach")
        },
    }
)
"""What a page leaves out, or explains, when its role has not all of it."""


def may(role: Role, needs: Needs) -> bool:
    """Say whether a role may call each of these."""
    return all(role in find_access(rpc).roles for rpc in needs)


def may_want(role: Role, topic: str) -> bool:
    """Say whether a page of a role may want a topic."""
    return may(role, TOPICS[topic.partition(":")[0]])


def parts_of(role: Role) -> dict[str, bool]:
    """Say which parts of the page a role has."""
    return {part: may(role, needs) for part, needs in PARTS.items()}


def needs_of(request: web.Request) -> Needs | None:
    """Return what a request needs; None for a file of the page, and () for what is not there.

    It is the path that the server has found, whatever the request spells. Errors: KeyError for one
    that nobody has put into ROUTES.
    """
    path = resource_of(request)
    if path is None:
        return ()
    if path in PUBLIC:
        return None
    return ROUTES["GET" if request.method == "HEAD" else request.method, path]


def resource_of(request: web.Request) -> str | None:
    """Return the path that the server has found for a request, with {name}; None for none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None
