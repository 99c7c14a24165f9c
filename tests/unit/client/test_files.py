"""Sources and targets of copies: exact, sparse, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh_client.atomic_file import new_file
from virtmesh_client.blk.transfer import account
from virtmesh_client.streams import file_pieces, pieces, remaining
from virtmesh_common.errors import DeviceLost
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES
from virtmesh_common.sparse import HOLE_BYTES, data_runs


class Broken(Exception):
    """What a test raises in the middle of a copy."""


def break_off(target: Path, *, overwrite: bool) -> None:
    """Begin a copy and fail."""
    with new_file(target, overwrite=overwrite) as file:
        file.write(b"half")
        raise Broken


def test_a_new_file_leaves_runs_of_zeroes_out(tmp_path: Path) -> None:
    """Zeroes read back as zeroes and take no storage."""
    target = tmp_path / "disk.img"
    content = b"x" * HOLE_BYTES + bytes(4 << 20) + b"y" * 10 + bytes(1 << 20)
    with new_file(target, overwrite=False) as file:
        for part in pieces(content):
            file.write(part)
    assert target.read_bytes() == content
    assert target.stat().st_blocks * 512 < 1 << 20


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * HOLE_BYTES)), max_size=6))
def test_the_runs_of_data_cover_all_that_is_not_zero(shape: list[tuple[bool, int]]) -> None:
    """Whatever lies between the runs is zero; runs are in order and never touch."""
    data = b"".join((b"\x01" if full else b"\x00") * size for full, size in shape)
    rebuilt = bytearray(len(data))
    last = -1
    for start, end in data_runs(data):
        assert last < start < end <= len(data)
        rebuilt[start:end] = data[start:end]
        last = end
    assert bytes(rebuilt) == data


def test_a_copy_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Neither the final name nor a temporary one."""
    with pytest.raises(Broken):
        break_off(tmp_path / "disk.img", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_leaves_the_file_it_would_have_replaced(tmp_path: Path) -> None:
    """The old file stays until the new one is complete."""
    target = tmp_path / "disk.img"
    target.write_bytes(b"old")
    with pytest.raises(Broken):
        break_off(target, overwrite=True)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    """It is refused before anything is copied."""
    target = tmp_path / "disk.img"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError), new_file(target, overwrite=False):
        pytest.fail("the body must not run")
    assert target.read_bytes() == b"old"


def test_a_file_that_appears_during_the_copy_stays(tmp_path: Path) -> None:
    """The check at the beginning is not the one that counts."""
    target = tmp_path / "disk.img"
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(FileExistsError))
        stack.enter_context(new_file(target, overwrite=False)).write(b"new")
        target.write_bytes(b"meanwhile")
    assert target.read_bytes() == b"meanwhile"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_of_any_length_and_script_is_a_target(tmp_path: Path) -> None:
    """As long as the file system takes it: 255 bytes."""
    target = tmp_path / ("\N{SNOWMAN}" * 85)
    with new_file(target, overwrite=False) as file:
        file.write(b"x")
    assert target.read_bytes() == b"x"


def test_a_folder_that_is_missing_is_told_with_the_name_of_the_target(tmp_path: Path) -> None:
    """Not with that of the temporary file."""
    target = tmp_path / "none" / "disk.img"
    with (
        pytest.raises(FileNotFoundError) as caught,
        new_file(target, overwrite=False),
    ):
        pytest.fail("the body must not run")
    assert caught.value.filename == str(target)


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    """Not even with overwrite."""
    with pytest.raises(IsADirectoryError), new_file(tmp_path, overwrite=True):
        pytest.fail("the body must not run")


def test_a_device_node_is_no_target() -> None:
    """It is never replaced by a file."""
    with (
        pytest.raises(OSError, match="not a regular file"),
        new_file(Path("/dev/null"), overwrite=True),
    ):
        pytest.fail("the body must not run")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_of_any_kind_is_cut_into_messages(kind: type) -> None:
    """No piece is larger than a message, and none is lost."""
    content = os.urandom(CHUNK_LIMIT_BYTES * 2 + 5)
    parts = list(pieces(kind(content)))
    assert [len(part) for part in parts] == [CHUNK_LIMIT_BYTES, CHUNK_LIMIT_BYTES, 5]
    assert b"".join(parts) == content


def test_an_iterable_keeps_its_order() -> None:
    """Small pieces go as they come; empty ones are dropped."""
    assert list(pieces([b"a", b"", memoryview(b"bc")])) == [b"a", b"bc"]


def test_a_file_that_became_shorter_is_an_error() -> None:
    """A source truncated during the copy is not taken for a complete one."""
    with pytest.raises(OSError, match="ended 7 bytes early: was it truncated"):
        list(file_pieces(io.BytesIO(b"abc"), 10))


def test_only_what_was_announced_of_a_growing_file_is_copied() -> None:
    """The size checked against the disk is the size copied."""
    assert b"".join(file_pieces(io.BytesIO(b"abcdef"), 4)) == b"abcd"


def test_the_rest_of_a_regular_file_is_known(tmp_path: Path) -> None:
    """It counts from where the file stands, and leaves it there."""
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    with path.open("rb", buffering=0) as file:
        file.seek(4)
        assert remaining(file) == 6
        assert file.tell() == 4


def test_the_size_of_a_pipe_is_not_known() -> None:
    """Such a source is copied to its end."""
    left, right = os.pipe()
    os.close(right)
    with open(left, "rb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
        assert remaining(pipe) is None


def test_a_failed_write_says_what_is_written_and_what_is_not() -> None:
    """For programs in the metadata, for people in a note."""
    error = DeviceLost("vda went away")
    account(error, "written", 4096, 65536, 512)
    assert error.metadata == {
        "written_bytes": "4096",
        "length_bytes": "65536",
        "offset_bytes": "512",
    }
    assert error.__notes__ == [
        (
            "4096 of 65536 bytes are written, from offset 512 on;"
            " what follows them may be written in part"
        )
    ]
