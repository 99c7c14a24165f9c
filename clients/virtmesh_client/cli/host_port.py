"""Options that take an address to listen on."""

from __future__ import annotations

import click

LOOPBACK = "127.0.0.1"


class HostPortType(click.ParamType[tuple[str, int]]):
    """An address to listen on: HOST:PORT, or PORT for this host only. Port 0 is any free port."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        host, _, port = str(value).rpartition(":")
        if not port.isdecimal() or int(port) > 0xFFFF:
            self.fail(f"{value!r} is not an address: write HOST:PORT, or PORT", param, ctx)
        return host.strip("[]") or LOOPBACK, int(port)


HOST_PORT = HostPortType()
