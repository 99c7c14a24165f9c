"""What a template forks is a process as good as one that was started by itself."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.template_rig import find_services, running, template_rig
from virtmesh.kinds import own_kind_names
from virtmesh.local.template import client
from virtmesh.local.template.client import UNKNOWN, begin
from virtmesh.local.template.packets import encode
from virtmesh_common.errors import BadMachine
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh.local.template.client import Process

SLEEP = "import signal; signal.pause()"


@pytest.fixture(autouse=True)
def _services(monkeypatch: pytest.MonkeyPatch) -> None:
    find_services(monkeypatch)


def is_running(process: Process) -> bool:
    """Say whether a process runs, by the host."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_service_ends_with_its_status_or_its_signal(tmp_path: Path) -> None:
    """A signal is a negative number, as of a child that was started."""
    async with template_rig(tmp_path) as rig:
        texts = ["", "raise SystemExit(3)", "import os; os.abort()", SLEEP]
        services = [await rig.start(text) for text in texts]
        services[-1].send_signal(signal.SIGTERM)
        ends = [await service.wait() for service in services]
        assert ends == [0, 3, -signal.SIGABRT, -signal.SIGTERM]
        assert [service.returncode for service in services] == ends


async def test_output_and_errors_go_to_its_log(tmp_path: Path) -> None:
    """Each service has its own, and what it runs is its command line."""
    async with template_rig(tmp_path) as rig:
        assert await rig.run("import sys; print('out'); print('err', file=sys.stderr)") == (
            "out\nerr\n"
        )
        assert await rig.run("import sys; print(sys.argv[0])") == "forked\n"
        assert rig.log(0).read_text() == "out\nerr\n"
        title = "from pathlib import Path; print(Path('/proc/self/cmdline').read_bytes())"
        assert "forked from pathlib import" in await rig.run(title)


async def test_a_service_imports_no_kind_that_its_template_has(tmp_path: Path) -> None:
    """The kernel service has every kind: to import them again at each start took most of it."""
    listing = (
        "import sys\nbefore = set(sys.modules)\n"
        "from virtmesh.kinds import all_kinds\nall_kinds()\nprint(len(set(sys.modules) - before))"
    )
    async with template_rig(tmp_path) as rig:
        alone = int(await rig.run(listing))
        rig.template.preload(list(own_kind_names()))
        assert int(await rig.run(listing)) < alone / 10


async def test_a_service_has_the_signals_and_the_session_of_a_new_process(tmp_path: Path) -> None:
    """Ctrl-C in a terminal does not reach it, and nothing of the template is left in it."""
    handlers = (
        "import signal\n"
        "for one in signal.valid_signals():\n"
        "    print(int(one), signal.getsignal(one))\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.set_wakeup_fd(-1))\n"
    )
    async with template_rig(tmp_path) as rig:
        found = await rig.run(handlers)
        assert found == await _output_of_a_new_process(handlers)
        own = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"
        assert await rig.run(own) == "True\n"


async def _output_of_a_new_process(text: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    return done.stdout


async def test_a_service_has_no_descriptor_of_others(tmp_path: Path) -> None:
    """Neither of the template nor of the services before it: input, log twice, and the listing."""
    async with template_rig(tmp_path) as rig:
        await rig.start(SLEEP)
        await rig.start(SLEEP)
        listing = (
            "import os\n"
            "for one in os.listdir('/proc/self/fd'):\n"
            "    try: print(one, os.readlink(f'/proc/self/fd/{one}'))\n"
            "    except FileNotFoundError: pass\n"
        )
        found = dict(line.split() for line in (await rig.run(listing)).splitlines())
        log = str(rig.log(2))
        assert found == {"0": "/dev/null", "1": log, "2": log}


async def test_services_outlive_their_template_and_are_still_waited_for(tmp_path: Path) -> None:
    """The next start begins another template."""
    async with template_rig(tmp_path) as rig:
        first, second = [await rig.start(SLEEP) for _ in range(2)]
        killed = rig.template_pid()
        os.kill(killed, signal.SIGKILL)
        third = await rig.start(SLEEP)
        assert rig.template_pid() != killed
        assert all(map(is_running, (first, second, third)))

        first.send_signal(signal.SIGKILL)
        await first.wait()
        assert (first.returncode, second.returncode) == (255, None)  # who knew it is gone
        third.send_signal(signal.SIGKILL)
        assert await third.wait() == -signal.SIGKILL


async def test_an_end_that_the_template_told_before_its_own_is_known(tmp_path: Path) -> None:
    """Also when the loop has not read it yet."""
    async with template_rig(tmp_path) as rig:
        first = await rig.start("raise SystemExit(3)")
        other = await rig.start(SLEEP)
        template = rig.template_pid()
        select.select([rig.template._socket], [], [])
        os.kill(template, signal.SIGKILL)
        await rig.start(SLEEP)
        assert await first.wait() == 3
        assert other.returncode is None


async def test_a_host_that_starts_no_process_is_told_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason. The template goes on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom pathlib import Path\nfork = os.fork\n"
        "def full():\n"
        f"    if Path({str(tmp_path / 'full')!r}).exists():\n"
        "        raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "    return fork()\n"
        "os.fork = full\n"
    )
    find_services(monkeypatch, tmp_path)
    (tmp_path / "full").touch()
    async with template_rig(tmp_path) as rig:
        with pytest.raises(BadMachine, match="no process: Resource temporarily unavailable"):
            await rig.start(SLEEP)
        (tmp_path / "full").unlink()
        assert await rig.run("print('at last')") == "at last\n"


