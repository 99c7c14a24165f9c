"""The rules of Prometheus, checked and unit-tested by its own promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = ROOT / "tests" / "prometheus" / "rules_test.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool of Debian's package prometheus"
)


def promtool(*arguments: object) -> str:
    """Run promtool; returns what it says. Errors: AssertionError when it is not content."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_configuration_and_rules_are_valid() -> None:
    """Prometheus takes the scrape configuration and every rule file.

    The certificate that the configuration names is made when the stack starts.
    """
    promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", *RULES)


@needs_promtool
def test_rules_do_what_they_say() -> None:
    """Each alert fires for what it is about, after its time, and for nothing else."""
    promtool("test", "rules", TESTS)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_rule_has_a_test(path: Path) -> None:
    """No alert and no recorded series is left untested, but for those that only feed panels."""
    names = re.findall(r"^ +- (?:alert|record): (\S+)$", path.read_text(), re.MULTILINE)
    tested = TESTS.read_text()
    assert names
    assert [name for name in names if name not in tested] == []


def test_every_alert_says_what_to_do() -> None:
    """An alert has a severity, a summary, a description and an action."""
    alerts = (PROMETHEUS / "rules" / "alerts.yml").read_text().split("- alert: ")[1:]
    for alert in alerts:
        assert re.findall(r"^ +(summary|description|action): ", alert, re.MULTILINE) == [
            "summary",
            "description",
            "action",
        ]
        assert re.search(r"severity: (critical|warning)", alert)
