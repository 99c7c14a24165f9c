"""Text as a script for one device; or as one call, where this system can't find the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.injector import OUTCOMES, OVERFLOWS
from virtmesh_client.input.models import Injected, Outcome
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import NotOffered
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent, UntypableText
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.script import at
from virtmesh_common.input.text.plan import TextOptions, plan_text

if TYPE_CHECKING:
    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.input.models import InputInfo, Overflow, Wait
    from virtmesh_common.input.errors import TypingUnavailable
    from virtmesh_common.input.script import Script

CAPS_LOCK = {
    "lit": input_pb2.CAPS_LOCK_LIT,
    "off": input_pb2.CAPS_LOCK_OFF,
    "assume-on": input_pb2.CAPS_LOCK_ASSUME_ON,
    "assume-off": input_pb2.CAPS_LOCK_ASSUME_OFF,
}
TYPE_SECONDS = 130.0
"""Longer than any Type call of a device service takes."""


def options_of(layout: str | TextOptions, variant: str) -> TextOptions:
    """Return how to type: options as they are, or those of a layout by its name."""
    return layout if isinstance(layout, TextOptions) else TextOptions(layout, variant)


def text_script(info: InputInfo, text: str, options: TextOptions, delay: float) -> Script:
    """Return the script that types a text, `delay` seconds from key to key.

    Errors: UntypableText; BadEvent for a device that is no keyboard at all.
    """
    try:
        groups = enumerate(plan_text(text, info.keyboard, options))
    except UntypableText:
        if info.has(EV_KEY, CODES["EV_KEY"]["KEY_A"]):
            raise
        raise BadEvent(f"{info.name} can't type this: it has no keys for letters") from None
    return [timed for index, group in groups for timed in at(index * delay, group)]


def type_request(
    text: str, options: TextOptions, delay: float, wait: Wait, overflow: Overflow
) -> input_pb2.TypeRequest:
    """Return the request by which the device service types a text."""
    return input_pb2.TypeRequest(
        text=text,
        layout=options.layout,
        variant=options.variant,
        locale=options.locale,
        caps_lock=CAPS_LOCK[options.caps_lock],
        interval_us=round(delay * 1e6),
        sending=input_pb2.Sending(wait_delivered=wait == "delivered", overflow=OVERFLOWS[overflow]),
    )


def ask_to_type(
    channel: KernelChannel, name: str, request: input_pb2.TypeRequest, missing: TypingUnavailable
) -> Injected:
    """Let the service of a device type. Errors: `missing`, if it is too old to be asked."""
    stub = InputServiceStub(channel.grpc)
    try:
        response = channel.ask(stub.Type, request, name, limit=TYPE_SECONDS)
    except NotOffered:
        raise missing from None
    return injected_by_service(response.sent)


def injected_by_service(sent: input_pb2.Sent) -> Injected:
    """Summarize what the device service says about the packets of a call."""
    outcomes = [OUTCOMES[packet.outcome] for packet in sent.packets]
    return Injected(
        outcome=min(outcomes, default=Outcome.ACCEPTED).name.lower(),
        packets=len(outcomes),
        events=sum(packet.events for packet in sent.packets),
        first=0,
        last=0,
        device_packet=sent.packets[-1].packet if sent.packets else 0,
        waiting=sent.waiting,
        refused=outcomes.count(Outcome.REFUSED),
        lost=outcomes.count(Outcome.LOST),
    )