async def test_a_start_that_nobody_waits_for_leaves_no_service(tmp_path: Path) -> None:
    """And the next one gets its own."""
    async with template_rig(tmp_path) as rig:
        with rig.log(7).open("ab") as log:
            text = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
            given_up = asyncio.create_task(rig.template.start(running(text), log))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
        children = (
            "import os\n"
            "parent = os.getppid()\n"
            "print(open(f'/proc/{parent}/task/{parent}/children').read())"
        )
        assert len((await rig.run(children)).split()) == 1


async def test_a_template_that_lets_go_leaves_its_services(tmp_path: Path) -> None:
    """As a supervisor that is killed does."""
    async with template_rig(tmp_path) as rig:
        service = await rig.start(SLEEP)
        template = rig.template_pid()
        rig.template.close()
        with pytest.raises(ProcessLookupError):
            os.kill(template, 0)
        assert is_running(service)
        os.kill(service.pid, signal.SIGKILL)
        rig._started.clear()


async def test_a_template_that_somebody_has_stopped_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No device would be started again. What it had started runs on, and its end is seen."""
    async with template_rig(tmp_path) as rig:
        before = await rig.start(SLEEP)
        patient, begin = client.ANSWER_SECONDS, client.begin

        def begin_another() -> tuple[socket.socket, int]:
            monkeypatch.setattr(client, "ANSWER_SECONDS", patient)
            return begin()

        monkeypatch.setattr(client, "begin", begin_another)
        monkeypatch.setattr(client, "ANSWER_SECONDS", 0.05)
        os.kill(parent_of(before.pid), signal.SIGSTOP)
        async with time_limit(60):
            after = await rig.start(SLEEP)
            assert after.pid != before.pid
            assert is_running(before)
            for one in (before, after):
                one.send_signal(signal.SIGKILL)
                await one.wait()
        assert before.returncode == UNKNOWN


def parent_of(pid: int) -> int:
    """Return the parent of a process: the template of a service."""
    text = Path(f"/proc/{pid}/stat").read_text("ascii")
    return int(text[text.rindex(")") + 2 :].split()[1])


async def test_a_template_that_was_killed_leaves_no_error_that_nobody_takes(tmp_path: Path) -> None:
    """It would be a traceback in the log of the supervisor, though the start has succeeded."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["message"]))
    async with template_rig(tmp_path) as rig:
        await rig.start(SLEEP)
        os.kill(rig.template_pid(), signal.SIGKILL)
        select.select([rig.template._socket], [], [])
        await rig.start(SLEEP)
        gc.collect()
    assert told == []


def test_a_template_ends_quietly_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """What the supervisor has not read makes a reset of its end: no traceback on a terminal."""
    supervisor, template = begin()
    with (tmp_path / "log").open("wb") as log:
        socket.send_fds(supervisor, [encode(running(""))], [log.fileno()])
    select.select([supervisor], [], [])
    supervisor.close()
    assert os.waitpid(template, 0) == (template, 0)
