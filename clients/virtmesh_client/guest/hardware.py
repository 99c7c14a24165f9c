"""The two kinds of guests as hardware with buttons: reset, power, and a break on the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtmesh_client.guest.mconsole import send_command
from virtmesh_client.guest.qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QMP_SOCKET = "qmp.sock"
UML_ID = "guest"
"""Name of the folder in which user-mode Linux makes its management console."""
MUX_ESCAPE = b"\x01"
"""Ctrl-A, with which QEMU's multiplexer begins a command; twice, it is the byte itself."""


class Hardware(Protocol):
    """What a kind of guest can do. Errors of the buttons: GuestError."""

    def options(self) -> list[str]:
        """Return the options of the guest that make this possible."""

    def encode(self, data: bytes) -> bytes:
        """Return what is written to the guest's console for input."""

    def line_break(self) -> bytes:
        """Return what is written to the guest's console for a break; empty if it has none."""

    def press_power(self) -> None:
        """Ask the guest to power off."""

    def press_reset(self) -> bool:
        """Reset the guest. Returns False if it has no such button: kill it, and start it anew."""


class UmlHardware:
    """User-mode Linux: Ctrl-Alt-Delete asks it to stop, and it has no reset button."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def options(self) -> list[str]:
        """Return the options that put the management console into the folder."""
        return [f"uml_dir={self._folder}/", f"umid={UML_ID}"]

    def encode(self, data: bytes) -> bytes:
        """Return the input as it is."""
        return data

    def line_break(self) -> bytes:
        """Return nothing: a pseudo-terminal has no breaks."""
        return b""

    def press_power(self) -> None:
        """Press Ctrl-Alt-Delete."""
        send_command(self._folder / UML_ID / "mconsole", "cad")

    def press_reset(self) -> bool:
        """Return False."""
        return False


class QemuHardware:
    """QEMU, controlled by QMP. Its console is multiplexed, since only that passes breaks on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / QMP_SOCKET

    def options(self) -> list[str]:
        """Return the options that make QEMU listen for commands."""
        return ["-qmp", f"unix:{self._path},server=on,wait=off"]

    def encode(self, data: bytes) -> bytes:
        """Return the input with each Ctrl-A doubled."""
        return data.replace(MUX_ESCAPE, 2 * MUX_ESCAPE)

    def line_break(self) -> bytes:
        """Return the command of a break."""
        return MUX_ESCAPE + b"b"

    def press_power(self) -> None:
        """Press the power button."""
        with Qmp(self._path) as qmp:
            qmp.execute("system_powerdown")

    def press_reset(self) -> bool:
        """Press the reset button. A guest that reboots by itself still ends afterwards."""
        with Qmp(self._path) as qmp:
            qmp.execute("set-action", reboot="reset")
            try:
                qmp.execute("system_reset")
                qmp.wait_for_event("RESET")
            finally:
                qmp.execute("set-action", reboot="shutdown")
        return True


HARDWARE: dict[str, Callable[[Path], Hardware]] = {"uml": UmlHardware, "qemu": QemuHardware}
"""By the kind of guest."""
