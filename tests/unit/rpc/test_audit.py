"""The audit: what is written, what is counted, and what a client can't make up."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from virtmesh.rpc.audit import PERIOD_S, STRANGERS_MAX, Audit
from virtmesh.rpc.caller import Caller, Stranger, touch
from virtmesh.rpc.doors import SocketDoor
from virtmesh.rpc.entry import Entry
from virtmesh.rpc.gate import Gate
from virtmesh.telemetry.log_rate_limit import AUDIT_LOGGER, BURST, LogLimit
from virtmesh_common.api.kernel.v1 import block_device_pb2, guest_pb2, kernel_pb2
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from virtmesh.rpc.gate import Ending

ALICE = Caller(Identity("alice", Role.OPERATOR, IdentityKind.CERTIFICATE, "a1"), "ipv4:1.2.3.4:5")
RESIZE = "/virtmesh.block.v1.BlockAdminService/Resize"


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Make a clock."""
    return Clock()


@pytest.fixture
def audit(clock: Clock) -> Audit:
    """Make the audit of a machine with two disks."""
    return Audit(lambda: ("vda", "vdb"), clock)


def test_a_call_is_a_line(audit: Audit) -> None:
    """Who, what, where, and how it ended."""
    with capture_logs() as lines:
        audit.note(ALICE, RESIZE, "vda", "OK")

    (line,) = lines
    assert line == {
        "event": "call",
        "log_level": "info",
        "identity": "alice",
        "role": "operator",
        "by": "certificate",
        "serial": "a1",
        "rpc": RESIZE,
        "device": "vda",
        "outcome": "OK",
        "peer": "ipv4:1.2.3.4:5",
    }


def test_repetitions_are_counted(audit: Audit, clock: Clock) -> None:
    """A line each period says how many there were; then the next one is written at once again."""
    with capture_logs() as lines:
        for _ in range(5):
            audit.note(ALICE, RESIZE, "vda", "OK")
        audit.tick()
        clock.now = PERIOD_S
        audit.tick()
        audit.tick()
        audit.note(ALICE, RESIZE, "vda", "OK")

    assert [line.get("repeated") for line in lines] == [None, 4, None]


def test_it_says_when_it_has_something_to_do(audit: Audit, clock: Clock) -> None:
    """Who calls `tick` may sleep until then."""
    clock.now = 1.0
    assert audit.seconds_left == PERIOD_S - 1.0
    clock.now = PERIOD_S
    audit.tick()
    assert audit.seconds_left == PERIOD_S


@pytest.mark.parametrize(
    "other",
    [
        (ALICE, RESIZE, "vdb", "OK"),
        (ALICE, RESIZE, "vda", "NOT_FOUND"),
        (ALICE, RESIZE.replace("Resize", "Flush"), "vda", "OK"),
        (Stranger(), RESIZE, "vda", "OK"),
    ],
)
def test_what_differs_is_no_repetition(
    audit: Audit, other: tuple[Caller | Stranger, str, str, str]
) -> None:
    """Another device, outcome, RPC or caller is another line."""
    with capture_logs() as lines:
        audit.note(ALICE, RESIZE, "vda", "OK")
        audit.note(*other)

    assert len(lines) == 2


def test_devices_that_there_are_not_have_no_name(audit: Audit) -> None:
    """Else a client could fill the log with names that it makes up."""
    with capture_logs() as lines:
        for number in range(1000):
            audit.note(ALICE, RESIZE, f"disk{number}", "NOT_FOUND")

    assert [line["device"] for line in lines] == ["unknown"]


def test_the_only_device_needs_no_name() -> None:
    """A device service serves one."""
    with capture_logs() as lines:
        Audit(lambda: ("vda",)).note(ALICE, RESIZE, "", "OK")

    assert lines[0]["device"] == "vda"


def test_what_is_left_is_written_at_the_end(audit: Audit) -> None:
    """A service that stops has told all."""
    with capture_logs() as lines:
        for _ in range(3):
            audit.note(Stranger(), RESIZE, "vda", "UNAUTHENTICATED", "NOT_AUTHENTICATED")
        audit.flush()

    assert [line.get("repeated") for line in lines] == [None, 2]
    assert {line["identity"] for line in lines} == {"none"}


def test_strangers_do_not_fill_the_log(audit: Audit, clock: Clock) -> None:
    """So many lines a period, whatever they call; what people do meanwhile is written."""
    stranger, calls = Stranger("ipv4:192.0.2.7:1"), 10 * STRANGERS_MAX
    with capture_logs() as lines:
        for period in range(1, 4):
            for number in range(calls):
                audit.note(stranger, f"{RESIZE}{number}", "vda", "UNAUTHENTICATED")
            audit.note(ALICE, RESIZE, "vda", "OK")
            clock.now = PERIOD_S * period
            audit.tick()

    assert len([line for line in lines if line["identity"] == "alice"]) == 3
    of_strangers = [line for line in lines if line["identity"] == "none"]
    assert len(of_strangers) == 3 * (STRANGERS_MAX + 1)
    counted = [line["repeated"] for line in of_strangers if line["rpc"] == "unknown"]
    assert counted == [calls - STRANGERS_MAX] * 3
    (metric,) = audit.metrics()
    assert metric.samples[0].value == 3 * calls


