"""The machine file of devices that are given on the command line of `virtmesh up`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from types import MappingProxyType
from typing import TYPE_CHECKING

from virtmesh import machine as machine_file
from virtmesh.kinds import DeviceKind, find_kind
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NAME_KEY = "name="
"""Begins what names a device on a command line."""
NAME_MAX = 31
"""Longest name of a device, in characters."""
PLACE_KEYS = ("slot", "address", "interrupt")
"""Options of any device on a command line that say where it is: numbers."""
WATCHDOG_KEY = "watchdog"
"""The option of any device that says what is done when it does not answer."""
TOML_SUFFIX = ".toml"
"""Ends what is the path of a file, and not the name of something built in."""


@dataclass(frozen=True)
class Shorthand:
    """An option of `virtmesh up` for one kind: [VALUE,]OPTION=VALUE,... instead of KIND,..."""

    kind: str
    name: Callable[[str, int], str]
    """Makes the name of a device from its VALUE and from how many of the shorthand came before."""
    value_option: str = ""
    """The option of the kind that takes VALUE; empty for a shorthand without one."""
    flags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Shorter names of flags of the kind."""

    def split(self, text: str) -> tuple[str, list[str]]:
        """Split what is given into VALUE and options."""
        if not self.value_option:
            return "", text.split(",") if text else []
        value, *options = text.split(",")
        return value, options


def _disk_name(_image: str, index: int) -> str:
    """Name a disk as Linux does: vda, vdb, ..., vdz, vdaa, ..."""
    letters = ""
    while index >= 0:
        index, letter = divmod(index, len(ascii_lowercase))
        letters, index = ascii_lowercase[letter] + letters, index - 1
    return f"vd{letters}"


def _input_name(personality: str, _index: int) -> str:
    """Name an input device after its personality, or after the file that describes it."""
    if not personality.endswith(TOML_SUFFIX):
        return personality
    name = re.sub("[^a-z0-9]+", "-", Path(personality).stem.lower()).strip("-")
    return name[:NAME_MAX].rstrip("-") if name[:1].isalpha() else f"input-{name}"[:NAME_MAX]


# People type these three kinds all the time, so `up` has an option for each, and names their
# devices as people call them. Any kind can be given with --device: a new one needs no row here.
DISK = Shorthand("blk", _disk_name, "image", MappingProxyType({"ro": "read-only"}))
"""`--disk IMAGE[,size=64M][,ro]`."""
INPUT = Shorthand("input", _input_name, "personality")
"""`--input PERSONALITY`."""
SERIAL = Shorthand("uart", lambda _value, _index: "serial")
"""`--serial [OPTION=VALUE,...]`."""
SHORTHANDS = {one.kind: one for one in (DISK, INPUT, SERIAL)}
"""All of them, by kind."""


