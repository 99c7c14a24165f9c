"""The pytest plugin, in runs of pytest with machines of real processes."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support.cli import Cli
from virtmesh_client.trace.store import load_trace

if TYPE_CHECKING:
    from _pytest.pytester import RunResult

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.processes

MACHINE = """
name = "lab"

[[devices]]
name = "vda"
kind = "blk"
options.image = "disk.img"

[[devices]]
name = "keyboard"
kind = "input"
options.personality = "keyboard"

[[devices]]
name = "serial"
kind = "uart"
"""
IMAGE_BYTES = 1 << 20
ARTEFACTS = "virtmesh-failures"


class Suite:
    """A folder with a machine file, an image and tests, as a user has it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.folder = pytester.path
        (self.folder / "lab").mkdir()
        (self.folder / "lab" / "machine.toml").write_text(MACHINE)
        self.image = self.folder / "lab" / "disk.img"
        self.image.write_bytes(bytes(IMAGE_BYTES))

    def run(self, tests: str, *arguments: str, ini: str = "") -> RunResult:
        """Run tests in a pytest of their own; its log is shown when this test fails."""
        self._pytester.makeini(f"[pytest]\n{ini}")
        self._pytester.makepyfile(test_os=tests)
        return self._pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments
        )

    def artefacts(self, pattern: str) -> Path:
        """Return the one file below the artefacts with such a name."""
        (found,) = (self.folder / ARTEFACTS).glob(f"*/{pattern}")
        return found


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Make a folder with a machine."""
    return Suite(pytester)


STARTED = ("--virtmesh-machine", "lab/machine.toml")
PASSES = """
def test_it(machine):
    assert {one.state for one in machine.devices()} == {"ready"}
"""
FAILS = """
def test_it(machine):
    with machine.serial() as serial, machine.input("keyboard") as keyboard:
        serial.send_line("virtmesh-was-here")
        serial.expect("virtmesh-was-here\\r\\n")
        keyboard.key("a", wait="delivered")
        machine.disk("vda").write(0, bytes(512))
        assert 1 == 2
"""


def test_each_test_has_a_fresh_machine(suite: Suite) -> None:
    """What one writes to the disk, the next does not see, and the image stays as it was."""
    result = suite.run(
        """
        import pytest

        @pytest.mark.parametrize("letter", [b"a", b"b"])
        def test_it(machine, letter):
            disk = machine.disk("vda")
            assert disk.read(0, 1) == bytes(1)
            disk.write(0, letter * 512)
            disk.flush()
        """,
        *STARTED,
    )

    result.assert_outcomes(passed=2)
    assert suite.image.read_bytes() == bytes(IMAGE_BYTES)
    assert not (suite.folder / ARTEFACTS).exists()


def test_a_machine_of_the_session_is_started_once(suite: Suite) -> None:
    """The scope and the file stand in the configuration file, beside which the file is."""
    result = suite.run(
        """
        def test_one(machine):
            machine.disk("vda").write(0, b"x" * 512)

        def test_two(machine):
            assert machine.disk("vda").read(0, 1) == b"x"
        """,
        ini="virtmesh_machine = lab/machine.toml\nvirtmesh_scope = session\n",
    )

    result.assert_outcomes(passed=2)


def test_a_failure_shows_what_the_machine_did(suite: Suite) -> None:
    """The serial log, the account, the trace: in the report, as files, and named for JUnit."""
    result = suite.run(FAILS, *STARTED, "--junit-xml=junit.xml")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert 1 == 2*",
            "*- virtmesh devices -*",
            "vda: ready",
            "*- virtmesh account -*",
            "keyboard: 2 packets accepted, 2 packets delivered*",
            "*- virtmesh serial -*",
            "*> virtmesh-was-here",
            "*- virtmesh trace -*",
            "*- virtmesh files -*",
        ]
    )
    assert b"virtmesh-was-here\r\n" in suite.artefacts("serial.raw").read_bytes()
    assert "OUT" in suite.artefacts("trace.txt").read_text()
    assert any(load_trace(suite.artefacts("trace.jsonl")))
    assert suite.artefacts("kernel.log").exists()
    assert "1 OUT ok" in suite.artefacts("account.txt").read_text()
    properties = ET.parse(suite.folder / "junit.xml").iter("property")  # noqa: S314 - it is ours
    (named,) = [one.get("value") for one in properties if one.get("name") == "virtmesh_artefacts"]
    assert Path(str(named)) == suite.artefacts("serial.raw").parent


SCREENS = """
[[devices]]
name = "gpu"
kind = "gpu"
options.mode = "320x200"
options.scanouts = 2
"""
HTML = """
import sys
import types

def pytest_configure(config):
    extras = types.ModuleType("pytest_html.extras")
    extras.text = lambda content, name: ("text", name, content)
    extras.png = lambda content, name: ("png", name, content)
    sys.modules["pytest_html.extras"] = extras
    config.pluginmanager.register(types.ModuleType("html"), "html")

def pytest_runtest_logreport(report):
    for kind, name, content in getattr(report, "extras", []):
        print("extra", kind, name, content[:11].encode())
