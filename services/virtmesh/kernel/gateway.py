"""Forwards the services that devices offer to people, so that one address is enough for a client.

A call with the metadata "virtmesh-device: NAME" goes to that device, its messages untouched: only
calls of the services in DescribeResponse.services, and those RPCs of every device that change
nothing. Registers, doorbells and attaching are not for strangers: the kernel drives the devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from virtmesh.kernel.device import LOOK_TIMEOUT_S
from virtmesh.kernel.device_channel import DeviceChannel
from virtmesh.kernel.lanes import metrics_of
from virtmesh.kinds.relay import Relay, TypedContext
from virtmesh.kinds.service import until_back
from virtmesh.rpc import reflection
from virtmesh.rpc.budgets import account
from virtmesh.rpc.metrics import is_unary
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import (
    DETAILS_KEY,
    BadRequest,
    NotOffered,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
    from_rpc_error,
)
from virtmesh_common.limits import DEFAULTS, Limits
from virtmesh_common.request_id import REQUEST_ID, REQUEST_ID_KEY
from virtmesh_common.retry import RETRY_KEY, of_milliseconds
from virtmesh_common.security.roles import find_access
from virtmesh_common.sent_status import keep_sent_status
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from google.protobuf.message import Message
    from prometheus_client import Metric

    from virtmesh.kernel.device import DevicesOfMachine

READ_ONLY_METHODS = frozenset(
    (
        "/virtmesh.device.v1.DeviceService/Describe",
        "/virtmesh.device.v1.DeviceService/DescribeInterface",
        "/virtmesh.device.v1.DeviceService/GetStatus",
        "/virtmesh.device.v1.DeviceService/GetStats",
        "/virtmesh.device.v1.DeviceService/GetReport",
        "/virtmesh.metrics.v1.MetricsService/GetPage",
        "/virtmesh.trace.v1.TraceService/Read",
        "/virtmesh.trace.v1.TraceService/Watch",
    )
)


AGAIN_S = 0.02
"""Pause before a call is passed on again: that its device has gone is seen a moment later."""
Answer = Callable[[str], Awaitable["Message | None"]]
NONE: Mapping[str, Answer] = MappingProxyType({})


NO_RELAYS: Mapping[str, Relay] = MappingProxyType({})


def service_of(method: str) -> str:
    """Return the full name of the service of a method, such as /virtmesh.kernel.v1.X/Y."""
    return method.removeprefix("/").rpartition("/")[0]


def id_of(client: str) -> str:
    """Return what a client that names its calls not is called at a device.

    Its calls count there neither with those of others, nor with those of this process.
    """
    return f"unnamed-{sha256(client.encode()).hexdigest()[:16]}"


def retry_for_of(metadata: Iterable[tuple[str, str | bytes]]) -> float:
    """Return how long a call waits for a device that is away, in seconds; 0 if it does not say."""
    said = next((value for key, value in metadata if key == RETRY_KEY), "0")
    try:
        return of_milliseconds(int(said))
    except ValueError:
        raise BadRequest(f"{RETRY_KEY} is no number of milliseconds", key=RETRY_KEY) from None


async def replay(messages: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Give messages that have come."""
    for message in messages:
        yield message


