"""`virtmesh trace` on machines of real processes: what was said, live, saved, drawn, replayed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.support.cli import Cli, eventually, own_folder
from virtmesh_client import Disk, connect
from virtmesh_common.blk.spec import CAPACITY
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.virtio.mmio import CONFIG_GENERATION

pytestmark = pytest.mark.processes

WRITE = [
    ("driver", "add"),
    ("driver", "notify"),
    ("device", "pop"),
    ("device", "request_start"),
    ("device", "request_end"),
    ("device", "push"),
    ("device", "interrupt"),
    ("driver", "irq"),
    ("driver", "pop_used"),
]
"""The steps of one request. The device's NOTIFY is left out: where it is awake still, it takes the
chain before it looks at its eventfd."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a disk, into which 4096 bytes are written at sector 128."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=16M")
        with connect(cli.state.address) as machine:
            machine.disk("vda").write(128 * 512, bytes(4096))
        yield cli


@pytest.fixture
def second_disk(machine: Cli, tmp_path: Path) -> Iterator[str]:
    """Start a disk service that nobody drives, as large as the machine's; return its address."""
    image = tmp_path / "disk.img"
    os.close(os.open(image, os.O_CREAT))
    os.truncate(image, 16 << 20)
    address = f"unix:{machine.folder / 'alone.sock'}"
    command = (sys.executable, "-m", "virtmesh.host.main", "blk", "--name", "vda", "--listen")
    with subprocess.Popen([*command, address, "--image", str(image)]) as process:
        yield address
        process.terminate()


def objects(output: str) -> list[dict[str, object]]:
    """Read JSON lines."""
    return [json.loads(line) for line in output.splitlines()]


def test_one_block_write_has_every_step_in_order(machine: Cli) -> None:
    """From both recorders, by time, in words."""
    kinds = "queue,request,interrupt,notify"
    result = machine("trace", "-d", "vda", "--kinds", kinds, "--last", "10", "--json")
    assert result.returncode == 0
    events = objects(result.stdout)
    steps = [(event["side"], event["kind"]) for event in events]
    steps.remove(("device", "notify"))
    assert steps == WRITE
    assert "OUT sector 128, 4096 bytes" in result.stdout
    times = [int(str(event["time_ns"])) for event in events]
    assert times == sorted(times)


def test_the_dialogue_of_the_driver_is_decoded(machine: Cli) -> None:
    """Registers, features and status by name; no colours where nobody would see them."""
    out = machine("trace", "--kinds", "register").stdout
    assert 'vda      drv <- MagicValue = 0x74726976 "virt"' in out
    assert "drv -> Status = ACKNOWLEDGE|DRIVER|FEATURES_OK" in out
    assert "VIRTIO_BLK_F_FLUSH" in out
    assert "drv -> QueueReady[0] = 1" in out
    assert "\x1b" not in out


def test_a_saved_trace_shows_the_same_anywhere(machine: Cli) -> None:
    """Without a machine."""
    live = machine("trace", "-d", "vda").stdout
    saved = machine("trace", "-d", "vda", "--save", "same.jsonl")
    assert saved.returncode == 0
    with own_folder() as elsewhere:
        file = machine.folder / "same.jsonl"
        assert elsewhere("trace", "--from", file).stdout == live
        assert elsewhere("trace", "--from", file, "-d", "other").stdout == ""


def test_a_file_is_not_replaced_unasked(machine: Cli) -> None:
    """With --force it is."""
    (machine.folder / "mine").write_text("precious")
    assert machine("trace", "--save", "mine").returncode == 1
    assert (machine.folder / "mine").read_text() == "precious"
    assert machine("trace", "--save", "mine", "--force").returncode == 0


def test_a_drawing_for_perfetto_has_the_request(machine: Cli) -> None:
    """Its slices begin and end; the arrows arrive."""
    result = machine("trace", "-d", "vda", "--perfetto", "vda.pftrace")
    assert result.returncode == 0
    trace = pb.Trace.FromString((machine.folder / "vda.pftrace").read_bytes())
    events = [one.track_event for one in trace.packet if one.HasField("track_event")]
    kinds = [event.type for event in events]
    assert kinds.count(pb.TrackEvent.TYPE_SLICE_BEGIN) == kinds.count(pb.TrackEvent.TYPE_SLICE_END)
    assert "OUT sector 128, 4096 bytes" in [event.name for event in events]
    begun = {flow for event in events for flow in event.flow_ids}
    ended = {flow for event in events for flow in event.terminating_flow_ids}
    assert ended
    assert ended <= begun


def works(disk: Disk) -> bool:
    """Write, if the disk is there."""
    try:
        disk.write(0, b"x")
    except VirtmeshError:
        return False
    return True


