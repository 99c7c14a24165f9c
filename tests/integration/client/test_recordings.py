"""Recordings of real kinds of devices: made a device of, brought up, replayed, read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import Cli, own_folder
from tests.support.recordings import FOLDER, REAL, load_real
from virtmesh_client.input.models import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

NAMES = {f"d{number}": name for number, name in enumerate(REAL)}
"""Names of the devices, and the recordings of which they are made."""
SLOTS = 8


@pytest.fixture(scope="module", params=[0, 1])
def devices(request: pytest.FixtureRequest) -> Iterator[tuple[Cli, dict[str, str]]]:
    """Bring up a machine of devices that are made of recordings: as many as it has slots for."""
    some = dict(list(NAMES.items())[request.param * SLOTS :][:SLOTS])
    with own_folder() as cli:
        lines = ['name = "recorded"']
        for device, name in some.items():
            file, node = REAL[name]
            chosen = ["--node", node] if node else []
            made = cli("input", "convert", FOLDER / file, f"{device}.toml", *chosen, "--json")
            assert made.returncode == 0, made.stderr
            assert json.loads(made.stdout)["format"] == "personality"
            lines += [
                "[[devices]]", f'name = "{device}"', 'kind = "input"',
                "[devices.options]", f'personality = "{device}.toml"',
            ]  # fmt: skip
        (cli.folder / "recorded.toml").write_text("\n".join(lines))
        cli.up("recorded.toml")
        yield cli, some


def test_each_device_gives_back_its_recording(devices: tuple[Cli, dict[str, str]]) -> None:
    """Every event of the device reaches the driver, with its value as it was recorded."""
    cli, some = devices
    with virtmesh_client.connect(cli.state.address) as machine:
        for device, name in some.items():
            recording = load_real(name)
            with machine.input(device) as played, played.watch(seconds=60) as watch:
                result = played.play(recording, speed=0, wait="delivered")
                received = [next(watch).event for _ in range(result.injected.packets)]
                while sum(one.is_report for one in received) < result.injected.packets:
                    received.append(next(watch).event)
            sent = [one.event for one in recording.events if one.event.type not in SYSTEM_TYPES]
            wanted = [one for one in sent if not one.is_report]
            assert [one for one in received if not one.is_report] == wanted, name
            assert result.injected.outcome == "delivered"
