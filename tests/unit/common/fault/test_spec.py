"""Faults in words and as messages."""

from __future__ import annotations

import re

import pytest

from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.errors import BadValue
from virtmesh_common.fault.message import decode_spec, encode_spec
from virtmesh_common.fault.spec import TEXT_MAX, FaultSpec, parse_fault
from virtmesh_common.fault.words import KINDS

FULL = (
    "io-error type=read,write sectors=16-31 queue=1 after=4 every=3 probability=0.25 limit=2 seed=7"
)


def test_words_become_a_fault_and_words_again() -> None:
    """All of them; what is at its default is left out."""
    spec = parse_fault(FULL)
    assert spec == FaultSpec("io-error", ("read", "write"), (16, 31), 1, 4, 3, 0.25, 2, seed=7)
    assert str(spec) == FULL
    for text in (
        "io-error probability=0.123456789",
        "io-error probability=1e-09",
        "delay delay=1500us",
        "delay delay=0s-2s",
    ):
        assert str(parse_fault(text)) == text
    assert str(parse_fault("io-error  every=1 sectors=0x10")) == "io-error sectors=16"


def test_a_message_holds_all_of_a_fault() -> None:
    """There and back."""
    for text in (
        FULL,
        "io-error",
        "delay type=read delay=1ms-20ms",
        "delay delay=exp:5ms",
        "hang type=flush",
        "torn-write delay=1500us bytes=1024",
        "corrupt-write bytes=0",
    ):
        assert decode_spec(encode_spec(parse_fault(text))) == parse_fault(text)


def test_an_empty_message_has_the_defaults() -> None:
    """As a client of another language sends it."""
    message = pb.Spec(kind=pb.FAULT_KIND_IO_ERROR)
    assert decode_spec(message) == FaultSpec("io-error")


def test_the_kinds_are_those_of_the_contract() -> None:
    """By number."""
    known = {
        name.removeprefix("FAULT_KIND_").lower().replace("_", "-"): number
        for name, number in pb.FaultKind.items()
        if number
    }
    assert known == KINDS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is no fault: choose among io-error"),
        ("io-eror", "'io-eror' is no fault"),
        ("io-error every", "'every': write KEY=VALUE"),
        ("io-error colour=red", "'colour=red': write KEY=VALUE"),
        ("io-error every=0", "every: 0 is not from 1 to"),
        ("io-error limit=0", "limit: 0 is not from 1 to"),
        ("io-error every=1 every=2", "every is there twice"),
        ("io-error after=-1", "after: '-1' is no number"),
        ("io-error after=99999999999999999999", "after: 99999999999999999999 is not from 0"),
        ("io-error sectors=9-8", "sectors: 9-8: the last is before the first"),
        ("io-error queue=64", "queue: 64 is not from 0 to 63"),
        ("io-error type=fsync", "type: 'fsync' is no type: choose among read"),
        ("delay", "delay needs delay=..."),
        ("delay delay=5", "delay: '5' is no time: write 20us, 1.5ms or 2s"),
        ("delay delay=0us", "delay: a delay is above 0, and at most 10 minutes"),
        ("delay delay=601s", "delay: a delay is above 0, and at most 10 minutes"),
        ("delay delay=5ms-1ms", "delay: the longest delay is below the shortest"),
        ("hang delay=5ms", "hang has no delay: leave it out"),
        ("hang bytes=5", "hang has no bytes: leave it out"),
        ("torn-write type=write", "torn-write has no type: leave it out"),
        ("io-error probability=0", "probability: 0 is not above 0"),
        ("io-error probability=1.5", "probability: 1.5 is not above 0"),
        ("io-error probability=nan", "probability: 'nan' is no probability"),
        ("io-error probability=1.2.3", "probability: '1.2.3' is no probability"),
        (" " * (TEXT_MAX + 1), "at most 1024 characters"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    """With the words that were meant."""
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_fault(text)


@pytest.mark.parametrize(
    "message",
    [
        pb.Spec(),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, request_types=[31]),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, queue=64),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, sectors=pb.SectorRange(first=2, last=1)),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, probability=0.0),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, probability=float("nan")),
        pb.Spec(kind=pb.FAULT_KIND_IO_ERROR, probability=float("inf")),
        pb.Spec(kind=pb.FAULT_KIND_DELAY),
        pb.Spec(kind=pb.FAULT_KIND_DELAY, delay=pb.Delay()),
        pb.Spec(kind=pb.FAULT_KIND_DELAY, delay=pb.Delay(high_us=1, mean_us=1)),
        pb.Spec(kind=pb.FAULT_KIND_DELAY, delay=pb.Delay(mean_us=1 << 63)),
        pb.Spec(kind=pb.FAULT_KIND_HANG, bytes=1),
    ],
    ids=[
        *("no kind", "type", "queue", "sectors", "probability 0", "nan", "inf"),
        *("no delay", "no time", "two delays", "a long delay", "bytes"),
    ],
)
def test_an_impossible_message_is_refused(message: pb.Spec) -> None:
    """Nothing of it reaches the device."""
    with pytest.raises(BadValue):
        decode_spec(message)


def test_a_kind_of_a_newer_service_is_refused() -> None:
    """Its number is no kind here."""
    with pytest.raises(BadValue, match="126 is no kind of fault"):
        decode_spec(pb.Spec(kind=pb.FaultKind.ValueType(126)))
