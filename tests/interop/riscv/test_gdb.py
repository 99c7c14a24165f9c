"""gdb on Debian's kernel, which has no symbols with it: by address, from the guest's kallsyms."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.riscv.boot import Rig
from tests.support.riscv.debugger import gdb

SYMBOLS = ("version_proc_show", "linux_banner", "linux_proc_banner", "seq_read_iter")
"""What reads /proc/version, the texts that it is made of, and who calls it."""


@pytest.fixture
def addresses(rig: Rig) -> dict[str, int]:
    """Ask the guest where its kernel is."""
    names = "|".join(SYMBOLS)
    rig.guest.run("echo 0 >/proc/sys/kernel/kptr_restrict")
    listed = rig.guest.run(f"grep -E ' ({names})$' /proc/kallsyms")
    return {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}


def test_by_address_in_debians_kernel(rig: Rig, addresses: dict[str, int]) -> None:
    """A breakpoint, kernel memory at virtual addresses, a text changed; the guest goes on."""
    version = rig.guest.run("cat /proc/version")
    told = re.search(r"to debug: (.*)", rig.told)
    assert told is not None
    remote = shlex.split(told[1])[2]
    place = addresses["linux_proc_banner"] + len("%s ")
    with gdb() as debugger:
        debugger.run(remote)
        debugger.run(f"hbreak *{addresses['version_proc_show']:#x}")
        debugger.begin("continue")
        rig.guest.begin("cat /proc/version")
        stopped = debugger.finish()
        registers = debugger.run("info registers pc ra sp satp")
        frames = debugger.run("backtrace")
        banner = debugger.run(f"x/s {addresses['linux_banner']:#x}")
        code = debugger.run("x/2i $pc")
        status = debugger.run("monitor status")
        translated = debugger.run(f"monitor translate {addresses['linux_banner']:#x}")
        debugger.run("stepi")
        after = debugger.run("print/x $pc")
        debugger.run(f"set var *(char *){place:#x} = 'V'")
        debugger.run("delete")
        debugger.begin("continue")
        changed = rig.guest.finish()
        debugger.interrupt()
        debugger.run(f"set var *(char *){place:#x} = 'v'")
        debugger.run("detach")
        debugger.save("gdb-debian.txt")

    caller = int(re.search(r"^ra +0x(\w+)", registers, re.MULTILINE)[1], 16)  # type: ignore[index]
    assert f"Breakpoint 1, {addresses['version_proc_show']:#018x} in ?? ()" in stopped
    assert 0 < caller - addresses["seq_read_iter"] < 0x1000
    assert frames == f"#0  {addresses['version_proc_show']:#018x} in ?? ()\n"
    assert version.strip().partition(" (")[0] in banner
    assert "=> " in code
    assert "supervisor mode" in status
    assert re.fullmatch(r"0xf\w+: 0x8\w+\n", translated)
    assert int(after.split()[-1], 16) - addresses["version_proc_show"] in {2, 4}
    assert changed == version.replace(" version ", " Version ", 1)
    assert rig.guest.run("cat /proc/version") == version
