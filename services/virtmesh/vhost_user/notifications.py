"""Notifications of a device to a vhost-user front end.

A used buffer (as a message, if in-band notifications were negotiated), a changed configuration, a
broken ring. The native code signals eventfds of this object, and the event loop sends the messages.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import structlog

from virtmesh.attach.eventfd import drain
from virtmesh.vhost_user.backend_req import BackendChannel
from virtmesh.vhost_user.messages import BackendRequest, ProtocolFeature

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.vhost_user.vrings import Vrings
    from virtmesh.virtio.device import VirtioDevice

log = structlog.get_logger(__name__)


class FrontEndNotifier:
    """Sends notifications of a model. `failed` gets the error that ends the connection."""

    def __init__(
        self, model: VirtioDevice, rings: Vrings, failed: Callable[[Exception], None]
    ) -> None:
        self._model = model
        self._rings = rings
        self._failed = failed
        self._protocol = ProtocolFeature(0)
        self._reported_generation = model.config_generation
        self._channel: BackendChannel | None = None
        self._calls: dict[int, int] = {}
        """Eventfds of the rings whose calls are sent as messages, by index."""
        self._loop = asyncio.get_running_loop()
        self._changed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop.add_reader(self._changed, self._notice)
        model.interrupt.set_config_call(self._changed)

    def agree(self, protocol: ProtocolFeature) -> None:
        """Take the protocol features. With in-band notifications, calls are messages by default."""
        if protocol == self._protocol:
            return
        self._protocol = protocol
        for ring in range(len(self._rings)):
            self.end_in_band_call(ring)
            if ProtocolFeature.INBAND_NOTIFICATIONS in protocol:
                call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._calls[ring] = call
                self._loop.add_reader(call, self._call, ring, call)
                self._model.interrupt.set_call(ring, call)

    def set_channel(self, descriptor: int) -> None:
        """Take ownership of the socket for requests. Errors: FrontEndViolation."""
        if self._channel is not None:
            self._channel.close()
        self._channel = BackendChannel(descriptor, self._failed)

    def tell_change(self) -> None:
        """Report a changed configuration, unless the device is suspended."""
        generation = self._model.config_generation
        if generation == self._reported_generation or not self._rings.any_started:
            return
        if self._channel is not None and ProtocolFeature.CONFIG in self._protocol:
            self._reported_generation = generation
            self._channel.send(BackendRequest.CONFIG_CHANGE_MSG)

    def end_in_band_call(self, ring: int) -> None:
        """Stop sending calls of a ring as messages."""
        call = self._calls.pop(ring, None)
        if call is not None:
            self._model.interrupt.set_call(ring, None)
            self._loop.remove_reader(call)
            os.close(call)

    def close(self) -> None:
        """Stop all notifications, and close the descriptors."""
        for ring in list(self._calls):
            self.end_in_band_call(ring)
        self._model.interrupt.set_config_call(None)
        self._loop.remove_reader(self._changed)
        os.close(self._changed)
        if self._channel is not None:
            self._channel.close()

    def _call(self, ring: int, call: int) -> None:
        """Report a used buffer."""
        drain(call)
        if self._channel is not None:
            self._channel.send(BackendRequest.VRING_CALL, ring)

    def _notice(self) -> None:
        """Report that the configuration changed, or that a ring broke."""
        drain(self._changed)
        fault = self._model.interrupt.fault
        if fault is not None:
            log.warning("the front end broke a ring", reason=fault)
            self._rings.signal_errors()
            if ProtocolFeature.INBAND_NOTIFICATIONS in self._protocol and self._channel:
                for ring in self._rings.without_error_descriptor():
                    self._channel.send(BackendRequest.VRING_ERR, ring)
        self.tell_change()
