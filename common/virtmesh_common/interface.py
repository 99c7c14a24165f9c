"""What a client needs to know about a kind of device that it has never heard of.

A device service makes an `Interface` of the record of its kind; DeviceService.DescribeInterface
hands it over (virtmesh_common.interface_message); traces, `top` and `virtmesh registers` read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh_common.registers import Register


class RegisterSpace(Enum):
    """What the registers of an Interface are."""

    UNKNOWN = "unknown"
    WINDOW = "window"
    """All registers of the window."""
    VIRTIO_CONFIG = "virtio_config"
    """The configuration space of a virtio device, behind the registers of virtio over MMIO."""


class MetricType(Enum):
    """How a metric changes."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True)
class RequestType:
    """A type of requests, by the number that traces have for it."""

    number: int
    name: str
    has_sector: bool = False
    """True when the value of a trace event of its beginning is a sector."""


@dataclass(frozen=True)
class MetricInfo:
    """A metric, as the /metrics page has it."""

    name: str
    type: MetricType
    unit: str = ""
    labels: tuple[str, ...] = ()
    meaning: str = ""


@dataclass(frozen=True)
class FigureInfo:
    """A number of `virtmesh top`: a sum over the series of a metric that have these labels."""

    label: str
    type: MetricType
    unit: str = ""
    is_total: bool = False
    """True for a counter that is shown as it is, and not as a rate."""
    metric: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Interface:
    """How to name and to show what a device does."""

    kind: str = ""
    title: str = ""
    space: RegisterSpace = RegisterSpace.UNKNOWN
    registers: tuple[Register, ...] = ()
    """Offsets are those of the register window."""
    features: tuple[tuple[int, str], ...] = ()
    """Feature bits of this kind of virtio device, by number, and their names."""
    request_types: tuple[RequestType, ...] = ()
    request_statuses: tuple[tuple[int, str], ...] = ()
    metrics: tuple[MetricInfo, ...] = ()
    figures: tuple[FigureInfo, ...] = ()

    @property
    def feature_names(self) -> Mapping[int, str]:
        """The names of feature bits, by number."""
        return dict(self.features)
