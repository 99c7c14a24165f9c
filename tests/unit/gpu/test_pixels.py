"""Pixels from guest memory to the screenshot, byte by byte: formats, rectangles, blobs, cursors."""

from __future__ import annotations

from io import BytesIO
from random import Random

import pytest
from PIL import Image

from tests.support.gpu_rig import ANSWER, OK, GpuRig, entries, gpu_rig, opaque
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.screenshot import draw_cursor, encode_png
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CURSOR_SIDE, FORMAT_NAMES, Command, Response

PARAMETER = Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER
WIDTH, HEIGHT = 37, 23
SIZE = WIDTH * HEIGHT * 4
WHOLE = (0, 0, WIDTH, HEIGHT)
BLOB, SHOW_BLOB = (
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
    Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
)
UPDATE, MOVE = Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, Command.VIRTIO_GPU_CMD_MOVE_CURSOR


def reference(seed: int = 1, count: int = WIDTH * HEIGHT) -> bytes:
    """Return pixels of blue, green, red and 255: every byte its own."""
    return opaque(Random(seed).randbytes(4 * count))  # noqa: S311 - any bytes will do


def in_format(bgrx: bytes, number: int) -> bytes:
    """Return the pixels in a format: its name has the bytes in the order of memory."""
    order = ["BGRAX".index(letter) for letter in FORMAT_NAMES[number] if letter in "BGRAX"][:4]
    places = [min(place, 3) for place in order]
    return bytes(bgrx[start + place] for start in range(0, len(bgrx), 4) for place in places)


def crop(pixels: bytes, width: int, place: tuple[int, int, int, int]) -> bytes:
    """Cut a rectangle out of pixels."""
    x, y, columns, rows = place
    starts = [((y + row) * width + x) * 4 for row in range(rows)]
    return b"".join(pixels[start : start + 4 * columns] for start in starts)


@pytest.mark.parametrize("number", FORMAT_NAMES, ids=list(FORMAT_NAMES.values()))
async def test_a_picture_of_every_format(number: int) -> None:
    """Raw and as PNG, it is what was drawn; of a resource and of a blob."""
    wanted = reference()
    pixels = in_format(wanted, number)
    async with gpu_rig() as rig:
        address = rig.pages(pixels)
        assert await rig.create(1, WIDTH, HEIGHT, number) == OK
        assert await rig.attach(1, [(address, SIZE)]) == OK
        assert await rig.transfer(1, WHOLE) == OK
        assert await rig.scan_out(1, WHOLE) == OK
        assert rig.picture() == wanted
        assert await make_blob(rig, 2, SIZE, [(address, SIZE)]) == OK
        assert await show_blob(rig, 2, number) == OK
        assert rig.picture() == wanted
    with Image.open(BytesIO(encode_png([memoryview(wanted)], WIDTH, HEIGHT))) as image:
        assert (image.mode, image.size) == ("RGB", (WIDTH, HEIGHT))
        assert image.tobytes("raw", "BGRX")[0::4] == wanted[0::4]
        assert opaque(image.convert("RGBA").tobytes("raw", "BGRA")) == wanted


async def test_a_backing_of_many_pieces() -> None:
    """Of odd lengths and out of order: they are read as one."""
    wanted, random, pieces, left = reference(), Random(2), [], SIZE  # noqa: S311 - any bytes will do
    async with gpu_rig() as rig:
        while left:
            length = min(random.randrange(1, 400), left)
            start = SIZE - left
            pieces.append((rig.pages(wanted[start : start + length]), length))
            left -= length
        assert await rig.create(1, WIDTH, HEIGHT) == OK
        assert await rig.attach(1, pieces) == OK
        assert await rig.transfer(1, WHOLE) == OK
        assert await rig.scan_out(1, WHOLE) == OK
        assert rig.picture() == wanted


async def test_only_what_is_transferred_and_flushed_is_seen() -> None:
    """In this order: guest memory, resource, picture."""
    first, second = reference(3), reference(4)
    async with gpu_rig() as rig:
        address = await rig.show(1, WIDTH, HEIGHT, first)
        rig.memory.write(address, second)
        assert await rig.flush(1, WHOLE) == OK
        assert rig.picture() == first
        part = (5, 6, 7, 8)
        assert await rig.transfer(1, part, (6 * WIDTH + 5) * 4) == OK
        assert rig.picture() == first
        assert await rig.flush(1, (0, 0, 6, 7)) == OK
        assert crop(rig.picture(), WIDTH, (5, 6, 1, 1)) == crop(second, WIDTH, (5, 6, 1, 1))
        assert crop(rig.picture(), WIDTH, (6, 6, 1, 1)) == crop(first, WIDTH, (6, 6, 1, 1))
        assert await rig.flush(1, WHOLE) == OK
        assert crop(rig.picture(), WIDTH, part) == crop(second, WIDTH, part)
        assert crop(rig.picture(), WIDTH, (0, 0, 5, 23)) == crop(first, WIDTH, (0, 0, 5, 23))


