"""What `virtmesh console` and `virtmesh serial` share: which port, and how keys are spelt."""

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
"""The port that is taken of several."""

device_option = click.option(
    "-d",
    "--device",
    shell_complete=complete_device,
    help="Serial port  [default: the only one, or `serial`]",
)


def choose_port(machine: Machine, name: str | None) -> str:
    """Return the port that is meant. Errors: DeviceNotFound; UsageError for several."""
    if name is not None:
        return name
    names = [one.name for one in machine.devices() if one.compatible == COMPATIBLE]
    if not names:
        raise DeviceNotFound("the machine has no serial port")
    if USUAL in names:
        return USUAL
    if len(names) > 1:
        raise click.UsageError(f"there are several: --device {' or '.join(names)}")
    return names[0]


class Key(click.ParamType[bytes]):
    """A key that a terminal sends as one byte: ctrl-], ^A, or a character; none for no key."""

    name = "key"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Return the byte; nothing for none."""
        text = str(value)
        if text.lower() == "none":
            return b""
        control = re.fullmatch(
            r"(?:ctrl[-+]|c-|\^)([a-z@\[\\\]^_])", text, re.ASCII | re.IGNORECASE
        )
        if control:
            return bytes([ord(control[1].upper()) & 0x1F])
        if len(text) != 1 or not text.isascii():
            self.fail(f"{text!r} is no key: write ctrl-], ^A, or one character", param, ctx)
        return text.encode()


KEY = Key()


def spell_key(key: bytes) -> str:
    """Spell a key for people: Ctrl-]."""
    return f"Ctrl-{chr(key[0] | 0x40)}" if key < b" " else repr(key.decode())
