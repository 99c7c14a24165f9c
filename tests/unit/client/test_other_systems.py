"""The client imports, and says what can't be, where there are no services and no Unix."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from virtmesh_client.testing import FakeKernel

DOCUMENTED = (
    "attach", "blk", "boot", "certs", "completion", "console", "cpu", "detach", "devices", "down",
    "fault", "guest", "input", "login", "logout", "metrics", "panel", "registers", "report",
    "reset", "restart", "screen", "serial", "status", "tokens", "top", "trace", "up",
)  # fmt: skip
"""The commands that README.md and docs/cli.md name, in order."""
FROM_SERVICES = re.compile(r"^\s*(from virtmesh[. ]|import virtmesh($|[. ,]))", re.MULTILINE)


def elsewhere(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `virtmesh` as on a system that is no Unix, without the services."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.other_system", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def run_python(script: str) -> str:
    """Run a script in a Python of its own; return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_no_module_of_the_client_names_the_services() -> None:
    """At no level: an import inside a function would fail only when it is used."""
    found = [
        str(path)
        for folder in ("clients", "common")
        for path in (ROOT / folder).rglob("*.py")
        if FROM_SERVICES.search(path.read_text())
    ]
    assert found == []


def test_all_of_the_client_is_imported_without_the_services() -> None:
    """Every module, with `virtmesh` forbidden."""
    printed = run_python(
        "from tests.support.other_system import forbid_services, import_all\n"
        "forbid_services()\n"
        "print(*import_all())"
    )
    assert len(printed.split()) > 90


@pytest.mark.parametrize("package", ["virtmesh_client", "virtmesh_client.cli"])
def test_the_package_is_imported_on_another_system(package: str) -> None:
    """Its classes are there."""
    printed = run_python(
        "from tests.support.other_system import hide\n"
        f"hide()\nimport {package}\nprint(*{package}.__all__)"
    )
    assert {"virtmesh_client": "connect", "virtmesh_client.cli": "main"}[package] in printed.split()


def test_help_lists_all_commands_on_another_system() -> None:
    """None is imported for its line."""
    done = elsewhere("--help")
    assert (done.returncode, done.stderr) == (0, "")
    commands = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert tuple(line.split()[0] for line in commands.splitlines()) == DOCUMENTED
    assert "Broken" not in commands


def test_the_documents_name_all_commands() -> None:
    """Whoever adds one writes of it in docs/cli.md."""
    text = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"\bvirtmesh ([a-z]+)\b", text)) >= set(DOCUMENTED)


def test_a_command_works_on_another_system() -> None:
    """Against a kernel elsewhere."""
    with FakeKernel(vda=1 << 20) as kernel:
        done = elsewhere("--address", kernel.address, "devices")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1].split()[:2] == ["vda", "ready"]
        done = elsewhere("--address", kernel.address, "blk", "read", "vda", "--length", "16")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("console",), "select."),
        (("blk", "export", "vda", "copy.img"), "os."),
    ],
    ids=["console", "export"],
)
def test_what_can_not_work_there_says_so(
    arguments: tuple[str, ...], missing: str, tmp_path: Path
) -> None:
    """In one line, with what is missing."""
    arguments = tuple(str(tmp_path / one) if one.endswith(".img") else one for one in arguments)
    with FakeKernel(vda=1 << 20) as kernel:
        done = elsewhere("--address", kernel.address, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("virtmesh: this needs ")
    assert missing in line


@pytest.mark.parametrize(
    "command", [("up", "--disk", "a.img"), ("trace", "replay", "a", "-d", "b")]
)
def test_a_client_without_services_says_what_to_install(command: tuple[str, ...]) -> None:
    """One line; what it does need nothing of is there still."""
    script = (
        "import sys\n"
        "from tests.support.other_system import forbid_services\n"
        "forbid_services()\n"
        "from virtmesh_client.cli.run import run\n"
        f"sys.exit(run({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("on this host: pip install virtmesh\n")
    assert len(done.stderr.splitlines()) == 1
