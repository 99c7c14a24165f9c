"""What the client knows of serial ports beyond what they describe: DLAB, characters, IIR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.trace.kind_faces import KindFace
from virtmesh_client.trace.register_names import WindowNames
from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.uart import spec as uart

if TYPE_CHECKING:
    from virtmesh_client.trace.events import Source

BYTE_MAX = 0xFF
"""Largest value that a serial port sends or receives; a saved trace can say anything."""
FAR_END = "it depends on the far end of the line"


class UartNames(WindowNames):
    """NS16550A (PC16550D data sheet, section 8): DLAB selects one of two banks."""

    def __init__(self, interface: Interface) -> None:
        super().__init__(interface.registers)

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Name a register and its value."""
        name, meaning = super().spell(offset, width, value, write=write)
        if value is None:
            return name, ""
        if write and name == "LCR":
            self.bank = uart.DIVISOR_LATCH if value & uart.Lcr.DLAB else uart.MAIN
        if name == "IIR" and value & uart.IIR_ID in list(uart.Iir):
            return name, f"{value:#x} {uart.Iir(value & uart.IIR_ID).name}"
        if name in {"RBR", "THR"} and value <= BYTE_MAX:
            return name, f"{value:#04x} {chr(value)!r}"
        return name, meaning

    def reset(self) -> None:
        """DLAB is 0 after a reset."""
        self.bank = uart.MAIN

    def forget(self) -> None:
        """DLAB may have been written."""
        self.bank = None


def known_interface(source: Source) -> Interface:
    """Return the interface of a port that does not describe itself, by its reg-shift."""
    # One that no port has is that of a saved trace, or of a service that is not to be trusted.
    shift = source.reg_shift if source.reg_shift in uart.REG_SHIFTS else 0
    table = uart.Registers(uart.Layout(shift)).table
    return Interface(kind=source.kind, space=RegisterSpace.WINDOW, registers=table)


FACE = KindFace(
    interface=known_interface,
    names=UartNames,
    may_differ=dict.fromkeys(("RBR", "IIR", "LSR", "MSR"), FAR_END),
)
