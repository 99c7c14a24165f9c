"""The NS16550A serial port (National Semiconductor PC16550D data sheet, TL/C/8652, June 1995).

Input goes: UartService (service.py) -> the line (line/line.py) -> the receiver (chip/receiver.py)
-> its interrupt (chip/interrupts.py) -> a read of RBR (register_window.py, chip/chip.py). Output
goes: a write of THR -> the transmitter (chip/transmitter.py) -> the chip's outbox -> the line ->
the scrollback and whoever watches (line/far_end.py). The line alone moves characters: it settles
after every access, alarm and input. Everything runs on the event loop's thread, so that each step
is one piece.

Threats and known gaps:
- A driver writes anything to the registers: each value is cut to the bits that the chip has. It can
  throw input away, and stop it: input then waits in a bounded room. It can send without end: the
  scrollback is bounded, a watcher that does not keep up is cut off, and the log file takes what the
  disk takes.
- Whoever reaches the address of UartService types on the machine's console: it has no
  authentication of its own, so listen on a unix socket or a private network.
- A driver that keeps its registers busy costs this process time: only `--pace` limits the rate.
- With `--pace`, time is the event loop's. Characters that came due while it did something else
  arrive together, so that a sender that does not look may overrun a FIFO that a real driver would
  have emptied in time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh_native import Interrupt

from virtmesh.mmio.device import RESET_SECONDS, Description, DeviceCounters, DeviceState
from virtmesh.mmio.reserved_bits import ReservedBits
from virtmesh.report.dialogue import Dialogue
from virtmesh.report.event import Overrun
from virtmesh.report.observer import Observer
from virtmesh.report.rules import rules_for
from virtmesh.uart.chip.chip import Chip
from virtmesh.uart.chip.clock import Timeline
from virtmesh.uart.counters import UartCounters
from virtmesh.uart.line.far_end import FarEnd
from virtmesh.uart.line.line import SerialLine
from virtmesh.uart.line.log_file import LogFile
from virtmesh.uart.port import LineError
from virtmesh.uart.register_window import RegisterWindow
from virtmesh.uart.settings import UartOptions
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import NoSuchQueue
from virtmesh_common.uart.spec import COMPATIBLE, Registers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.mmio.device import Attachment, Cycles
    from virtmesh.mmio.register_file import RegisterFile
    from virtmesh.uart.chip.clock import Clock

__all__ = ["UartDevice", "UartOptions"]


class UartDevice:
    """A serial port. Implements virtmesh.mmio.device.Device and CycleDevice.

    Time is that of the running event loop, unless there is a `clock`.
    """

    def __init__(self, name: str, options: UartOptions, clock: Clock | None = None) -> None:
        self.name = name
        self.options = options
        self.interrupt = Interrupt()
        timeline = Timeline(clock or asyncio.get_running_loop())
        self.chip = Chip(
            self.interrupt,
            timeline,
            frequency=options.clock,
            paced=options.pace,
            auto_flow=options.auto_flow,
        )
        self.line = SerialLine(self.chip, timeline, self.interrupt)
        self.far_end = FarEnd(
            self.line,
            options.scrollback,
            LogFile(options.log_file) if options.log_file else None,
        )
        self.observer = Observer(self.interrupt, rules_for("uart"), Dialogue("uart"))
        self.chip.transmitter.on_overrun = lambda: self.observer.tell(Overrun())
        self._window = RegisterWindow(
            self.chip,
            self.line,
            Registers(options.layout, auto_flow=options.auto_flow),
            ReservedBits(self.interrupt),
            self.observer,
        )
        self._resets = 0

    # -- virtmesh.mmio.device.Device -------------------------------------------------------------

    @property
    def description(self) -> Description:
        """What the device is."""
        return Description(
            name=self.name,
            kind="uart",
            compatible=COMPATIBLE,
            mmio_size_bytes=self.options.layout.size,
            reg_shift=self.options.layout.reg_shift,
            properties={
                "reg-shift": self.options.layout.reg_shift,
                "reg-io-width": self.options.layout.reg_io_width,
                "clock-frequency": self.options.clock,
            },
            registers=self._window.table,
        )

    @property
    def model(self) -> UartDevice:
        """The device itself: no transport stands before it."""
        return self

    @property
    def register_files(self) -> Sequence[RegisterFile]:
        """Both register files: with DLAB set, another one is in force."""
        return self._window.files

    @property
    def state(self) -> DeviceState:
        """The state: the chip has no status of its own."""
        return DeviceState()

    @property
    def counters(self) -> DeviceCounters:
        """The counters that every device has: each character is a request."""
        moved = self.chip.receiver.received + self.chip.transmitted
        return DeviceCounters(requests=moved, resets=self._resets)

    def read(self, offset: int, width: int) -> int:
        """Read a register."""
        return self._window.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        self._window.write(offset, width, value)

    def notify(self, queue: int) -> None:
        """Refuse: there are no queues. Errors: NoSuchQueue."""
        raise NoSuchQueue(f"queue {queue}: a serial port has no queues")

    def attach(self, attachment: Attachment) -> None:
        """Take a driver; the chip needs none of its memory."""
        self.observer.begin()
        self._window.watch_first_character()
        self.line.attached = True

    def begin_reset(self) -> None:
        """Reset the chip, which takes no time."""
        self._resets += 1
        self.line.reset()
        self.interrupt.recorder.record(trace_pb2.EVENT_KIND_RESET)

    settling = False
    """A reset takes no time."""
    stuck = ""

    async def reset_done(self, seconds: float = RESET_SECONDS) -> bool:
        """Return True: the reset is complete."""
        return True

    def detach(self) -> None:
        """Forget the driver."""
        self.line.attached = False

    def close(self) -> None:
        """Complete the log file."""
        self.far_end.close()

    # -- virtmesh.mmio.device.BurstDevice --------------------------------------------------------

    def read_run(self, offset: int, width: int, count: int) -> bytes:
        """Read RBR at most `count` times in one piece."""
        return self._window.read_run(offset, width, count)

    def write_run(self, offset: int, width: int, values: Sequence[int]) -> int:
        """Write values to THR in one piece; return how many: all, or none."""
        return self._window.write_run(offset, width, values)

    def run_cycles(self, cycles: Cycles) -> Sequence[int]:
        """Empty or fill the FIFO several times in one piece (CycleDevice)."""
        return self._window.run_cycles(cycles)

    # -- virtmesh.uart.service.SerialDevice -----------------------------------------------------

    @property
    def paced(self) -> bool:
        """True when the baud rate paces the line."""
        return self.options.pace

    @property
    def attached(self) -> bool:
        """True while a driver is attached."""
        return self.line.attached

    @property
    def uart_counters(self) -> UartCounters:
        """The counters of chip and line now."""
        chip, receiver, line = self.chip, self.chip.receiver, self.line
        return UartCounters(
            received=receiver.received,
            transmitted=chip.transmitted,
            overruns=receiver.overruns,
            parity_errors=receiver.errors[LineError.PARITY],
            framing_errors=receiver.errors[LineError.FRAMING],
            breaks=receiver.errors[LineError.BREAK],
            breaks_sent=chip.breaks_sent,
            discarded=chip.discarded,
            transmit_overruns=chip.transmitter.overruns,
            refused_bytes=line.refused_bytes,
            unattended_bytes=line.unattended_bytes,
        )
