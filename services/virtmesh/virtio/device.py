"""The interface between a transport and the model of a virtio device.

A model sees guest memory, its interrupt line and its observer (the recorder of that line): no gRPC,
no command line, no Prometheus. The transport does the rest: register window, status and features
(2.1, 2.2), queue set-up, resets. Most models derive from virtmesh.virtio.queue_device.QueueDevice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import IntFlag

    from virtmesh_native import GuestMemory, Interrupt, QueueConfig, RingState

    from virtmesh.mmio.device import Execution
    from virtmesh.mmio.kept_state import KeptState
    from virtmesh_common.registers import Register

VIRTIO_VENDOR_ID = 0x4D56
"""VendorID of every device of virtmesh: "VM", little-endian."""


@dataclass(frozen=True)
class SharedMemory:
    """A shared memory region of a device (2.10): base address and length in bytes."""

    base: int
    length: int


class VirtioDevice(Protocol):
    """A virtio device behind a transport. Methods run on the event loop's thread.

    Only `join` and `close` may wait.
    """

    @property
    def name(self) -> str:
        """Name on the machine, such as "vda"."""

    @property
    def kind(self) -> str:
        """Name of the model, such as "blk"."""

    @property
    def device_id(self) -> int:
        """Virtio device ID (5)."""

    @property
    def family(self) -> type[IntFlag]:
        """The feature bits of this kind of device."""

    @property
    def device_features(self) -> int:
        """The features to offer now. A driver sees a change after its next reset."""

    @property
    def queue_size_max(self) -> Sequence[int]:
        """Largest size of each queue, in entries: powers of two."""

    @property
    def shared_memory(self) -> Mapping[int, SharedMemory]:
        """The shared memory regions by their id (2.10)."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What a driver reads through selectors of the configuration space, by name."""

    @property
    def kept_state_bytes(self) -> int:
        """What it keeps in memory of its driver for its next process; 0: nothing."""

    @property
    def config(self) -> Sequence[Register]:
        """The configuration space, at offsets of the register window (2.5)."""

    @property
    def config_generation(self) -> int:
        """Grows when the device changes the configuration itself; modulo 2**32."""

    @property
    def interrupt(self) -> Interrupt:
        """The interrupt line."""

    @property
    def notifications(self) -> int:
        """Notifications received by eventfd."""

    @property
    def requests(self) -> int:
        """Requests completed, whatever their outcome."""

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space."""

    def write_config(self, field: Register, value: int) -> None:
        """Write a field of the configuration space. Errors: BadValue, DriverViolation."""

    def missing_feature(self, features: int) -> str:
        """Name a feature that this subset needs and lacks; empty for a valid subset."""

    def take_kept(self, state: KeptState | None) -> None:
        """Take what the last process has kept, at an attachment; None at its end.

        It is the driver's until a reset that the driver asks for.
        """

    def negotiate(self, features: int) -> None:
        """Take the negotiated features, at FEATURES_OK."""

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Serve a queue from now on. `kick` is the driver's eventfd, if it has one."""

    def kick(self, index: int) -> None:
        """Look for available chains now. Does nothing if the queue is not served."""

    def request_stop(self, index: int) -> None:
        """Begin to stop a queue: no more chains are taken; requests being executed finish."""

    def abandon(self, index: int) -> None:
        """Begin to stop a queue for a reset: no more chains are taken.

        Chains that were not begun, and flushes, are dropped. Others that were begun finish. Once
        the queue is stopped, nothing accesses guest memory.
        """

    def stuck(self, index: int) -> str:
        """Return the request of a queue that is executed longest, in words; empty without one."""

    def has_held(self, index: int) -> bool:
        """Say whether a queue has requests that are held, to be tried again."""

    def longest(self) -> Execution | None:
        """Return the request of all queues that is executed longest, if there is one."""

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped, or never was served."""

    def queue_state(self, index: int) -> RingState | None:
        """Return where a stopped queue goes on: the `state` of its next QueueConfig.

        None: it was never served.
        """

    def join(self, index: int, seconds: float) -> bool:
        """Wait until a queue whose stop was begun is stopped, at most that long; True if it is.

        Any thread may wait.
        """

    def reset(self) -> None:
        """Return to the state before `negotiate`; every queue is stopped by then."""

    def close(self) -> None:
        """Release everything. May wait."""