"""
"""Stands for pytest-html, whose functions take the same and return other things."""


def test_a_failure_shows_the_screens(suite: Suite) -> None:
    """A picture of each that shows something is a file, which the report names."""
    (suite.folder / "lab" / "machine.toml").write_text(MACHINE + SCREENS)
    (suite.folder / "conftest.py").write_text(HTML)
    result = suite.run(
        """
        def test_it(machine):
            assert machine.screen("gpu").pixels().width == 300 + 21
        """,
        *STARTED,
        "-s",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*extra text virtmesh screens b'gpu, screen'",
            "*extra png virtmesh gpu-screen0.png b'iVBORw0KGgo'",
            "*assert 320 == (300 + 21)*",
            "*- virtmesh screens -*",
            "gpu, screen 0: 320x200 in gpu-screen0.png",
            "gpu, screen 1: shows nothing",
            "*- virtmesh files -*",
        ]
    )
    with Image.open(suite.artefacts("gpu-screen0.png")) as picture:
        assert picture.size == (320, 200)


def test_a_report_begins_with_its_own_test(suite: Suite) -> None:
    """On a machine of the session, what earlier tests did is left out."""
    result = suite.run(
        """
        def say(machine, word):
            with machine.serial() as serial:
                serial.send_line(word)
                serial.expect(f"{word}\\r\\n")

        def test_one(machine):
            say(machine, "earlier")
            machine.input("keyboard").key("a")

        def test_two(machine):
            say(machine, "later")
            raise AssertionError
        """,
        *STARTED,
        "--virtmesh-scope=session",
    )

    result.assert_outcomes(passed=1, failed=1)
    log = suite.artefacts("serial.txt").read_text()
    assert "later" in log
    assert "earlier" not in log
    assert "keyboard: nothing" in suite.artefacts("account.txt").read_text()


def test_a_dead_machine_does_not_hide_the_failure(suite: Suite) -> None:
    """What it said before its death is there, but for the last that was still on its way.

    The plugin has a stream of its own: what another one has brought may have yet to come there. So
    the machine says more, and is killed by somebody who has that.
    """
    result = suite.run(
        """
        import os, signal
        from pathlib import Path
        from virtmesh_client.local import rundir

        def test_it(machine):
            for word in ("last-words", "and", "a", "little", "more"):
                with machine.serial() as serial:
                    serial.send_line(word)
                    serial.expect(f"{word}\\r\\n")
            run_dir = Path(machine.address.removeprefix("unix:")).parent
            state = rundir.load(run_dir)
            for one in (state.supervisor, *state.processes):
                os.kill(one.pid, signal.SIGKILL)
            assert "the reason" == "of the test"
        """,
        *STARTED,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'the reason' == 'of the test'*", "*> last-words"])
    assert "can't be read" in suite.artefacts("devices.txt").read_text()


def test_a_long_log_is_cut_in_the_report(suite: Suite) -> None:
    """The newest part stands there, and the file has the rest."""
    result = suite.run(
        """
        def test_it(machine):
            with machine.serial() as serial:
                for number in range(40):
                    serial.send_line("x" * 500 + f"-{number:04}")
                    serial.expect(f"x-{number:04}\\r\\n")
            raise AssertionError
        """,
        *STARTED,
    )

    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    assert "earlier characters are in the file" in shown
    assert "x-0039" in shown
    assert "x-0000" in suite.artefacts("serial.txt").read_text()


def test_an_address_is_used_as_it_is(suite: Suite, cli: Cli) -> None:
    """The machine that runs is not stopped, nor its image changed."""
    cli.up("--disk", "disk.img,size=1M")

    result = suite.run(PASSES, "--virtmesh-address", cli.state.address)

    result.assert_outcomes(passed=1)
    assert cli("devices").returncode == 0


def test_workers_have_a_machine_each(suite: Suite) -> None:
    """With pytest-xdist and a machine file."""
    result = suite.run(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(machine, number):
            assert machine.disk("vda").read(0, 1) == bytes(1)
            machine.disk("vda").write(0, b"x" * 512)
        """,
        *STARTED,
        "-n2",
    )

    result.assert_outcomes(passed=4)


def test_workers_can_not_share_a_machine(suite: Suite) -> None:
    """With an address they are told what to do."""
    result = suite.run(PASSES, "--virtmesh-address", "unix:nowhere.sock", "-n2")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*2 workers of pytest-xdist would share the machine*"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "*give --virtmesh-machine FILE or --virtmesh-address ADDR*"),
        (["--virtmesh-machine", "missing.toml"], "*can't read the machine file*missing.toml*"),
        (["--virtmesh-address", "unix:missing.sock"], "*can't use the machine at unix:missing*"),
        (["--virtmesh-machine", "lab/bad.toml"], "*the machine did not start*no-such-kind*"),
    ],
)
def test_what_can_not_work_is_said(suite: Suite, arguments: list[str], message: str) -> None:
    """Each test that wants a machine has an error, and the others run."""
    (suite.folder / "lab" / "bad.toml").write_text(MACHINE.replace('"uart"', '"no-such-kind"'))

    result = suite.run(PASSES + "\ndef test_other():\n    pass\n", *arguments)

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*another exception occurred*")


def test_two_machines_are_refused(suite: Suite) -> None:
    """Before any test runs."""
    result = suite.run(PASSES, *STARTED, "--virtmesh-address", "unix:x.sock")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*give --virtmesh-machine or --virtmesh-address, not both*"])


def test_it_can_be_left_out(suite: Suite) -> None:
    """By the name that pytest knows it by."""
    result = suite.run(PASSES, "-p", "no:virtmesh")

    result.stdout.fnmatch_lines(["*fixture 'machine' not found*"])


def test_a_run_without_machines_loads_no_grpc() -> None:
    """The plugin is loaded in each run of pytest."""
    code = (
        "import sys, virtmesh_client.pytest_plugin;"
        "print(sorted({'grpc', 'google.protobuf', 'click', 'rich'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
