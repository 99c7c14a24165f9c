"""The exceptions of virtmesh, and how they travel over gRPC.

    VirtmeshError
    |-- DeviceNotFound            no device of that name
    |-- DeviceNotReady            the kernel has not brought the device up
    |-- WrongKind                 the device is of another kind than the call is for
    |-- NotOffered                the service does not offer the call
    |-- DeviceLost                the device service went away, requests with it
    |-- DeviceAttached            another driver has the device ("holder")
    |-- ResetUnderWay             a request is stuck in the storage, so a reset is not complete
    |-- NotAttached               the call needs the session of the attached driver
    |-- ShuttingDown              the service is stopping
    |-- ServiceUnavailable        nothing answers at the address
    |-- NoAnswer                  the answer did not come within the time limit of the call
    |-- CallCancelled             the service, or something between, ended the call unfinished
    |-- NotSupervised             nobody restarts the processes of the machine
    |-- ForkedConnection          the connection is that of the parent process
    |-- ExtraMissing              an optional library is not installed ("extra")
    |-- BadRequest                a request that does not parse, or has an impossible value
    |-- AddressTaken              a service can't listen at the address
    |-- MemoryRefused             guest memory or doorbells a device does not take
    |   |-- MemoryMissing         none was handed over
    |   |-- MemoryUnsealed        it could shrink under the device
    |   |-- MemoryTooSmall        the file is shorter than the region
    |   `-- BadDoorbell           not a non-blocking eventfd, or for a queue that is not there
    |-- RegisterError             an access the register window refuses
    |   |-- UnknownRegister       nothing is at that offset
    |   |-- BadWidth              not a width of that register
    |   |-- Misaligned            not a multiple of the width
    |   |-- NotReadable           a write-only register
    |   |-- NotWritable           a read-only register
    |   |-- BadValue              the value does not fit
    |   |-- NoSuchQueue           the device has no queue of that index
    |   `-- DriverViolation       a write the specification forbids in this state
    |-- DriverError               a driver and its device do not come together
    |   |-- NotVirtio             wrong magic or version
    |   |-- FeaturesRejected      feature negotiation failed
    |   |-- QueueUnusable         a queue the driver needs is missing or too small
    |   |-- RingCorrupt           the device broke the rules of the ring
    |   |-- DeviceNeedsReset      the device set DEVICE_NEEDS_RESET
    |   `-- NotRestorable         a new process can't take the place of the last ("differences")
    |-- BadInterface              a device's description of itself that does not parse
    |-- BadTrace                  a saved trace that does not parse ("line", "file")
    |-- TraceDiffers              a device that does not answer as in a trace ("differences")
    |-- WatcherTooSlow            a watcher that does not keep up is cut off
    |-- BadStream                 messages out of order on a stream
    |   `-- FrontEndViolation     a message that vhost-user forbids, or forbids just now
    |-- GuestError                a guest that can't be booted, or not be acted on
    |   |-- GuestPartMissing      a kernel or a program that this host lacks
    |   |-- GuestTimeout          it did not do in time what it was asked to
    |   |-- GuestNotFound         no guest has that serial port
    |   |-- GuestBusy             too many actions are under way
    |   `-- ConsoleTaken          another guest has the serial port ("holder")
    |-- MessageTooLarge           one message over its limit
    |-- LimitReached              the service's clients have as much as they may ("limit")
    |-- BadMachine                a machine file or device tree that makes no sense
    `-- ...                       of parts: virtmesh_common.blk.errors, fault, input, uart

Each class has one gRPC status code and one reason (of google.rpc.ErrorInfo). `to_status` and
`from_rpc_error` are inverse: a client catches the class that the service raised; one that it has
not imported, as of a kind it does not know, arrives as VirtmeshError with that reason and code.
"""

from __future__ import annotations

import re
from typing import Self, cast

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from virtmesh_common.printable import printable_lines
from virtmesh_common.transport import find_cause, name_proxy

DOMAIN = "virtmesh"
DETAILS_KEY = "grpc-status-details-bin"
BROKEN = re.compile(r"stream removed|RST_STREAM|socket|connection|HTTP/2|GOAWAY", re.IGNORECASE)
"""Texts of gRPC about a connection that broke under a call."""
DETAILS_LIMIT = 1024
"""Most bytes of a message that travels. It travels twice, percent-encoded (up to three times as
long) and in the details (base64), and gRPC may refuse metadata above 8 KiB."""

Code = grpc.StatusCode
LOST = (Code.UNKNOWN, Code.INTERNAL)
"""Codes that gRPC also uses for a connection that broke under a call."""