async def test_several_scanouts_of_one_resource() -> None:
    """The same part mirrored, and another part: a flush reaches those that it touches."""
    first, second = reference(5), reference(6)
    left, right = (0, 0, 10, HEIGHT), (10, 0, WIDTH - 10, HEIGHT)
    async with gpu_rig(scanouts=4) as rig:
        address = await rig.draw(1, WIDTH, HEIGHT, first)
        for scanout, place in enumerate((left, left, right)):
            assert await rig.scan_out(1, place, scanout) == OK
            assert rig.picture(scanout) == crop(first, WIDTH, place)
        rig.memory.write(address, second)
        assert await rig.transfer(1, WHOLE) == OK
        assert await rig.flush(1, left) == OK
        assert rig.picture(0) == rig.picture(1) == crop(second, WIDTH, left)
        assert rig.picture(2) == crop(first, WIDTH, right)
        assert [one.flushes for one in rig.model.scanouts] == [1, 1, 0, 0]
        assert [one.damage_bytes for one in rig.model.scanouts] == [10 * HEIGHT * 4] * 2 + [0, 0]
        assert await rig.flush(1, WHOLE) == OK
        assert rig.picture(2) == crop(second, WIDTH, right)
        assert rig.model.scanouts[3].picture is None


async def test_a_page_flip() -> None:
    """Two resources in turn: each is shown at once, and later changes of the hidden one are not."""
    first, second = reference(7), reference(8)
    async with gpu_rig() as rig:
        await rig.show(1, WIDTH, HEIGHT, first)
        await rig.draw(2, WIDTH, HEIGHT, second)
        before = rig.model.scanouts[0].picture
        assert await rig.scan_out(2, WHOLE) == OK
        assert rig.picture() == second
        assert rig.model.scanouts[0].picture is before
        assert await rig.flush(1, WHOLE) == OK
        assert rig.picture() == second
        assert await rig.scan_out(0, (0, 0, 0, 0)) == OK
        assert rig.model.scanouts[0].picture is None


async def test_pixels_outlive_their_backing() -> None:
    """A resource keeps what was transferred when its backing goes."""
    async with gpu_rig() as rig:
        await rig.draw(1, WIDTH, HEIGHT, reference())
        assert await rig.detach(1) == OK
        assert await rig.scan_out(1, WHOLE) == OK
        assert rig.picture() == reference()
        assert await rig.transfer(1, WHOLE) == Response.VIRTIO_GPU_RESP_ERR_UNSPEC


# -- Blobs ------------------------------------------------------------------------------------


async def make_blob(
    rig: GpuRig, number: int, size: int, pieces: list[tuple[int, int]], kind: int = 1
) -> int:
    """Make a blob of guest memory."""
    body = spec.RESOURCE_CREATE_BLOB.pack(number, kind, 0, len(pieces), 0, size) + entries(pieces)
    return await rig.ask(BLOB, body)


async def show_blob(  # noqa: PLR0913 - what the command has
    rig: GpuRig,
    number: int,
    pixels: int = 1,
    *,
    place: tuple[int, int, int, int] = WHOLE,
    image: tuple[int, int] = (WIDTH, HEIGHT),
    stride: int = WIDTH * 4,
    offset: int = 0,
) -> int:
    """Show a blob on the first scanout."""
    body = spec.SET_SCANOUT_BLOB.pack(
        *place, 0, number, *image, pixels, stride, 0, 0, 0, offset, 0, 0, 0
    )
    return await rig.ask(SHOW_BLOB, body)


async def test_a_flush_of_a_blob_reads_guest_memory() -> None:
    """There is no transfer; only what the rectangle has is seen."""
    first, second = reference(9), reference(10)
    async with gpu_rig() as rig:
        address = rig.pages(first)
        assert await make_blob(rig, 1, SIZE, [(address, SIZE)]) == OK
        assert await show_blob(rig, 1) == OK
        rig.memory.write(address, second)
        assert await rig.transfer(1, WHOLE) == OK
        assert rig.picture() == first
        assert await rig.flush(1, (0, 0, WIDTH, 4)) == OK
        assert rig.picture() == second[: WIDTH * 4 * 4] + first[WIDTH * 4 * 4 :]


