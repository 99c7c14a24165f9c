"""What a kind of device is, in one record."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    import click
    from prometheus_client import Metric

    from virtmesh.dashboards.board import Board
    from virtmesh.drivers.base import Driver
    from virtmesh.kinds.relay import RelayFactory
    from virtmesh.kinds.service import DeviceServiceFactory, KernelServiceFactory
    from virtmesh.mmio.device import Device
    from virtmesh.mmio.quirks import Quirk
    from virtmesh.sandbox import Needs
    from virtmesh.telemetry.definitions import Definition
    from virtmesh_common.registers import Register
    from virtmesh_common.security.roles import Access


@dataclass(frozen=True)
class Place:
    """Where one device sits: guest physical address and size of its window, interrupt number."""

    address: int
    size: int
    irq: int

    def overlaps(self, other: Place) -> bool:
        """Say whether the windows share an address."""
        return (
            self.address < other.address + other.size and other.address < self.address + self.size
        )


@dataclass(frozen=True)
class Property:
    """A property of the device tree node that is an option of the device, and its default."""

    option: str
    default: int


@dataclass(frozen=True)
class Platform:
    """How a device that is no virtio device is found: by a node of its own in the device tree."""

    compatible: str
    node: str
    """Name of its nodes, before the unit address."""
    places: Sequence[Place]
    """Where devices of the kind sit, in order."""
    properties: Mapping[str, Property] = field(default_factory=lambda: MappingProxyType({}))
    is_console: bool = False
    """True for what a kernel can have its console on."""


@dataclass(frozen=True)
class RequestNames:
    """Names of the requests of a device, for traces (EVENT_KIND_REQUEST_START and _END)."""

    types: Mapping[int, str]
    statuses: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    without_sector: frozenset[int] = frozenset()
    """Types whose `value` is no sector."""


@dataclass(frozen=True)
class Figure:
    """One number of a device in `virtmesh top`: a metric, and what it is called there.

    A counter is shown as a rate, a gauge as it is. `labels` picks series of the metric; their
    values are added up. A kind has each label once.
    """

    label: str
    metric: Definition
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    is_total: bool = False
    """True for a counter that is shown as it is: what should be 0, such as errors."""


def no_metrics(_source: object) -> Iterable[Metric]:
    """Return the metrics of a kind that has none of its own."""
    return ()


def no_check(**_options: object) -> None:
    """Check nothing beyond what the types of the options check."""


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device, as its package exports it: `KIND` in the module `kind`.

    `name` is that of the package. `make(name, **options)` makes a device from the options of the
    command line; errors: click.BadParameter, VirtmeshError.
    """

    name: str
    title: str
    """One line for people, with the specification that the device follows."""
    make: Callable[..., Device]
    restart_options: Sequence[str] = ()
    """Added to the command line when a service is started again after it died."""
    options: Sequence[click.Option] = ()
    check: Callable[..., object] = no_check
    """Checks the options of the command line as `make` does, and without any effect: `up` does so
    before it starts anything. Errors: those of `make`."""
    prepare: Callable[..., object] = no_check
    """Makes what the service can't make from within its sandbox, such as an image. It gets the
    options of the command line, and is called before `make`. Errors: those of `make`."""
    needs: Callable[..., Needs] | None = None
    """What a service needs of its sandbox beyond what every service does, for the options of the
    command line; called after `prepare`. None: to read and write the paths of `path_options`."""
    path_options: frozenset[str] = frozenset()
    """Options that are paths: in a machine file, relative to it."""
    name_or_path_options: frozenset[str] = frozenset()
    """Options that are the name of something built in, or a path: one that ends in .toml."""
    virtio_device_id: int = 0
    """Virtio device ID (virtio 1.4, 5); 0 for what is no virtio device."""
    platform: Platform | None = None
    """How the device is found; None for a virtio device, which sits in a virtio-mmio slot."""
    registers: Sequence[Register] = ()
    """The window of a platform device; the configuration space of a virtio device. Offsets are
    those of the window: a configuration space begins at MMIO_CONFIG."""
    quirks: Sequence[Quirk] = ()
    """The quirks that a device of the kind knows; with some, it has the option `quirks`."""
    requests: RequestNames | None = None
    faults: frozenset[str] = frozenset()
    """The faults on demand that a device can have (virtmesh_common.fault.words.KINDS)."""
    services: Sequence[DeviceServiceFactory] = ()
    """What the device service offers to people, beside the services of every device."""
    collect: Callable[[Any], Iterable[Metric]] = no_metrics
    """The metrics of a device, read now. It gets the model."""
    driver: type[Driver] | None = None
    """The kernel's driver."""
    kernel_services: Sequence[KernelServiceFactory] = ()
    """What the kernel service offers to clients for devices of the kind."""
    relays: Sequence[RelayFactory] = ()
    """What takes calls to such devices in the kernel service, so that they outlive a process."""
    access: Sequence[Access] = ()
    """Who may call the RPCs of those services, for kinds of other packages: ours are in the table
    of virtmesh_common.security.roles. An RPC without a row is for the owner."""
    driver_metrics: Callable[[Mapping[str, Any]], Iterable[Metric]] = no_metrics
    """The metrics of the kernel's drivers of the kind, by name of the device, read now."""
    metrics: Sequence[Definition] = ()
    """The definitions of what `collect` returns."""
    figures: Sequence[Figure] = ()
    """What `virtmesh top` shows of the device."""
    dashboard: Board | None = None
    """The dashboard of the kind; None: one is generated from `metrics`."""
