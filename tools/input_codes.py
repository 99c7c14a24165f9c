"""Write common/virtmesh_common/evdev.py from the kernel's own headers, or check that it agrees.

Usage: python tools/input_codes.py [--check] [--headers FOLDER]

The headers are those of linux-libc-dev: input-event-codes.h and input.h, and version.h for the
version. Numbers are never changed or taken back there, new names only come. So the check demands
that a newer kernel still has everything that was committed, the same one exactly that; an older
kernel proves nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "common" / "virtmesh_common" / "evdev.py"
HEADERS = Path("/usr/include/linux")

DEFINE = re.compile(r"^#define[ \t]+([A-Z][A-Z0-9_]*)[ \t]+(\w+)", re.MULTILINE)
CONSTANT = re.compile(r'^ +"(\w+)": (\d+),$', re.MULTILINE)
VERSION = re.compile(r"^KERNEL = \((\d+), (\d+)\)$", re.MULTILINE)

TYPES = {
    "EV_SYN": ("SYN",),
    "EV_KEY": ("KEY", "BTN"),
    "EV_REL": ("REL",),
    "EV_ABS": ("ABS",),
    "EV_MSC": ("MSC",),
    "EV_SW": ("SW",),
    "EV_LED": ("LED",),
    "EV_SND": ("SND",),
    "EV_REP": ("REP",),
}
"""Event types whose codes have names, with the prefixes of those."""
OTHERS = {
    "TYPES": ("EV", "Event types, and the largest number that one can have."),
    "PROPERTIES": ("INPUT_PROP", "Properties of devices."),
    "BUSES": ("BUS", "Bus types of devices."),
    "TOOLS": ("MT_TOOL", "Values of ABS_MT_TOOL_TYPE."),
}
"""The other tables: name, prefix of the constants, docstring."""

HEAD = '''"""Names of input events: types, codes and properties, as Linux' evdev has them.

Written by tools/input_codes.py from include/uapi/linux/input-event-codes.h and input.h; not edited
by hand. Where a number has several names, the preferred one comes last.
"""

from __future__ import annotations

KERNEL = ({major}, {minor})
"""Version of the kernel whose headers these are."""

'''

TAIL = '''
_TYPE_NAMES = {number: name for name, number in TYPES.items() if name != "EV_MAX"}
_NAMES = {
    (TYPES[kind], code): name for kind, codes in CODES.items() for name, code in codes.items()
}
_NUMBERS = {
    name: (TYPES[kind], code) for kind, codes in CODES.items() for name, code in codes.items()
}


def type_name(number: int) -> str:
    """Name an event type: "EV_KEY"; one that has no name is spelt as a number."""
    return _TYPE_NAMES.get(number, f"{number:#x}")


def name_of(kind: int, code: int) -> str:
    """Name an event code by its preferred name: "BTN_LEFT"; one that has none as a number."""
    return _NAMES.get((kind, code), f"{code:#x}")


def code_of(name: str) -> tuple[int, int]:
    """Return the type and the code of a name such as "KEY_A". Errors: KeyError for no such name."""
    return _NUMBERS[name]
'''


def read_headers(folder: Path) -> dict[str, int]:
    """Return every constant of the two headers, aliases before what they stand for."""
    plain: dict[str, int] = {}
    aliases: dict[str, int] = {}
    for header in ("input-event-codes.h", "input.h"):
        for name, value in DEFINE.findall((folder / header).read_text()):
            if value[0].isdigit():
                plain[name] = int(value, 0)
            elif value in plain:
                aliases[name] = plain[value]
    return {**aliases, **plain}


def read_version(folder: Path) -> tuple[int, int]:
    """Return the version of the headers."""
    text = (folder / "version.h").read_text()
    found = re.search(r"LINUX_VERSION_CODE\s+(\d+)", text)
    if found is None:
        raise SystemExit(f"{folder / 'version.h'} has no LINUX_VERSION_CODE")
    code = int(found[1])
    return code >> 16, code >> 8 & 0xFF


def select(constants: dict[str, int], *prefixes: str) -> dict[str, int]:
    """Return the constants with one of the prefixes, by number; limits such as KEY_MAX are none."""
    limits = {f"{prefix}_{end}" for prefix in prefixes for end in ("MAX", "CNT")}
    found = {
        name: number
        for name, number in constants.items()
        if name not in limits and name.startswith(tuple(f"{prefix}_" for prefix in prefixes))
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def render(constants: dict[str, int], version: tuple[int, int]) -> str:
    """Write the module."""
    parts = [HEAD.format(major=version[0], minor=version[1])]
    for table, (prefix, doc) in OTHERS.items():
        entries = select(constants, prefix)
        if table == "TYPES":
            entries.pop("EV_VERSION", None)  # the version of an interface
            entries["EV_MAX"] = constants["EV_MAX"]  # how far to ask a device for types
        lines = "".join(f'    "{name}": {number},\n' for name, number in entries.items())
        parts.append(f'{table}: dict[str, int] = {{\n{lines}}}\n"""{doc}"""\n\n')
    parts.append("CODES: dict[str, dict[str, int]] = {\n")
    for kind, prefixes in TYPES.items():
        entries = select(constants, *prefixes)
        lines = "".join(f'        "{name}": {number},\n' for name, number in entries.items())
        parts.append(f'    "{kind}": {{\n{lines}    }},\n')
    parts.append('}\n"""Event codes, by the name of their type."""\n')
    return "".join(parts) + TAIL


def check(committed: str, fresh: str) -> list[str]:
    """Say what is wrong with the committed module, given the one of this host's headers."""
    was, now = versions(committed), versions(fresh)
    if now < was:
        print(f"input codes are of Linux {was[0]}.{was[1]}, the headers here of {now[0]}.{now[1]}")
        return []
    if was == now:
        return [] if committed == fresh else ["it is not what the headers of this version give"]
    there = set(CONSTANT.findall(fresh))
    return [
        f"{' '.join(gone)} is not in the headers"
        for gone in CONSTANT.findall(committed)
        if gone not in there
    ]


def versions(text: str) -> tuple[int, int]:
    """Return the version that a module says its headers have."""
    found = VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def main() -> int:
    """Write, or with --check compare and return 1 when the committed module is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--headers", type=Path, default=HEADERS, help=f"default: {HEADERS}")
    options = parser.parse_args()
    if not (options.headers / "input-event-codes.h").is_file():
        print(f"{options.headers}: no kernel headers: install linux-libc-dev", file=sys.stderr)
        return 0 if options.check else 1
    fresh = render(read_headers(options.headers), read_version(options.headers))
    if not options.check:
        TARGET.write_text(fresh)
        return 0
    wrong = check(TARGET.read_text(), fresh)
    for line in wrong:
        print(f"{TARGET.relative_to(ROOT)}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