class Passed:
    """The messages of a client on their way to a device, and the error that ended them."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages
        self.error: VirtmeshError | None = None

    async def through(self) -> AsyncIterator[bytes]:
        """Give the messages. Errors: those of the messages, which are kept."""
        try:
            async for message in self._messages:
                yield message
        except VirtmeshError as error:
            self.error = error
            raise


class Gateway(grpc.aio.ServerInterceptor):
    """Takes the calls that name a device in their metadata, before any service of the kernel."""

    def __init__(
        self,
        kernel: DevicesOfMachine,
        answers: Mapping[str, Answer] = NONE,
        limits: Limits = DEFAULTS,
        relays: Mapping[str, Relay] = NO_RELAYS,
    ) -> None:
        self._kernel = kernel
        self._relays = relays
        """By method: who takes calls in place of forwarding them, for devices that it knows."""
        self._limits = limits
        self._answers = answers
        """By method: what is answered here, for a device by its name; None forwards the call."""
        self._channels: dict[str, DeviceChannel] = {}
        """By endpoint: no more than the machine has devices."""
        self._streams: set[grpc.aio.StreamStreamCall[bytes, bytes]] = set()
        """Calls that were answered and go on."""
        self._stopping = False

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a call."""
        metadata = handler_call_details.invocation_metadata or ()
        names = [value for key, value in metadata if key == DEVICE_KEY]
        method, name = handler_call_details.method, next(iter(names), None)
        # A tool sends its metadata with all calls. Reflection here knows what is forwarded, too.
        if name is None or method in reflection.METHODS:
            handler = await continuation(handler_call_details)
            if handler is not None:
                return handler

        async def forward(messages: AsyncIterator[bytes], context: Any) -> None:
            if name is None:
                await self._refuse(method)
            if len(names) > 1:
                raise BadRequest(
                    f"a call is for one device: send {DEVICE_KEY} once", key=DEVICE_KEY
                )
            if (answer := self._answers.get(method)) and (known := await answer(str(name))):
                await context.write(known.SerializeToString())
                return
            patience = retry_for_of(metadata)
            if await self._relay(method, str(name), messages, context, patience):
                return
            await self._forward_patiently(method, str(name), messages, context, patience)

        forward.sends_headers = True  # type: ignore[attr-defined]  # those of the device
        # On the wire a single message is a stream of one: this one shape serves every method.
        return grpc.stream_stream_rpc_method_handler(forward)

    async def offered(self) -> set[str]:
        """Return the full names of the services that calls are forwarded to.

        A device that does not answer within LOOK_TIMEOUT_S is left out.
        """
        found = await self._services()
        common = {service_of(method) for method in READ_ONLY_METHODS}
        return common.union(*found.values())

    def channel(self, endpoint: str) -> DeviceChannel:
        """Return the channel to a device service."""
        if endpoint not in self._channels:
            self._channels[endpoint] = DeviceChannel(endpoint, self._limits)
        return self._channels[endpoint]

    def metrics(self) -> Iterable[Metric]:
        """Return how many calls of clients the devices have, and were spared."""
        return metrics_of(
            (name, lanes.use)
            for name, device in self._kernel.devices.items()
            if (channel := self._channels.get(device.node.endpoint))
            for lanes in (channel.calls, channel.streams)
        )

    def end_streams(self) -> None:
        """End the streams, which have no end of their own: the kernel service is stopping."""
        self._stopping = True
        for call in self._streams:
            call.cancel()

    async def close(self) -> None:
        """Close the channels to the devices."""
        for channel in self._channels.values():
            await channel.close()

    async def _relay(
        self,
        method: str,
        name: str,
        messages: AsyncIterator[bytes],
        context: Any,
        retry_for: float,
    ) -> bool:
        """Have a relay serve a call; False if the call is to be forwarded. Errors: the relay's."""
        relay = self._relays.get(method)
        if relay is None or (serve := relay.find(name, method)) is None:
            return False
        channel = self.channel(self._kernel.device(name).node.endpoint)
        streams = not is_unary(method)
        with await (channel.streams if streams else channel.calls).take():
            if streams:
                await context.send_initial_metadata(())
            typed = TypedContext(messages, context, retry_for, relay.methods[method])
            try:
                await serve(typed)
            except grpc.aio.AioRpcError as failure:
                raise from_rpc_error(failure, channel.endpoint) from failure
        return True

    async def _forward_patiently(
        self,
        method: str,
        name: str,
        messages: AsyncIterator[bytes],
        context: Any,
        retry_for: float,
    ) -> None:
        """Pass one call on, when the device is there; again, if it only asks. Errors: `_forward`'s.

        A device that a guest drives is not waited for: the guest knows.
        """
        deadline = monotonic() + retry_for
        device = self._kernel.device(name)
        await until_back(device, retry_for)
        if not retry_for or not is_unary(method) or find_access(method).changes:
            await self._forward(method, name, messages, context)
            return
        requests = [request async for request in messages]
        while True:
            try:
                await self._forward(method, name, replay(requests), context)
            except ServiceUnavailable:
                if monotonic() > deadline or (device.driver is None and not device.comes_back):
                    raise
            else:
                return
            await asyncio.sleep(AGAIN_S)
            await until_back(device, max(0.0, deadline - monotonic()))

    async def _forward(
        self, method: str, name: str, messages: AsyncIterator[bytes], context: Any
    ) -> None:
        """Pass one call on.

        Errors: DeviceNotFound; NotOffered; LimitReached; ShuttingDown; what the device answers.
        """
        channel = self.channel(self._kernel.device(name).node.endpoint)
        channel.check_connection()
        try:
            await self._check_allowed(method, name, channel)
            lanes = channel.calls if is_unary(method) else channel.streams
            with await lanes.take() as place:
                await self._pass_on(method, messages, context, place.channel)
        except grpc.aio.AioRpcError as failure:
            details = failure.trailing_metadata() or ()
            known = tuple((key, value) for key, value in details if key == DETAILS_KEY)
            if not known:
                raise from_rpc_error(failure, channel.endpoint) from failure
            await context.abort(failure.code(), failure.details(), known)

    async def _pass_on(
        self,
        method: str,
        messages: AsyncIterator[bytes],
        context: Any,
        channel: grpc.aio.Channel,
    ) -> None:
        """Pass the messages of a call in both directions. Errors: ShuttingDown; AioRpcError."""
        multicall: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
        multicall = channel.stream_stream(method)
        request_id = REQUEST_ID.get() or id_of(account().client)
        passed = Passed(messages)
        call = multicall(
            passed.through(),
            timeout=context.time_remaining(),
            metadata=((REQUEST_ID_KEY, request_id),),
        )
        keep_sent_status(call)
        try:
            if not is_unary(method):
                await call.initial_metadata()
                await context.send_initial_metadata(())
            async for response in call:
                self._streams.add(call)
                await context.write(response)
        except asyncio.CancelledError:
            if passed.error is not None:  # gRPC gives the call up, and does not say why.
                raise passed.error from None
            task = asyncio.current_task()
            if self._stopping and call in self._streams and not (task and task.cancelling()):
                raise ShuttingDown("the kernel service is stopping") from None
            raise
        finally:
            self._streams.discard(call)
            # A client that dies in the middle of a write must not leave its call to the device
            # behind: what ends there, such as holding keys, ends with the call.
            call.cancel()

    async def _services(self) -> dict[str, Sequence[str]]:
        """Return the services of each device that answers, by its name."""

        async def ask(endpoint: str) -> Sequence[str]:
            channel = self.channel(endpoint)
            channel.check_connection()
            with suppress(TimeoutError, grpc.aio.AioRpcError):
                async with time_limit(LOOK_TIMEOUT_S):
                    await channel.find_service("")
            return channel.services

        endpoints = {name: one.node.endpoint for name, one in self._kernel.devices.items()}
        found = await asyncio.gather(*map(ask, endpoints.values()))
        return dict(zip(endpoints, found, strict=True))

    async def _refuse(self, method: str) -> NoReturn:
        """Refuse a call that names no device, and that no service of the kernel takes.

        It is not forwarded even if only one device offers it: with a second one, scripts that work
        would stop, or reach another device than they mean.
        Errors: BadRequest; NotOffered.
        """
        found, service = await self._services(), service_of(method)
        names = [name for name, services in found.items() if service in services]
        if method in READ_ONLY_METHODS:
            names = list(self._kernel.devices)
        if not names:
            raise NotOffered(f"the kernel service does not offer {method}, and no device does")
        raise BadRequest(
            f"{method} is a call to a device: name it in the request metadata {DEVICE_KEY}, one of"
            f" {', '.join(names)}",
            key=DEVICE_KEY,
            devices=",".join(names),
        )

    async def _check_allowed(self, method: str, name: str, channel: DeviceChannel) -> None:
        """Refuse a call that is not for people. Errors: NotOffered; AioRpcError."""
        if method in READ_ONLY_METHODS:
            return
        if not await channel.find_service(service_of(method)):
            offered = ", ".join(channel.services) or "none"
            raise NotOffered(f"{method} is not forwarded: {name} offers {offered}")