def quick_machine(  # noqa: PLR0913 - each is an option of `virtmesh up`
    name: str,
    disks: Sequence[str],
    inputs: Sequence[str] = (),
    serial: str | None = None,
    *,
    devices: Sequence[str] = (),
    vhost_user: bool = False,
    settings: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> str:
    """Return the machine file for devices given on a command line.

    A disk is IMAGE[,size=64M][,ro][,OPTION=VALUE], an input device PERSONALITY[,OPTION=VALUE], a
    serial port [pace][,OPTION=VALUE] (None for no port), any other device
    KIND[,name=NAME][,OPTION=VALUE]. Options slot, address and interrupt say where it is, watchdog
    what is done when it does not answer. With `vhost_user`, virtio devices are left to guests.
    `settings` are lines of the top of the file, `tables` those of tables beside the devices'.
    Errors: BadMachine.
    """
    lines = [f"name = {quote(name)}", *settings, *tables]
    others = [_split(text) for text in devices]
    on_slots = len(disks) + len(inputs) + sum(kind.platform is None for kind, *_ in others)
    if on_slots > machine_file.SLOTS:
        raise BadMachine(f"{on_slots} devices: the machine has {machine_file.SLOTS} slots")
    names = _Names()
    serials = () if serial is None else (serial,)
    for shorthand, texts in ((DISK, disks), (INPUT, inputs), (SERIAL, serials)):
        for index, text in enumerate(texts):
            kind = find_kind(shorthand.kind)
            value, options = shorthand.split(text)
            device_name = names.take(shorthand.name(value, index))
            placed, options = _split_places(text, options)
            lines += _table(device_name, kind, placed, vhost_user=vhost_user)
            if shorthand.value_option:
                lines += [_setting(shorthand.value_option, value, kind)]
            lines += _options(text, options, kind)
    for text, (kind, given, rest) in zip(devices, others, strict=True):
        placed, options = _split_places(text, rest)
        lines += _table(given or names.take(kind.name), kind, placed, vhost_user=vhost_user)
        lines += _options(text, options, kind)
    return "\n".join(lines) + "\n"


class _Names:
    """Names for devices: the second of a name gets a number."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def take(self, name: str) -> str:
        """Return a name that is free."""
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}-{self._used[name]}"


def _split(text: str) -> tuple[DeviceKind, str, list[str]]:
    """Split KIND[,name=NAME][,OPTION=VALUE] into kind, name and options. Errors: BadMachine."""
    kind, *options = text.split(",")
    names = [option for option in options if option.startswith(NAME_KEY)]
    if len(names) > 1:
        raise BadMachine(f"{text}: it has {len(names)} names: give it one")
    name = names[0].removeprefix(NAME_KEY) if names else ""
    return find_kind(kind), name, [option for option in options if option not in names]


def _split_places(text: str, options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split options into lines of the device's own table, and others. Errors: BadMachine."""
    placed, others = [], []
    for option in options:
        key, _, value = option.partition("=")
        if key == WATCHDOG_KEY and value:
            placed.append(f"{key} = {quote(value)}")
        elif key not in PLACE_KEYS:
            others.append(option)
        elif re.fullmatch("0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,18}", value):
            placed.append(f"{key} = {value}")
        else:
            raise BadMachine(f"{text}: {key} must be a number, such as {key}=1")
    return placed, others


def _table(name: str, kind: DeviceKind, placed: Sequence[str], *, vhost_user: bool) -> list[str]:
    """Return the head of a device's table. Only virtio devices can be left to guests."""
    left = vhost_user and kind.platform is None
    return [
        "[[devices]]",
        f"name = {quote(name)}",
        f"kind = {quote(kind.name)}",
        *placed,
        f"vhost-user = {str(left).lower()}",
        "[devices.options]",
    ]


def _options(text: str, options: Sequence[str], kind: DeviceKind) -> Iterator[str]:
    """Return the lines of the options of a device. Errors: BadMachine."""
    flags = flags_of(kind)
    for option in options:
        key, equals, value = option.partition("=")
        if key in flags and not equals:
            yield f"{flags[key]} = true"
        elif equals and key and value:
            yield _setting(key, value, kind)
        else:
            words = " or ".join([*flags, "OPTION=VALUE"])
            raise BadMachine(f"{text}: {option!r} makes no sense: write {words}")


def flags_of(kind: DeviceKind) -> Mapping[str, str]:
    """Return the options of a kind that need no value, by each of their names."""
    shorthand = SHORTHANDS.get(kind.name)
    return dict(shorthand.flags if shorthand else {}) | {
        name: name
        for option in kind.options
        if option.is_flag
        for name in (long.removeprefix("--") for long in option.opts)
    }


def _setting(key: str, value: str, kind: DeviceKind) -> str:
    """Return the line of an option with its value. A path is where it was typed."""
    is_path = key in kind.path_options
    is_path |= key in kind.name_or_path_options and value.endswith(TOML_SUFFIX)
    return f"{quote(key)} = {quote(str(Path(value).absolute()) if is_path else value)}"


def quote(text: str) -> str:
    """Quote a string for TOML. Errors: BadMachine for control characters."""
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
        raise BadMachine(f"{text!r} holds control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