async def test_an_image_inside_of_a_blob() -> None:
    """With an offset and gaps between its rows, and a rectangle of it shown."""
    wanted, stride, offset = reference(11), WIDTH * 4 + 12, 20
    rows = [wanted[row * WIDTH * 4 :][: WIDTH * 4] + bytes(12) for row in range(HEIGHT)]
    memory = bytes(offset) + b"".join(rows)[:-12]
    part = (3, 4, 20, 10)
    async with gpu_rig() as rig:
        pieces = [(rig.pages(memory), len(memory))]
        assert await make_blob(rig, 1, len(memory), pieces) == OK
        assert await show_blob(rig, 1, place=part, stride=stride, offset=offset) == OK
        assert rig.picture() == crop(wanted, WIDTH, part)
        for more, wide in ((1, stride), (0, stride + 1), (-offset, WIDTH * 4 - 1)):
            assert await show_blob(rig, 1, stride=wide, offset=offset + more) == PARAMETER
        assert rig.picture() == crop(wanted, WIDTH, part)


async def test_blobs_that_are_refused() -> None:
    """Other memory than the guest's, none, and images that are not inside."""
    big = 0xFFFF_FFFF
    async with gpu_rig() as rig:
        address = rig.pages(bytes(SIZE))
        for kind in (0, 2, 3, 4, big):
            assert await make_blob(rig, 1, SIZE, [(address, SIZE)], kind) == PARAMETER
        assert await make_blob(rig, 1, 0, [(address, SIZE)]) == PARAMETER
        assert await make_blob(rig, 1, SIZE, [(1 << 60, SIZE)]) == PARAMETER
        assert len(rig.model.resources) == 0
        assert await make_blob(rig, 1, SIZE, [(address, SIZE)]) == OK
        assert await show_blob(rig, 1, 0) == PARAMETER
        assert await show_blob(rig, 1, place=(0, 0, 0, 0)) == PARAMETER
        assert await show_blob(rig, 1, place=(1, 0, WIDTH, HEIGHT)) == PARAMETER
        for image in ((WIDTH, HEIGHT + 1), (big, big), (WIDTH + 1, HEIGHT)):
            assert await show_blob(rig, 1, image=image) == PARAMETER
        assert await rig.scan_out(1, WHOLE) == PARAMETER
        await rig.draw(2, 8, 8, bytes(256))
        assert await show_blob(rig, 2) == PARAMETER
        assert rig.model.scanouts[0].picture is None
        # A blob may say that it is larger than any memory: it is only a name.
        assert await make_blob(rig, 3, 2**64 - 1, [(address, SIZE)]) == OK
        more = (WIDTH, HEIGHT + 1)
        assert await show_blob(rig, 3, image=more, place=(0, 0, *more)) == PARAMETER
        huge = (16384, 16384)
        assert await show_blob(rig, 3, place=(0, 0, *huge), image=huge, stride=65536) == (
            Response.VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY
        )
        assert not rig.needs_reset


async def test_a_blob_whose_memory_is_swapped_out() -> None:
    """It is shown as it was; with memory again, as it is."""
    first, second = reference(12), reference(13)
    async with gpu_rig() as rig:
        assert await make_blob(rig, 1, SIZE, []) == OK
        assert await show_blob(rig, 1) == OK
        assert rig.picture() == opaque(bytes(SIZE))
        assert await rig.attach(1, [(rig.pages(first), SIZE)]) == OK
        assert await rig.flush(1, WHOLE) == OK
        assert await rig.detach(1) == OK
        assert await rig.flush(1, WHOLE) == OK
        assert rig.picture() == first
        assert await rig.attach(1, [(rig.pages(second), SIZE)]) == OK
        assert await rig.flush(1, WHOLE) == OK
        assert rig.picture() == second


# -- Cursors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 65), (1, 1), (128, 32)])
async def test_cursors_of_wrong_sizes(width: int, height: int) -> None:
    """They are refused, and the cursor stays."""
    async with gpu_rig() as rig:
        await rig.draw(1, width, height, bytes(width * height * 4))
        assert (await rig.point(UPDATE, 3, 4, 1)).response == PARAMETER
        assert rig.model.scanouts[0].cursor.image == b""
        got = (await rig.point(UPDATE, 3, 4, 9)).response
        assert got == Response.VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
        assert rig.broken == ["gpu-cursor-size"]


