"""Logs: one event a line, for people or for programs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from virtmesh.telemetry import logging as logs

SCRIPT = """
import logging, structlog, sys
from virtmesh.telemetry import logging as logs
logs.configure(sys.argv[1])
structlog.get_logger("test").info("it happened", device="vda")
structlog.get_logger("test").debug("a detail")
logging.getLogger("library").warning("from a %s", "library")
secret = "a-ticket"
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("test").exception("it broke")
"""


def log(form: str) -> list[str]:
    """Log in a process of its own: logging is configured for a whole process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("form", logs.FORMATS)
def test_tracebacks_do_not_tell_values(form: logs.Format) -> None:
    """Local variables hold tickets, sessions and data of disks: none of it belongs in a log."""
    text = "\n".join(log(form))
    assert "ZeroDivisionError" in text
    assert "a-ticket" not in text


def test_json_lines_are_json() -> None:
    """Events, those of libraries too, and tracebacks are one object each."""
    events = [json.loads(line) for line in log("json")]
    assert [event["event"] for event in events] == ["it happened", "from a library", "it broke"]
    assert events[0].items() >= {"device": "vda", "level": "info", "logger": "test"}.items()
    assert events[2]["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_text_is_for_people() -> None:
    """Without a terminal there are no colours."""
    lines = log("text")
    assert "it happened" in lines[0]
    assert "device=vda" in lines[0]
    assert "\x1b" not in "".join(lines)


FORGING_SCRIPT = r"""
import structlog, sys
from virtmesh.telemetry import logging as logs
logs.configure(sys.argv[1])
structlog.get_logger("test").info("refused", message="a\n2026-01-01T00:00:00Z [info] forged\udcff")
"""


@pytest.mark.parametrize("form", logs.FORMATS)
def test_a_value_makes_no_line_of_its_own(form: logs.Format) -> None:
    """A file of that name is no event; nor is it the end of the log."""
    done = subprocess.run(
        [sys.executable, "-c", FORGING_SCRIPT, form], capture_output=True, text=True, check=True
    )
    assert len(done.stderr.splitlines()) == 1


HOSTILE_SCRIPT = r"""
import logging, structlog, sys
from virtmesh.telemetry import logging as logs
logs.configure(sys.argv[1])
evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202e"
structlog.get_logger("test").info("attached", driver=evil, names=[evil], of={evil: evil})
structlog.get_logger("test").info(evil)
logging.getLogger("library").warning("from a %s", evil)
try:
    raise ValueError(evil)
except ValueError:
    structlog.get_logger("test").exception("it broke")
"""


@pytest.mark.parametrize("form", logs.FORMATS)
def test_what_a_driver_calls_itself_does_not_drive_a_terminal(form: logs.Format) -> None:
    """Not as a value, inside one, as a line of a library, or in a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE_SCRIPT, form], capture_output=True, check=True
    )
    lines = done.stderr.decode().split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert "attached" in lines[0]
