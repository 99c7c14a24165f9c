"""The kind `uart`."""

from virtmesh.kinds.record import DeviceKind, Place, Platform, Property
from virtmesh.telemetry.definitions import definitions_in
from virtmesh.uart import driver_metrics, metrics
from virtmesh.uart.dashboard import BOARD
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.figures import FIGURES
from virtmesh.uart.options import OPTIONS, check_options, make, needs
from virtmesh.uart.relay import UartRelay
from virtmesh.uart.service import UartService
from virtmesh.uart.settings import FREQUENCY
from virtmesh_common.fault.words import SERIAL
from virtmesh_common.uart import spec

PLATFORM = Platform(
    compatible=spec.COMPATIBLE,
    node="serial",
    # The board has one, on interrupt 10; 11 is that of its clock, so more ports pass it over.
    places=tuple(
        Place(0x1000_0000 + port * 0x100, 0x100, irq) for port, irq in enumerate((10, 12, 13, 14))
    ),
    properties={
        "clock-frequency": Property("clock", FREQUENCY),
        "reg-shift": Property("reg-shift", 0),
        "reg-io-width": Property("reg-io-width", 1),
    },
    is_console=True,
)
"""Where serial ports are on QEMU's RISC-V `virt` board, and what their nodes tell the driver."""

KIND = DeviceKind(
    name="uart",
    title="The NS16550A serial port (PC16550D data sheet).",
    make=make,
    options=OPTIONS,
    check=check_options,
    needs=needs,
    path_options=frozenset({"log-file"}),
    platform=PLATFORM,
    faults=SERIAL,
    services=(UartService,),
    collect=lambda port: metrics.uart_metrics(port.chip, port.line, port.far_end),
    driver=NS16550a,
    relays=(UartRelay,),
    driver_metrics=driver_metrics.uart_driver_metrics,
    metrics=definitions_in(metrics),
    dashboard=BOARD,
    figures=FIGURES,
)