class VirtmeshError(Exception):
    """Any error of virtmesh. `metadata` holds facts for programs, such as {"holder": "kernel"}.

    Both may quote strangers: what no message, log or terminal takes becomes a question mark.
    """

    code: grpc.StatusCode = Code.INTERNAL
    reason: str = "INTERNAL"

    def __init__(self, message: str, **metadata: object) -> None:
        self.message = printable_lines(message)
        super().__init__(self.message)
        self.metadata = {key: printable_lines(str(value)) for key, value in metadata.items()}

    def again(self) -> Self:
        """Make a fresh exception of one that several tasks raise: each needs its own trace."""
        fresh = type(self)(self.message, **self.metadata)
        fresh.code, fresh.reason = self.code, self.reason
        return fresh

    def __init_subclass__(cls, code: grpc.StatusCode | None = None, reason: str = "") -> None:
        """Give a class its code (its base's without one) and its reason (its name without one)."""
        super().__init_subclass__()
        cls.code = code or cls.code
        cls.reason = reason or spell_reason(cls.__name__)
        BY_REASON[cls.reason] = cls


def spell_reason(name: str) -> str:
    """Spell a class name as a reason: DeviceNotFound -> DEVICE_NOT_FOUND."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


BY_REASON: dict[str, type[VirtmeshError]] = {}
"""The classes that are imported, by their reasons."""
REASON = re.compile("[A-Z][A-Z0-9_]{0,62}")
"""What a reason looks like (google.rpc.ErrorInfo)."""
CODES = {code.value[0]: code for code in Code}
"""The gRPC status codes by their numbers."""


class DeviceNotFound(VirtmeshError, code=Code.NOT_FOUND):
    """No device of that name."""


class DeviceNotReady(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The kernel has not brought the device up."""


