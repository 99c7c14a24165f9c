"""What a driver does to a device, step by step, and how that is spelled as text.

| line | step |
|---|---|
| `ram ADDRESS SIZE` | the memory that the driver hands over; the first line |
| `read OFFSET WIDTH` | a register is read |
| `write OFFSET WIDTH VALUE` | a register is written |
| `notify QUEUE` | a queue is notified by its eventfd |
| `memory ADDRESS BYTES` | guest memory is written |
| `race ADDRESS BYTES BYTES` | from here on a thread writes one or the other, without a pause |
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RegisterRead:
    """Read a register: offset and width in bytes."""

    offset: int
    width: int

    def __str__(self) -> str:
        return f"read {self.offset:#x} {self.width}"


@dataclass(frozen=True)
class RegisterWrite:
    """Write a register: offset and width in bytes."""

    offset: int
    width: int
    value: int

    def __str__(self) -> str:
        return f"write {self.offset:#x} {self.width} {self.value:#x}"


@dataclass(frozen=True)
class Notify:
    """Notify a queue."""

    queue: int

    def __str__(self) -> str:
        return f"notify {self.queue}"


@dataclass(frozen=True)
class Memory:
    """Write bytes at a guest address."""

    address: int
    data: bytes

    def __str__(self) -> str:
        return f"memory {self.address:#x} {self.data.hex()}"


@dataclass(frozen=True)
class Race:
    """Keep writing one or the other at a guest address, while the device works."""

    address: int
    first: bytes
    second: bytes

    def __str__(self) -> str:
        return f"race {self.address:#x} {self.first.hex()} {self.second.hex()}"


Step = RegisterRead | RegisterWrite | Notify | Memory | Race


@dataclass(frozen=True)
class Dialogue:
    """Steps, and the guest memory that they are about: its address, and its size in bytes."""

    ram_address: int
    ram_bytes: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        head = f"ram {self.ram_address:#x} {self.ram_bytes:#x}"
        return "\n".join([head, *map(str, self.steps)])


def parse_dialogue(text: str) -> Dialogue:
    """Parse what `str` makes of a dialogue. Errors: ValueError, naming the line."""
    ram: tuple[int, int] | None = None
    steps: list[Step] = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        match line.split():
            case ["ram", address, size] if ram is None:
                ram = int(address, 0), int(size, 0)
            case ["read", offset, width]:
                steps.append(RegisterRead(int(offset, 0), int(width, 0)))
            case ["write", offset, width, value]:
                steps.append(RegisterWrite(int(offset, 0), int(width, 0), int(value, 0)))
            case ["notify", queue]:
                steps.append(Notify(int(queue, 0)))
            case ["memory", address, data]:
                steps.append(Memory(int(address, 0), bytes.fromhex(data)))
            case ["race", address, first, second]:
                pair = bytes.fromhex(first), bytes.fromhex(second)
                steps.append(Race(int(address, 0), *pair))
            case _:
                raise ValueError(f"line {number} is no step of a dialogue: {line!r}")
    if ram is None:
        raise ValueError("a dialogue begins with its memory: ram ADDRESS SIZE")
    return Dialogue(*ram, tuple(steps))