@pytest.mark.parametrize("room", [0, ANSWER])
async def test_a_cursor(room: int) -> None:
    """Linux leaves no room for the answers. The image stays when the resource goes."""
    image = Random(14).randbytes(CURSOR_SIDE**2 * 4)  # noqa: S311 - any bytes will do
    async with gpu_rig() as rig:
        await rig.draw(5, CURSOR_SIDE, CURSOR_SIDE, image)
        for command, x, y, number in ((UPDATE, 10, 20, 5), (MOVE, -7, 21, 0)):
            request = spec.CTRL_HDR.pack(command, 0, 0, 0, 0) + spec.UPDATE_CURSOR.pack(
                0, x, y, number, 1, 2
            )
            written, _ = await rig.raw(request, queue=1, room=room)
            assert written == (spec.CTRL_HDR.size if room else 0)
            cursor = rig.model.scanouts[0].cursor
            assert (cursor.x, cursor.y, cursor.hot_x, cursor.hot_y) == (x, y, 1, 2)
        assert await rig.unref(5) == OK
        # The format of the resource has no alpha: it is opaque.
        assert rig.model.scanouts[0].cursor.image == opaque(image)
        assert (await rig.point(UPDATE, 0, 0, 0)).response == OK
        assert rig.model.scanouts[0].cursor.image == b""


@pytest.mark.parametrize(
    ("x", "y", "seen"),
    [
        (0, 0, 64 * 48),
        (60, 40, 4 * 8),
        (-63, -63, 1),
        (-64, 0, 0),
        (64, 0, 0),
        (0, 48, 0),
        (2**31 - 1, 2**31 - 1, 0),
        (-(2**31), -(2**31), 0),
    ],
)
async def test_a_cursor_in_a_screenshot(x: int, y: int, seen: int) -> None:
    """What is inside of the picture is drawn."""
    white = b"\xff" * CURSOR_SIDE**2 * 4
    async with gpu_rig() as rig:
        await rig.draw(5, CURSOR_SIDE, CURSOR_SIDE, white)
        assert (await rig.point(UPDATE, x, y, 5)).response == OK
        black = opaque(bytes(64 * 48 * 4))
        drawn = b"".join(draw_cursor(black, 64, 48, rig.model.scanouts[0].cursor))
        cursor = rig.model.scanouts[0].cursor
        png = encode_png(draw_cursor(black, 64, 48, cursor), 64, 48)
    assert len(drawn) == len(black)
    with Image.open(BytesIO(png)) as image:
        assert opaque(image.convert("RGBA").tobytes("raw", "BGRA")) == drawn
    assert sum(drawn[start : start + 4] == b"\xff" * 4 for start in range(0, len(drawn), 4)) == seen


async def test_a_cursor_that_is_a_blob() -> None:
    """As Linux has it where blobs are offered: blue, green, red, alpha, in pieces anywhere."""
    image = bytes(range(256)) * 64
    async with gpu_rig() as rig:
        head, tail = rig.pages(image[:5000]), rig.pages(image[5000:])
        pieces = [(head, 5000), (tail, len(image) - 5000)]
        assert await make_blob(rig, 1, len(image), pieces) == OK
        assert await make_blob(rig, 2, 4096, [(head, 4096)]) == OK
        assert (await rig.point(UPDATE, 3, 4, 2)).response == PARAMETER
        assert rig.model.scanouts[0].cursor.image == b""
        assert (await rig.point(UPDATE, 3, 4, 1)).response == OK
        assert rig.model.scanouts[0].cursor.image == image


async def test_guest_memory_is_let_go_of_while_the_control_queue_is_stopped() -> None:
    """And found again when it is started: where it was, or not at all in a smaller one."""
    async with gpu_rig() as rig:
        address = rig.pages(bytes(SIZE))
        assert await make_blob(rig, 1, SIZE, [(address, SIZE)]) == OK
        resources = rig.model.resources
        resource = resources.find(1)

        resources.suspend()
        assert resource.backing is None
        resources.resume(rig.memory)
        assert resource.backing is not None
        assert resource.backing.size == SIZE

        resources.suspend()
        with Ram(1 << 16, address=1 << 40) as other:
            resources.resume(other.guest_memory)
        assert (resource.backing, resource.entries) == (None, 0)