class WrongKind(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The device is of another kind than the call is for."""


class NotOffered(VirtmeshError, code=Code.UNIMPLEMENTED):
    """The service does not offer the call."""


class DeviceLost(VirtmeshError, code=Code.UNAVAILABLE):
    """The device service went away, requests with it."""


class DeviceAttached(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """Another driver has the device ("holder")."""


class ResetUnderWay(VirtmeshError, code=Code.UNAVAILABLE):
    """A reset waits for a request that is stuck in the storage."""


class NotAttached(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The call needs the session of the attached driver."""


class ShuttingDown(VirtmeshError, code=Code.UNAVAILABLE):
    """The service is stopping."""


class ServiceUnavailable(VirtmeshError, code=Code.UNAVAILABLE):
    """Nothing answers at the address."""


class NoAnswer(VirtmeshError, code=Code.DEADLINE_EXCEEDED):
    """The answer did not come within the time limit of the call."""


class CallCancelled(VirtmeshError, code=Code.CANCELLED):
    """The service, or something between, ended the call unfinished."""


class NotSupervised(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """Nobody restarts the processes of the machine: no `virtmesh up` started it."""


class ForkedConnection(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The connection is that of the parent process: a forked child can't use it."""


class ExtraMissing(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """An optional library is not installed ("extra")."""


class BadRequest(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """A request that does not parse, or has an impossible value."""


class AddressTaken(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A service can't listen at the address."""


class MemoryRefused(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """Guest memory or doorbells a device does not take."""


class MemoryMissing(MemoryRefused, code=Code.FAILED_PRECONDITION):
    """None was handed over."""


class MemoryUnsealed(MemoryRefused):
    """It could shrink under the device."""


class MemoryTooSmall(MemoryRefused):
    """The file is shorter than the region."""


class BadDoorbell(MemoryRefused):
    """Not a non-blocking eventfd, or for a queue that is not there."""


class RegisterError(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """An access the register window refuses."""


class UnknownRegister(RegisterError, code=Code.OUT_OF_RANGE):
    """Nothing is at that offset."""


class BadWidth(RegisterError):
    """Not a width of that register."""


class Misaligned(RegisterError):
    """Not a multiple of the width."""


class NotReadable(RegisterError, code=Code.FAILED_PRECONDITION):
    """A write-only register."""


class NotWritable(RegisterError, code=Code.FAILED_PRECONDITION):
    """A read-only register."""


class BadValue(RegisterError):
    """The value does not fit."""


class NoSuchQueue(RegisterError, code=Code.OUT_OF_RANGE):
    """The device has no queue of that index."""


class DriverViolation(RegisterError, code=Code.FAILED_PRECONDITION):
    """A write the specification forbids in this state."""


class DriverError(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A driver and its device do not come together."""


class NotVirtio(DriverError):
    """Wrong magic or version."""


class FeaturesRejected(DriverError):
    """Feature negotiation failed."""


class QueueUnusable(DriverError):
    """A queue the driver needs is missing or too small."""


class RingCorrupt(DriverError, code=Code.DATA_LOSS):
    """The device broke the rules of the ring."""


class DeviceNeedsReset(DriverError):
    """The device set DEVICE_NEEDS_RESET."""


class NotRestorable(DriverError):
    """A new process of a device that can't take the place of the last one ("differences")."""


class BadInterface(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """A device's description of itself that does not parse, or is out of bounds."""


class BadTrace(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """A saved trace that does not parse, in metadata "line", or has nothing of what is wanted."""


class TraceDiffers(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A device that does not answer as one did in a saved trace, in metadata "differences"."""


class WatcherTooSlow(VirtmeshError, code=Code.RESOURCE_EXHAUSTED):
    """A watcher that does not keep up is cut off."""


class BadStream(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """Messages out of order on a stream."""


class FrontEndViolation(BadStream):
    """A message that vhost-user forbids, or forbids in this state: its connection ends."""


class GuestError(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A guest that can't be booted, or not be acted on."""


class GuestPartMissing(GuestError):
    """A kernel or a program that this host lacks."""


class GuestTimeout(GuestError, code=Code.DEADLINE_EXCEEDED):
    """It did not do in time what it was asked to."""


class GuestNotFound(GuestError, code=Code.NOT_FOUND):
    """No guest has that serial port."""


class GuestBusy(GuestError, code=Code.RESOURCE_EXHAUSTED):
    """Too many actions are under way."""


class ConsoleTaken(GuestError):
    """Another guest has the serial port ("holder")."""


class MessageTooLarge(VirtmeshError, code=Code.RESOURCE_EXHAUSTED):
    """One message over its limit."""


class LimitReached(VirtmeshError, code=Code.RESOURCE_EXHAUSTED):
    """The clients of the service, or this one, have as much of a thing as they may ("limit")."""


class BadMachine(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """A machine file or device tree that makes no sense."""


def to_status(error: VirtmeshError) -> status_pb2.Status:
    """Put an error into a google.rpc.Status with one ErrorInfo."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    detail = any_pb2.Any()
    detail.Pack(info)
    number: int = error.code.value[0]
    return status_pb2.Status(code=number, message=cut(error.message), details=[detail])


def cut(message: str) -> str:
    """Cut a message to what may travel."""
    return message.encode()[:DETAILS_LIMIT].decode(errors="ignore")


def from_rpc_error(failure: grpc.RpcError, peer: str = "") -> VirtmeshError:
    """Turn what gRPC raised in a call to `peer` into the exception that the service meant."""
    call = cast("grpc.Call", failure)
    details = call.details() or ""
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            known = _from_status(status_pb2.Status.FromString(value))
            if known is not None:
                return known
    return _from_transport(call.code(), details, peer)


def _from_transport(code: grpc.StatusCode | None, details: str, peer: str) -> VirtmeshError:
    """Return the exception for a status that gRPC itself made."""
    who = f"the service at {peer}" if peer else "the service"
    if code is Code.UNAVAILABLE or (code in LOST and BROKEN.search(details)):
        where = f" at {peer}" if peer else ""
        why = f"{where}: {find_cause(details)}{name_proxy(peer)}"
        return ServiceUnavailable(f"no service answers{why}", address=peer)
    if code is Code.DEADLINE_EXCEEDED:
        return NoAnswer(f"{who} did not answer in time: it is busy or stopped", address=peer)
    if code is Code.CANCELLED:
        # gRPC's server refuses calls like this when too many wait for it, without a word.
        what = "ended the call unfinished: it has too many calls, or it stops: try again"
        return CallCancelled(f"{who} {what}", address=peer)
    if code is Code.RESOURCE_EXHAUSTED:
        return MessageTooLarge(f"{who} refused a message or took no more: {details}")
    if code is Code.UNIMPLEMENTED:
        more = "" if details == "Method not found!" else f": {details}"
        return NotOffered(f"{peer or 'the service'} does not offer this call{more}")
    return VirtmeshError(f"{who} failed: {code.name if code else 'UNKNOWN'}: {details}")


def _from_status(status: status_pb2.Status) -> VirtmeshError | None:
    """Find the exception that a status describes, if it is one of ours."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            kind = BY_REASON.get(info.reason)
            error = (kind or VirtmeshError)(status.message, **dict(info.metadata))
            if kind is None and REASON.fullmatch(info.reason):
                error.reason = info.reason
                error.code = CODES.get(status.code, Code.UNKNOWN)
            return error
    return None