def test_who_counts_no_more_is_named(audit: Audit) -> None:
    """With the serial number, and where it came from; it has no role any more."""
    with capture_logs() as lines:
        audit.note(Stranger("ipv4:192.0.2.7:1", "alice", "a1"), RESIZE, "vda", "UNAUTHENTICATED")

    (line,) = lines
    facts = [line[key] for key in ("identity", "role", "serial", "peer")]
    assert facts == ["alice", "none", "a1", "ipv4:192.0.2.7:1"]


def test_the_limit_of_the_log_does_not_hold_for_the_audit() -> None:
    """It limits itself, and only what repeats."""
    limit = LogLimit()
    line = {"logger": AUDIT_LOGGER, "event": "call", "level": "info"}

    kept = [limit(None, "info", dict(line)) for _ in range(BURST * 2)]

    assert len(kept) == BURST * 2


def test_calls_are_counted_by_role_and_outcome(audit: Audit) -> None:
    """Repetitions as well; a stream once."""
    audit.note(ALICE, RESIZE, "vda", "BEGUN")
    for _ in range(3):
        audit.note(ALICE, RESIZE, "vda", "OK")
    audit.note(Stranger(), RESIZE, "vda", "UNAUTHENTICATED")

    (metric,) = audit.metrics()
    counted = {tuple(one.labels.values()): one.value for one in metric.samples}

    assert counted == {("operator", "OK"): 3, ("none", "UNAUTHENTICATED"): 1}


def test_a_device_in_the_request_is_the_one_that_is_written(audit: Audit) -> None:
    """Metadata that names another one changes nothing: the call is not sent on."""
    gate = Gate(SocketDoor(Role.OPERATOR), audit)
    reset = "/virtmesh.kernel.v1.KernelService/ResetDevice"
    entry = Entry(gate, gate.access(reset), ((DEVICE_KEY, "vda"),))
    with capture_logs() as lines:
        entry.see(kernel_pb2.ResetDeviceRequest(device="vdb"))
        entry.finish(cast("Ending", object()), "OK")
    assert [line["device"] for line in lines] == ["vdb"]


def test_a_device_that_a_later_message_names_is_written(audit: Audit) -> None:
    """When it is named, and again when the stream ends."""
    gate = Gate(SocketDoor(Role.OPERATOR), audit)
    write = "/virtmesh.kernel.v1.BlockDeviceService/Write"
    entry = Entry(gate, gate.access(write), ())
    header = block_device_pb2.WriteHeader(device="vdb")
    with capture_logs() as lines:
        entry.begin(cast("Ending", object()), None, streams=True)
        entry.see(block_device_pb2.WriteRequest(data=b"early"))
        for _ in range(2):
            entry.see(block_device_pb2.WriteRequest(header=header))
        entry.finish(cast("Ending", object()), "OK")
    assert [(one["device"], one["outcome"]) for one in lines] == [("vdb", "BEGUN"), ("vdb", "OK")]


def test_all_devices_that_a_stream_names_are_written(audit: Audit) -> None:
    """Each of them once, and those that there are not together: a client does not fill the log."""
    gate = Gate(SocketDoor(Role.OPERATOR), audit)
    entry = Entry(gate, gate.access("/virtmesh.kernel.v1.BlockDeviceService/Write"), ())
    names = ["vda", "vdb", *(f"disk{number}" for number in range(1000))]
    with capture_logs() as lines:
        for name in names:
            header = block_device_pb2.WriteHeader(device=name)
            entry.see(block_device_pb2.WriteRequest(header=header))
        entry.finish(cast("Ending", object()), "INVALID_ARGUMENT")
    assert [one["device"] for one in lines] == ["vda", "vdb", "unknown"]


def test_a_service_names_what_the_messages_do_not() -> None:
    """A guest's stream names a port, or none: it has the console, then. The CPU is no device."""
    gate = Gate(SocketDoor(Role.OPERATOR), Audit(lambda: ("serial", "keyboard")))
    attach = Entry(gate, gate.access("/virtmesh.kernel.v1.GuestService/AttachGuest"), ())
    stop = Entry(gate, gate.access("/virtmesh.cpu.v1.CpuService/Stop"), ())
    with capture_logs() as lines:
        attach.begin(cast("Ending", object()), None, streams=True)
        attach.see(guest_pb2.AttachGuestRequest(start=guest_pb2.Guest()))
        touch("serial")
        attach.finish(cast("Ending", object()), "OK")
        stop.begin(cast("Ending", object()), None, streams=False)
        stop.finish(cast("Ending", object()), "OK")
    assert [one["device"] for one in lines] == ["serial", "serial", "cpu"]
