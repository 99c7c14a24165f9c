"""What faults on demand do to characters on their way to the chip (virtmesh.fault.v1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.uart.port import LineError
from virtmesh_common.fault.words import KINDS, bits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_native import Interrupt

    from virtmesh.uart.chip.chip import Chip
    from virtmesh.uart.line.input_queue import QueuedInput

CHARACTERS = bits_of("overrun", "parity-error", "framing-error", "break")
NOISE = bits_of("noise")
ALL = CHARACTERS | NOISE
OVERRUN = KINDS["overrun"]
ERRORS = {
    KINDS["parity-error"]: LineError.PARITY,
    KINDS["framing-error"]: LineError.FRAMING,
    KINDS["break"]: LineError.BREAK,
}
ZERO = b"\0"
"""What a break is received as."""


class SpoiledLine:
    """Hands characters to a chip, as far as faults let them through as they are."""

    def __init__(self, chip: Chip, interrupt: Interrupt) -> None:
        self._chip = chip
        self._interrupt = interrupt
        self._faults = interrupt.faults

    def harmless(self, one: QueuedInput) -> bool:
        """Say whether the characters of an input arrive as they are, without an error."""
        return one.error is LineError.NONE and not self._faults.are_ordered(ALL)

    def receive(self, characters: bytes, error: LineError) -> int:
        """Hand characters with the same error over; return how many were lost."""
        if error is not LineError.NONE or not self._faults.are_ordered(ALL):
            return self._chip.receive(characters, error)
        lost = 0
        for run, fate in self._runs(characters):
            if fate is None:
                self._chip.receiver.lose(len(run))
                lost += len(run)
            else:
                lost += self._chip.receive(run, fate)
        return lost

    def _runs(self, characters: bytes) -> Iterator[tuple[bytes, LineError | None]]:
        """Return the characters in runs with the same error; None for those that are lost."""
        data = bytearray(characters)
        fates = dict(self._noise(data))
        for index, kind in self._interrupt.take_faults(CHARACTERS, len(data)):
            fates[index] = ERRORS.get(kind)
            if fates[index] is LineError.BREAK:
                data[index : index + 1] = ZERO
        begin = 0
        for index in sorted(fates):
            if begin < index:
                yield bytes(data[begin:index]), LineError.NONE
            yield bytes(data[index : index + 1]), fates[index]
            begin = index + 1
        if begin < len(data):
            yield bytes(data[begin:]), LineError.NONE

    def _noise(self, data: bytearray) -> Iterator[tuple[int, LineError | None]]:
        """Turn bits of characters over; yield the errors that the chip sees of them."""
        if not self._faults.are_ordered(NOISE):
            return
        line_format = self._chip.format
        # On the line: start bit, data bits, parity bit if there is one, stop bit.
        has_parity = line_format.parity != "N"
        bits = 1 + line_format.data_bits + has_parity + 1
        turned: dict[int, list[int]] = {}
        for event, _ in self._interrupt.take_faults(NOISE, bits * len(data)):
            turned.setdefault(event // bits, []).append(event % bits)
        for index, places in turned.items():
            wrong = 0
            for place in places:
                if 1 <= place <= line_format.data_bits:
                    data[index] ^= 1 << (place - 1)
                wrong += 1 <= place <= line_format.data_bits + has_parity
            if 0 in places or bits - 1 in places:
                yield index, LineError.FRAMING
            elif has_parity and wrong % 2:
                yield index, LineError.PARITY
