"""What all browsers share: one reader of the machine, however many of them look.

The hub works while somebody looks: a sample a second, and while anybody shows the dialogue, the
registers or the input events, a look at the recorders. Without browsers it has no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from virtmesh_client.aio.threads import run
from virtmesh_client.panel.dialogue import Dialogue
from virtmesh_client.panel.inputs import InputDesk
from virtmesh_client.panel.pulse import Pulse
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.machine import Machine
    from virtmesh_client.panel.mailbox import Mailbox

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.2
DIALOGUE = "dialogue:"
"""Topic of what is said, of the device whose name follows; without one, of all."""
INPUTS = "inputs"
REGISTERS = "registers:"
"""Topic of the registers of a device, whose name follows."""


class Hub:
    """Reads the machine and fills the mailboxes. `machine` blocks, and is used on threads."""

    def __init__(self, machine: Machine, asynchronous: AsyncMachine) -> None:
        self._pulse = Pulse(machine)
        self._dialogue = Dialogue(machine.channel)
        self._desk = InputDesk(asynchronous)
        self._mailboxes: set[Mailbox] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._beating, self._looking = asyncio.Lock(), asyncio.Lock()
        self._wanted = asyncio.Event()
        self._nudged = asyncio.Event()

    @property
    def browsers(self) -> int:
        """How many mailboxes are filled."""
        return len(self._mailboxes)

    @property
    def working(self) -> int:
        """Tasks that run: none without browsers."""
        return sum(not task.done() for task in self._tasks)

    def join(self, mailbox: Mailbox) -> None:
        """Begin to fill a mailbox: first with what is known already."""
        self._mailboxes.add(mailbox)
        mailbox.put_state("history", list(self._pulse.history))
        if self._pulse.state is not None:
            mailbox.put_state("machine", self._pulse.state)
        if not self.working:
            self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._look())]

    async def leave(self, mailbox: Mailbox) -> None:
        """Stop filling a mailbox; with the last one, all work ends."""
        self._mailboxes.discard(mailbox)
        if not self._mailboxes:
            await self.close()

    def want(self, mailbox: Mailbox, topics: frozenset[str]) -> None:
        """Note what a browser shows from now on."""
        new = topics - mailbox.wants
        for topic in mailbox.wants - topics:
            mailbox.forget(topic)
        mailbox.wants = topics
        for topic in new:
            if topic == INPUTS:
                mailbox.put_events(INPUTS, self._desk.kept)
            elif topic.startswith(REGISTERS):
                self._put_registers(topic, [mailbox])
            elif topic.startswith(DIALOGUE):
                mailbox.put_events(topic, self._dialogue.kept(topic.removeprefix(DIALOGUE)))
        self._wanted.set()

    def nudge(self) -> None:
        """Take the next sample at once: something was done to the machine."""
        self._nudged.set()

    async def close(self) -> None:
        """End all work."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._desk.close()

    async def _beat(self) -> None:
        """Sample the machine, again and again."""
        while True:
            try:
                async with self._beating:  # one that was cancelled may still be on its thread
                    state = await run(self._pulse.beat)
            except Exception:
                log.exception("a fault of the panel, as it took a sample")
            else:
                for mailbox in self._mailboxes:
                    mailbox.put_state("machine", state)
            with contextlib.suppress(TimeoutError):
                async with time_limit(BEAT_SECONDS):
                    await self._nudged.wait()
            self._nudged.clear()

    async def _look(self) -> None:
        """Read the recorders, again and again, while anybody wants that."""
        while True:
            if not any(mailbox.wants for mailbox in self._mailboxes):
                await self._desk.close()
                self._wanted.clear()
                await self._wanted.wait()
            try:
                await self._look_once()
            except VirtmeshError as error:
                log.debug("no look at the recorders: %s", error.message)
            except Exception:
                log.exception("a fault of the panel, as it looked at the recorders")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_once(self) -> None:
        """Read the recorders once, and hand out what is new. Errors: VirtmeshError."""
        devices = self._pulse.devices
        if not devices:
            return
        if self._wants(INPUTS):
            await self._desk.follow(self._input_devices())
        async with self._looking:
            fresh = await run(self._dialogue.look, devices)
        delivered = self._desk.match(self._dialogue.deliveries)
        for mailbox in self._wants(INPUTS):
            mailbox.put_events(INPUTS, delivered)
        for topic in {topic for one in self._mailboxes for topic in one.wants}:
            self._hand_out(topic, fresh)

    def _hand_out(self, topic: str, fresh: list[dict[str, Any]]) -> None:
        """Hand out what is new of a device."""
        device = topic.partition(":")[2]
        events = [one for one in fresh if one["device"] == device or not device]
        if events and topic.startswith(REGISTERS):
            self._put_registers(topic, self._wants(topic))
        elif events and topic.startswith(DIALOGUE):
            for mailbox in self._wants(topic):
                mailbox.put_events(topic, events)

    def _wants(self, topic: str) -> list[Mailbox]:
        """Return the mailboxes that a topic is for."""
        return [mailbox for mailbox in self._mailboxes if topic in mailbox.wants]

    def _input_devices(self) -> list[str]:
        """Return the names of the input devices that are in use."""
        state: dict[str, Any] = self._pulse.state or {"devices": []}
        return [
            one["name"]
            for one in state["devices"]
            if one["kind"] == "input" and one["state"] == "ready"
        ]

    def _put_registers(self, topic: str, mailboxes: list[Mailbox]) -> None:
        """Put the values that were seen of a device's registers."""
        known: Mapping[str, Any] = self._dialogue.registers.get(topic.removeprefix(REGISTERS), {})
        for mailbox in mailboxes:
            mailbox.put_state(topic, dict(known))
