"""modetest of libdrm, as Debian has it, on virtio_gpu of its kernel: what it shows is exact."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cli import eventually
from tests.support.riscv.boot import Rig, at_shell
from tests.support.riscv.parts import Parts
from virtmesh_client import connect
from virtmesh_client.screen.models import Pixels
from virtmesh_common.gpu.errors import NoPicture

WIDTH, HEIGHT = 640, 480
OTHER = 800, 600
"""Another mode, of the list that the kernel adds to that of the EDID."""
LOADER = "ld-linux-riscv64-lp64d.so.1"
MODETEST = f"/mnt/{LOADER} --library-path /mnt /mnt/modetest -M virtio_gpu"
PLAIN = 0x777777
PLACES = 20
"""Places at which a cursor is seen."""
CONNECTOR = re.compile(r"^(\d+)\t\d+\tconnected", re.MULTILINE)


@pytest.fixture(scope="module")
def screen(riscv: Parts) -> Iterator[Rig]:
    """Boot with a GPU, and with modetest on the disk."""
    files = sorted(path for path in (riscv.folder / "drm").iterdir() if path.stat().st_size)
    gpu = f"gpu,name=gpu0,mode={WIDTH}x{HEIGHT}"
    with at_shell(riscv, "--device", gpu, files=files) as rig:
        yield rig


@pytest.fixture(scope="module")
def connector(screen: Rig) -> str:
    """Return the number of the connector that modetest finds."""
    found = CONNECTOR.search(screen.guest.run(f"{MODETEST} -c"))
    assert found
    return found[1]


def tiles(width: int, height: int) -> bytes:
    """Return modetest's pattern "tiles": its colour tells column and row, in steps of 64 pixels."""
    colours = [
        (0x130502 * ((x + y) // width >> 6) + 0x0A1120 * ((x + y) % width >> 6)) & 0xFFFFFF
        for y in range(height)
        for x in range(width)
    ]
    return b"".join((0xFF << 24 | colour).to_bytes(4, "little") for colour in colours)


def plain(width: int, height: int) -> bytes:
    """Return its pattern "plain"."""
    return (0xFF << 24 | PLAIN).to_bytes(4, "little") * (width * height)


def shot(rig: Rig) -> Pixels:
    """Take a screenshot."""
    with connect(rig.cli.state.address) as machine:
        return machine.screen("gpu0").pixels()


def shown(rig: Rig) -> bytes:
    """Return what is shown: nothing while one picture is taken away and the next is not yet set."""
    try:
        return shot(rig).data
    except NoPicture:
        return b""


@contextmanager
def showing(rig: Rig, options: str) -> Iterator[None]:
    """Have modetest show something. It ends at a key: its standard input is a pipe that stays."""
    rig.guest.run("rm -f /run/keys; mkfifo /run/keys; sleep 9999 > /run/keys & keys=$!")
    rig.guest.run(f"{MODETEST} {options} < /run/keys > /run/said 2>&1 & shows=$!")
    try:
        yield
    finally:
        rig.guest.run("kill $keys; wait $shows")


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), OTHER])
def test_a_pattern_is_exact(screen: Rig, connector: str, size: tuple[int, int]) -> None:
    """SETCRTC of a dumb buffer, in the mode of the screen and in another one."""
    width, height = size
    wanted = tiles(width, height)
    with showing(screen, f"-s {connector}:{width}x{height}@XR24 -F tiles"):
        eventually(lambda: shown(screen) == wanted)
        assert (shot(screen).width, shot(screen).height) == size


def test_page_flips_show_one_buffer_or_the_other(screen: Rig, connector: str) -> None:
    """Never a part of each."""
    options = f"-s {connector}:{WIDTH}x{HEIGHT}@XR24 -F tiles,plain -v"
    buffers = {tiles(WIDTH, HEIGHT), plain(WIDTH, HEIGHT)}
    seen: set[bytes] = set()
    with showing(screen, options):
        eventually(lambda: shown(screen) in buffers)
        while seen != buffers:
            pixels = shot(screen).data
            assert pixels in buffers
            seen.add(pixels)


def test_a_cursor_moves(screen: Rig, connector: str) -> None:
    """It is told apart from the picture, which stays exact."""
    wanted = tiles(WIDTH, HEIGHT)
    with (
        showing(screen, f"-s {connector}:{WIDTH}x{HEIGHT}@XR24 -F tiles -C"),
        connect(screen.cli.state.address) as machine,
        machine.screen("gpu0").watch() as updates,
    ):
        places: set[tuple[int, int]] = set()
        images: set[bytes] = set()
        while len(places) < PLACES:
            cursor = next(updates).cursor
            if cursor is not None and cursor.visible:
                places.add((cursor.x, cursor.y))
                images.add(cursor.image)
        assert any(any(image) for image in images)
        eventually(lambda: shown(screen) == wanted)


def test_the_kernel_breaks_no_rule(screen: Rig) -> None:
    """After all that."""
    told = screen.cli("report", "gpu0", "--json")
    assert json.loads(told.stdout)[0]["violations"] == []
    assert told.returncode == 0, told.stderr
