"""What tests ask of one container."""

from __future__ import annotations

from docker.models.containers import Container


def run_in(container: Container, *command: str) -> str:
    """Run a command in a container; return what it printed."""
    done = container.exec_run(list(command))
    assert isinstance(done.output, bytes)
    assert done.exit_code == 0, done.output
    return done.output.decode()


def check_closed(container: Container) -> None:
    """Check that it has no root, no capabilities, no way to new ones, and limits."""
    host = container.attrs["HostConfig"]
    status = run_in(container, "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert "0" not in facts["Uid"].split()
    assert "0" not in facts["Gid"].split()
    assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def check_read_only(container: Container) -> None:
    """Check that its root file system is mounted read-only."""
    mounts = run_in(container, "cat", "/proc/1/mounts")
    (root,) = (line.split()[3] for line in mounts.splitlines() if line.split()[1] == "/")
    assert "ro" in root.split(",")
