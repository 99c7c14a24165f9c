"""Shared parts of `virtmesh console` and `virtmesh serial`: the choice of a port, and keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.settings import complete_device
from virtmesh_common.errors import DeviceNotFound
from virtmesh_common.uart.spec import COMPATIBLE

if TYPE_CHECKING:
    from virtmesh_client.machine import Machine

USUAL = "serial"
"""The default port if there are several."""

device_option = click.option(
    "-d",
    "--device",
    shell_complete=complete_device,
    help="Serial port  [default: the only one, or `serial`]",
)


def choose_port(machine: Machine, name: str | None) -> str:
    """Return the name of the port to use: `name`, or the only one, or the one named `serial`.

    Errors: DeviceNotFound; UsageError if there are several.
    """
    if name is not None:
        return name
    names = [one.name for one in machine.devices() if one.compatible == COMPATIBLE]
    if not names:
        raise DeviceNotFound("the machine has no serial port")
    if USUAL in names:
        return USUAL
    if len(names) > 1:
        raise click.UsageError(
            f"there are several serial ports: choose one with --device {' or '.join(names)}"
        )
    return names[0]


class KeyType(click.ParamType[bytes]):
    """A key that a terminal sends as one byte: ctrl-], ^A, or a character. "none" is no key."""

    name = "key"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Return the byte of the key; b"" for "none"."""
        text = str(value)
        if text.lower() == "none":
            return b""
        control = re.fullmatch(
            r"(?:ctrl[-+]|c-|\^)([a-z@\[\\\]^_])", text, re.ASCII | re.IGNORECASE
        )
        if control:
            return bytes([ord(control[1].upper()) & 0x1F])
        if len(text) != 1 or not text.isascii():
            message = f"{text!r} is not a key: write ctrl-], ^A, one ASCII character, or none"
            self.fail(message, param, ctx)
        return text.encode()


KEY = KeyType()


def spell_key(key: bytes) -> str:
    """Return the name of a key, such as "Ctrl-]"."""
    return f"Ctrl-{chr(key[0] | 0x40)}" if key < b" " else repr(key.decode())
