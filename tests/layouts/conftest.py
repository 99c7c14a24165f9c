"""The reader of another house, and the sums over all layouts at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.terminal import TerminalReporter

    Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return a function that asks the reader."""
    nowhere = str(tmp_path_factory.mktemp("home"))
    settings = ("XCOMPOSEFILE", "XLOCALEDIR", "XDG_CONFIG_HOME", "XKB_CONFIG_ROOT")
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "support" / "xkb_reader.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "HOME": nowhere},
    ) as reader:

        def put(**question: object) -> dict[str, Any]:
            assert reader.stdin is not None
            assert reader.stdout is not None
            print(json.dumps(question), file=reader.stdin, flush=True)
            answer: dict[str, Any] = json.loads(reader.stdout.readline())
            return answer

        yield put
        assert reader.stdin is not None
        reader.stdin.close()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what was tried over all layouts."""
    sums: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in report.user_properties:
                if name.startswith("layouts: "):
                    sums[name.removeprefix("layouts: ")] += value
    if sums:
        terminalreporter.section("keyboard layouts")
        for name, value in sums.items():
            terminalreporter.write_line(f"{value:9,} {name}")
