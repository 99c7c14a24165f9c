"""The plan of a soak: what is done to whom, and when. The seed and the length decide all of it."""

from __future__ import annotations

import random
from dataclasses import dataclass

ROUND_SECONDS = 20.0
"""Of disturbances; then everybody rests, and the books are balanced."""
EPOCH_ROUNDS = 4
"""For so many rounds some processes are spared, so that their memory can be judged."""
GAP_SECONDS = (0.4, 2.5)
"""Between two events."""
DISKS = ("vda", "vdb")
INPUTS = ("keyboard", "mouse", "tablet")
DEVICES = (*DISKS, *INPUTS, "serial", "gpu")
"""The devices of the machine. The kernel service is the eighth service."""
KERNEL_ROUNDS = 6
"""In one of so many rounds the kernel service is ended."""
STOP_PART = 0.08
"""Part of the endings that are stops: the watchdog takes ten seconds to end one."""

LATE = ("late-interrupt delay=1ms-20ms probability=0.2", "double-interrupt probability=0.2")
VIRTIO_FAULTS = (
    *LATE,
    "spurious-interrupt delay=20ms limit=50",
    "config-change delay=10ms limit=100",
    "needs-reset limit=1",
    "wrong-length limit=1",
    "wrong-id limit=1",
    "lost-interrupt limit=1",
    "lost-notification limit=1",
    "stuck-queue limit=1",
)
FAULTS = {
    "blk": (
        *VIRTIO_FAULTS,
        "io-error type=read probability=0.05",
        "io-error type=write every=7",
        "io-error type=flush limit=3",
        "io-error type=discard,write-zeroes probability=0.3",
        "delay delay=1ms-30ms probability=0.3",
        "delay type=flush delay=exp:20ms",
        "hang type=write limit=2",
        "hang type=read limit=1",
    ),
    "input": (
        *VIRTIO_FAULTS,
        "dropped-packet probability=0.1",
        "doubled-packet probability=0.1",
        "swapped-packet probability=0.1",
    ),
    "uart": (
        "overrun probability=0.01",
        "parity-error probability=0.01",
        "framing-error probability=0.01",
        "break limit=2",
        "noise probability=0.0002",
    ),
    "gpu": (*VIRTIO_FAULTS, "stuck-display probability=0.5"),
}
"""Faults from which driver and clients recover, or that are reported exactly, by kind of device.

Torn and corrupted writes are left out: nobody can know of them."""


@dataclass(frozen=True)
class Event:
    """One thing that is done."""

    number: int
    """From 1 on."""
    round: int
    """From 0 on."""
    at: float
    """Seconds since the begin of the round."""
    action: str
    """`kill`, `fault-kill`, `stop`, `fault-stop`, `restart`, `reset` or `fault`."""
    device: str
    words: str = ""
    """The fault, with its seed."""
    lasts: float = 0.0
    """Seconds until a fault is taken back."""

    def __str__(self) -> str:
        words = f" {self.words} for {self.lasts:.1f} s" if self.words else ""
        return f"#{self.number} {self.action} {self.device}{words}"


def kind_of(device: str) -> str:
    """Return the kind of a device."""
    if device in DISKS:
        return "blk"
    return {"serial": "uart", "gpu": "gpu"}.get(device, "input")


def rounds_of(seconds: float) -> int:
    """Return how many rounds fit into a time, their rests included; one at least."""
    return max(1, round(seconds / (ROUND_SECONDS + 4.0)))


def make_plan(seed: int, rounds: int, seconds: float = ROUND_SECONDS) -> list[Event]:
    """Return the events of all rounds but the last, which is left in peace."""
    chance = random.Random(seed)  # noqa: S311 - reproducible
    events: list[Event] = []
    spared: frozenset[str] = frozenset()
    for number in range(max(1, rounds - 1)):
        if number % EPOCH_ROUNDS == 0:
            spared = frozenset(chance.sample(DEVICES, len(DEVICES) // 2))
        with_kernel = chance.randrange(KERNEL_ROUNDS) == 0 or number == 1
        kernel_at = chance.uniform(0.1, 0.8) * seconds if with_kernel else float("inf")
        at = chance.uniform(*GAP_SECONDS)
        while at < seconds - 1.0:
            device = "kernel" if at >= kernel_at else chance.choice(DEVICES)
            if device == "kernel":
                kernel_at = float("inf")
            action, words, lasts = choose(chance, device, is_spared=device in spared)
            events.append(Event(len(events) + 1, number, at, action, device, words, lasts))
            at += chance.uniform(*GAP_SECONDS)
    return events


def choose(chance: random.Random, device: str, *, is_spared: bool) -> tuple[str, str, float]:
    """Choose what is done to a device: action, words of a fault, how long the fault lasts."""
    if device != "kernel" and (is_spared or chance.random() < 0.6):
        if chance.random() < 0.1 and device != "serial":
            return "reset", "", 0.0
        words = f"{chance.choice(FAULTS[kind_of(device)])} seed={chance.randrange(1, 1 << 32)}"
        return "fault", words, chance.uniform(0.5, 3.0)
    if chance.random() < STOP_PART:
        return chance.choice(("stop", "stop" if device == "kernel" else "fault-stop")), "", 0.0
    ways = ("kill", "restart") if device == "kernel" else ("kill", "kill", "fault-kill", "restart")
    return chance.choice(ways), "", 0.0