def test_a_live_trace_shows_what_happens_and_survives_the_device(cli: Cli) -> None:
    """Its recorder goes with its process, and comes back with it; Ctrl-C ends in order."""
    cli.up("--disk", "disk.img,size=16M")
    with cli.spawn("trace", "--follow", "--since", "1h", "-d", "vda", "--json") as trace:
        assert trace.stdout is not None
        kinds = (json.loads(line)["kind"] for line in trace.stdout)
        # What is kept comes first: when both sides have told of their driver, both are watched.
        assert "attach" in kinds
        assert "attach" in kinds
        os.kill(cli.process("vda").pid, signal.SIGKILL)
        assert "gone" in kinds
        assert "back" in kinds
        with connect(cli.state.address) as machine:
            disk = machine.disk("vda")
            eventually(lambda: works(disk))
        assert "push" in kinds
        assert "pop_used" in kinds
        trace.send_signal(signal.SIGINT)
        _, error = trace.communicate(timeout=30)
        assert (trace.returncode, error) == (0, b"")


def test_a_replay_on_an_equal_device_finds_no_difference(machine: Cli, second_disk: str) -> None:
    """Time and again: the device is given back as it was."""
    assert machine("trace", "--save", "replay.jsonl", "--force").returncode == 0
    for _ in range(2):
        eventually(
            lambda: (
                (
                    machine("trace", "replay", "replay.jsonl", "-d", "vda", "--to", second_disk)
                ).returncode
                == 0
            )
        )


def test_a_replay_shows_what_another_device_answers(machine: Cli, second_disk: str) -> None:
    """The register, what it was, and what it is; the exit status says that they differ."""
    assert machine("trace", "--save", "differs.jsonl", "--force").returncode == 0
    file = machine.folder / "differs.jsonl"
    changed = []
    for line in file.read_text().splitlines():
        event = json.loads(line)
        read = event.get("kind") == "register_read"
        if read and event.get("token") in {CAPACITY.offset, CONFIG_GENERATION.offset}:
            event["value"] = event.get("value", 0) + 1
        changed.append(json.dumps(event))
    file.write_text("\n".join(changed))

    def replay(*options: str) -> subprocess.CompletedProcess[str]:
        return machine("trace", "replay", file, "-d", "vda", "--to", second_disk, *options)

    eventually(lambda: replay().returncode == 1)
    result = replay()
    assert [line.split(" = ") for line in result.stdout.splitlines()[1:]] == [
        ["  - capacity+0", "0x8001"],
        ["  + capacity+0", "0x8000"],
    ]
    assert "1 of" in result.stderr
    told = json.loads(replay("--json").stdout)
    assert [one["register"] for one in told["differences"]] == ["capacity+0"]
    assert told["not_compared"]["ConfigGeneration"] > 0
    strict = json.loads(replay("--json", "--strict").stdout)
    assert {one["register"] for one in strict["differences"]} == {"capacity+0", "ConfigGeneration"}


def test_a_replay_needs_a_device_for_itself(machine: Cli) -> None:
    """The machine's own disk has a driver, and keeps it."""
    assert machine("trace", "--save", "attached.jsonl", "--force").returncode == 0
    result = machine("trace", "replay", "attached.jsonl", "-d", "vda")
    assert result.returncode == 1
    assert "attached to" in result.stderr
    assert "--to" in result.stderr
    assert machine("blk", "read", "vda", "--length", "512").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["-d", "nope"], 1, "nope"),
        (["--kinds", "nonsense"], 2, "register"),
        (["--since", "yesterday"], 2, "5s"),
        (["--follow", "--last", "3"], 2, "--since"),
        (["--save", "both", "--perfetto", "./both"], 2, "give each its own"),
        (["replay", "bad.jsonl", "-d", "vda"], 1, "bad.jsonl: line 1: "),
    ],
)
def test_what_is_wrong_is_said(machine: Cli, arguments: list[str], status: int, says: str) -> None:
    """In one line, with the mend."""
    (machine.folder / "bad.jsonl").write_text("hello\n")
    result = machine("trace", *arguments)
    assert result.returncode == status
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_registers_of_a_serial_port_are_named_whatever_their_distance(cli: Cli) -> None:
    """The port says how far apart they are."""
    options = "[devices.options]\nreg-shift = 2"
    text = f"name = 'apart'\n[[devices]]\nname = 'serial'\nkind = 'uart'\n{options}\n"
    (cli.folder / "machine.toml").write_text(text)
    cli.up("machine.toml")

    told = cli("trace", "-d", "serial", "--kinds", "register").stdout

    assert "-> LCR = " in told
    assert "<- LSR = " in told
    assert "[0x" not in told
