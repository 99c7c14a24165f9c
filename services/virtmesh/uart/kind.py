"""The kind `uart`."""

from virtmesh.kinds.record import DeviceKind
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.figures import FIGURES
from virtmesh.uart.model import make
from virtmesh.uart.options import OPTIONS

KIND = DeviceKind(
    name="uart",
    title="The NS16550A serial port (PC16550D data sheet).",
    make=make,
    options=OPTIONS,
    driver=NS16550a,
    figures=FIGURES,
)
