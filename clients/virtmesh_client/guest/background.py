"""A guest in the background: `start` runs this module as a process of its own, the guest's keeper.

The keeper gets its plan as JSON on standard input, and says in one line of JSON on standard output
that the guest has booted, or why it did not. After that it has neither; its log is standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtmesh_client.channel import KernelChannel
from virtmesh_client.guest.console import GuestConsole
from virtmesh_client.guest.foreground import check
from virtmesh_client.guest.keeper import Keeper
from virtmesh_client.guest.plan import GuestPlan
from virtmesh_client.local.exit_status import spell_exit
from virtmesh_common.errors import BY_REASON, GuestError, VirtmeshError
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

BOOT_SECONDS = 120.0
"""How long a guest may take to boot."""
ANSWER_MAX = 64 << 10
"""Longest answer of a keeper, in bytes."""


def start(plan: GuestPlan, address: str, log: Path) -> None:
    """Start a guest in the background; returns when it has booted.

    The keeper removes the folder of the plan at its end. Errors: of AttachGuest; GuestError when
    the guest does not boot: it is stopped then; KeyboardInterrupt, which stops it too.
    """
    content = asdict(replace(plan, detached=True)) | {"folder": str(plan.folder)}
    with (
        log.open("ab") as errors,
        subprocess.Popen(  # noqa: S603 - this package
            [sys.executable, "-P", "-m", "virtmesh_client.guest.background", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as keeper,
    ):
        assert keeper.stdin is not None  # noqa: S101 - a pipe, as was asked for
        assert keeper.stdout is not None  # noqa: S101
        try:
            keeper.stdin.write(json.dumps(content).encode())
            keeper.stdin.close()
            answer = keeper.stdout.readline(ANSWER_MAX)
        except BaseException:
            keeper.terminate()
            raise
        failed: dict[str, Any] = {"message": f"the keeper of the guest failed: see {log}"}
        said = json.loads(answer) if answer else failed
        if said:
            keeper.wait()
            kind = BY_REASON.get(said.get("reason", ""), GuestError)
            raise kind(said["message"], **said.get("metadata", {}))
        # It goes on, and is not this process's to wait for.
        keeper.returncode = 0


def serve(content: dict[str, Any], address: str, answer: Callable[[dict[str, Any]], None]) -> None:
    """Keep a guest to its end. `answer` is called once. Errors: VirtmeshError."""
    folder = Path(content.pop("folder"))
    plan = GuestPlan(folder=folder, **content)
    try:
        with KernelChannel(address) as channel, GuestConsole() as console:
            keeper = Keeper(plan, channel, console, tell=tell)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: keeper.interrupt())
            keeper.attach()
            boot = threading.Thread(target=wait_for_boot, args=(keeper, answer), daemon=True)
            boot.start()
            keeper.run()
            boot.join()
            tell(f"the guest has ended with {spell_exit(keeper.ending.status)}")
            check(keeper.ending)
    finally:
        shutil.rmtree(plan.folder, ignore_errors=True)


def wait_for_boot(keeper: Keeper, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer when the guest has booted. One that does not is killed, and its end is the answer."""
    if not keeper.booted.wait(BOOT_SECONDS):
        keeper.interrupt(
            GuestError(f"the guest has not booted after {BOOT_SECONDS:g} s, and was stopped")
        )
    elif keeper.is_up:
        answer({})


def tell(line: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {printable(line)}\n")
    sys.stderr.flush()


def main() -> None:
    """Keep the guest whose plan is on standard input."""
    answered = threading.Event()

    def answer(said: dict[str, Any]) -> None:
        if not answered.is_set():
            answered.set()
            # Whoever waited may be gone.
            with contextlib.suppress(OSError):
                os.write(sys.stdout.fileno(), json.dumps(said).encode() + b"\n")
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, sys.stdin.fileno())
            os.dup2(null, sys.stdout.fileno())

    try:
        serve(json.load(sys.stdin), sys.argv[1], answer)
        error: VirtmeshError = GuestError(
            "the guest ended before it had booted: its console says why"
        )
    except VirtmeshError as failure:
        tell(failure.message)
        error = failure
    answer({"reason": error.reason, "message": error.message, "metadata": error.metadata})


if __name__ == "__main__":
    main()
