"""Devices that are killed under a running kernel, and what it notices: a delay."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom

import pytest

from tests.support.riscv import load
from tests.support.riscv.boot import INPUTS, at_shell
from tests.support.riscv.events import INPUT_EVENT, SYN_DROPPED, sent_packets
from tests.support.riscv.injector import Packet, check_arrived
from tests.support.riscv.kills import DEVICES, Kill, Killer, failed_requests, table
from tests.support.riscv.parts import Parts
from tests.support.riscv.writing import content, fsck, read_file

pytestmark = pytest.mark.timeout(1200)

KILLS = int(os.environ.get("VIRTMESH_KILLS", "10"))
"""50 take some minutes (`make test-kills`): the gate has the short form."""
LOST_CHARACTERS = 1024
"""Most characters that a killed port and its line took and no terminal has received."""


@dataclass(frozen=True)
class Survived:
    """What a guest whose devices were killed has left, after its power-off."""

    kills: Sequence[Kill]
    complaints: str
    """Of its kernel and its programs."""
    failed: Sequence[str]
    """Types of requests that the disk failed."""
    console: str
    sent: Mapping[str, Sequence[Packet]]
    arrived: dict[str, bytes]
    """Events of each input device, as struct input_event."""
    sums: dict[str, str]
    """SHA-256 of files, as the guest computed them when it wrote them."""
    found: dict[str, str]
    """SHA-256 of files in the image."""
    fsck: tuple[int, str]
    echo: str
    status: int


def say(text: str) -> None:
    """Say what the guest saw."""
    print(text)  # noqa: T201 - shown by -rP: what the long form is for


@pytest.fixture(scope="module")
def survived(riscv: Parts) -> Iterator[Survived]:
    """Kill the devices of a guest under load, and power it off."""
    seed = int(os.environ.get("VIRTMESH_SEED", SystemRandom().randrange(1 << 32)))
    with at_shell(riscv, files=(load.SCRIPT,)) as rig:
        load.begin(rig)
        begun = len(rig.guest.text)
        killer = Killer(rig, Random(seed))  # noqa: S311 - which device, and when
        say(f"VIRTMESH_SEED={seed}")
        killer.run(KILLS)
        killer.drain()
        console = rig.guest.text[begun:]
        load.stop(rig.guest)
        complaints = load.complaints(rig.guest)
        verified = rig.guest.run("stat -c %s /tmp/done").strip()
        load.keep_results(rig.guest)
        failed = failed_requests(rig)
        echo = rig.guest.run("echo alive")
        status = rig.guest.end()
        sums = read_file(rig.disk, "sums") + read_file(rig.disk, "corpus.sums")
        sent = {device: one.packets for device, one in killer.injectors.items()}
        say(f"{table(killer)}\nfiles verified by the guest: {verified}")
        yield Survived(
            kills=killer.survived,
            complaints=complaints,
            failed=failed,
            console=console,
            sent=sent,
            arrived={device: read_file(rig.disk, f"ev/{device}") for device in INPUTS},
            sums=dict(line.split()[::-1] for line in sums.decode().splitlines()),
            found=content(rig.disk),
            fsck=fsck(rig.disk),
            echo=echo,
            status=status,
        )


def test_the_guest_uses_each_device_again(survived: Survived) -> None:
    """After every kill, by itself."""
    killed = Counter(kill.device for kill in survived.kills)

    assert killed.total() == KILLS
    assert set(killed) == set(DEVICES)


def test_nobody_complains(survived: Survived) -> None:
    """The kernel says nothing that it did not say before; no program reads what it did not write.

    The disk has failed no request.
    """
    assert survived.complaints == ""
    assert not survived.failed


def test_every_file_has_the_content_that_was_written(survived: Survived) -> None:
    """The image has them; ext4 is clean."""
    inside = {name: digest for name, digest in survived.found.items() if "/" in name}
    files = {name.partition("/")[2]: digest for name, digest in inside.items()}
    status, said = survived.fsck

    assert status == 0, said
    assert len(survived.sums) == load.FILES + load.WRITERS * load.SLOTS
    assert survived.sums == {name: files[name] for name in survived.sums}


@pytest.mark.parametrize("device", INPUTS)
def test_every_event_that_was_delivered_arrives_once(survived: Survived, device: str) -> None:
    """In order; what the old process had not delivered arrives once or not at all."""
    events = list(INPUT_EVENT.iter_unpack(survived.arrived[device]))
    assert SYN_DROPPED not in [event[:2] for event in events], "the guest's program was too slow"
    packets = sent_packets(events)
    sent = survived.sent[device]

    unknown = check_arrived(sent, [event for packet in packets for event in packet])

    joined = sum(len(packet) > 1 for packet in packets)
    say(
        f"{device}: {len(sent)} packets, {sum(not one.delivered for one in sent)} of unknown fate,"
        f" of which {unknown} arrived; {joined} arrived in one packet with the next"
    )
    assert joined <= len(survived.kills)


def test_the_console_loses_only_what_a_killed_port_held(survived: Survived) -> None:
    """Lines come in order, each once; there are no more gaps than kills of the serial port."""
    killed = sum(kill.device == "serial" for kill in survived.kills)

    lost = load.losses(survived.console)

    say(f"console: {len(survived.console)} characters, lost at {killed} kills: {lost}")
    assert len(lost) <= killed
    assert all(0 < characters <= LOST_CHARACTERS for characters in lost)


def test_the_console_takes_input_up_to_the_power_off(survived: Survived) -> None:
    """`virtmesh boot` ends with 0."""
    assert survived.echo == "alive\n"
    assert survived.status == 0
