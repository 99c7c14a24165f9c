"""Every panel and every rule, asked of a real Prometheus that scrapes real services under load."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import virtmesh_client
from tests.support import ROOT
from tests.support import prometheus as prometheus_process
from tests.support.cli import Cli, eventually, own_folder
from tests.support.prometheus import Prometheus, ScrapeJob

DEPLOY = ROOT / "deploy"
OF_CPU = "cpu"
"""The board of a CPU, whose machine has no kernel service: tests/compose/test_cpu.py has one."""
DASHBOARDS = sorted(
    path for path in (DEPLOY / "grafana" / "dashboards").glob("*.json") if path.stem != OF_CPU
)
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
DEVICES = {
    "vda": "kind = 'blk'\noptions = {image = 'disk.img', size = '16M'}",
    "keyboard": "kind = 'input'\noptions = {personality = 'keyboard'}",
    "mouse": "kind = 'input'\noptions = {personality = 'mouse'}",
    "tablet": "kind = 'input'\noptions = {personality = 'tablet'}",
    "serial": "kind = 'uart'",
    "gpu": "kind = 'gpu'\noptions = {mode = '64x48'}",
}
MACHINE = "watched"
SELECTED = re.compile(r"\b(?:virtmesh|grpc|process|machine)[a-z]*_[a-zA-Z0-9_:]+|\bup\b")
"""Names of metrics in an expression, but those of labels."""

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="needs Debian's package prometheus: the binaries prometheus and promtool",
    ),
]
boards = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


@dataclass
class Watched:
    """A machine at work, and the Prometheus that scrapes it."""

    cli: Cli
    prometheus: Prometheus

    def lacking(self, expressions: dict[str, str]) -> dict[str, str]:
        """Return those of the expressions, by title, that have no number; wait for all."""
        left = dict(expressions)

        def all_there() -> bool:
            for title, expression in list(left.items()):
                if any(not math.isnan(value) for value in self.prometheus.query(expression)):
                    del left[title]
            return not left

        try:
            eventually(all_there)
        except TimeoutError:
            return left
        return {}


def work(address: str, stop: threading.Event) -> None:
    """Keep disks, input devices and the serial port busy."""
    with virtmesh_client.connect(address) as machine:
        disk = machine.disk("vda")
        with (
            machine.input("keyboard") as keyboard,
            machine.input("mouse") as mouse,
            machine.input("tablet") as tablet,
            machine.serial("serial") as serial,
        ):
            screen = machine.screen("gpu")
            light = True
            while not stop.wait(0.02):
                disk.write(0, bytes(1 << 20))
                disk.read(0, 1 << 20)
                disk.flush()
                disk.discard(0, 1 << 16)
                disk.write_zeroes(0, 1 << 16)
                keyboard.key("a")
                keyboard.set_led("capslock", light)
                mouse.move_rel(1, 1)
                tablet.move_to(100, 100)
                serial.write("help\n")
                light = not light
                screen.set_mode(64 + 8 * light, 48)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """Start a machine, put it to work, and have Prometheus watch it."""
    with own_folder() as cli:
        tables = [f"[[devices]]\nname = '{name}'\n{text}\n" for name, text in DEVICES.items()]
        kernel = "[kernel]\nmetrics = '127.0.0.1:0'\n"
        (cli.folder / "machine.toml").write_text(f"name = '{MACHINE}'\n{kernel}{''.join(tables)}")
        cli.up("machine.toml")
        page = cli.process("kernel").metrics
        jobs = [ScrapeJob("kernel", [page], {"machine": MACHINE}, honor_labels=True)]
        stop = threading.Event()
        load = threading.Thread(target=work, args=(cli.state.address, stop))
        with prometheus_process.running(jobs, RULES) as prometheus:
            load.start()
            try:
                yield Watched(cli, prometheus)
            finally:
                stop.set()
                load.join()


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Give the test something that writes past the capture: the counts belong in every log."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return write


def fill_in(expression: str) -> str:
    """Put values in the place of Grafana's variables."""
    for variable, value in (
        ("$machine", MACHINE),
        ("$device", ".*"),
        ("$__rate_interval", "10s"),
    ):
        expression = expression.replace(variable, value)
    return expression


@boards
def test_every_panel_has_data(watched: Watched, path: Path, record: Callable[[str], None]) -> None:
    """No panel is empty on a running machine: each of its expressions gives a number."""
    board = json.loads(path.read_text())
    expressions = {
        f"{panel['title']} {target['refId']}": fill_in(target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }
    lacking = watched.lacking(expressions)
    record(f"{path.stem}: {len(expressions) - len(lacking)} of {len(expressions)} return data")
    assert expressions
    assert not lacking


@boards
def test_every_variable_lists_something(watched: Watched, path: Path) -> None:
    """Machines and devices can be chosen."""
    queries = {}
    for variable in json.loads(path.read_text())["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found
        queries[variable["name"]] = f"count by ({found[2]}) ({fill_in(found[1])})"
    assert queries
    assert not watched.lacking(queries)


def test_every_rule_has_what_it_looks_at(watched: Watched, record: Callable[[str], None]) -> None:
    """Recorded series are there; alerts evaluate, every metric they name is there, none fires."""
    rules = [rule for group in watched.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    queries = {rule["name"]: rule["query"] for rule in rules}
    kinds = {
        kind: [r["name"] for r in rules if r["type"] == kind] for kind in ("recording", "alerting")
    }
    named = {
        f"{name}: {metric}": metric
        for name in kinds["alerting"]
        for metric in SELECTED.findall(queries[name])
        if not metric.startswith(f"virtmesh_{OF_CPU}_")
    }
    lacking = watched.lacking({name: name for name in kinds["recording"]} | named)
    eventually(lambda: all(r["health"] == "ok" for r in all_rules(watched.prometheus)))
    record(f"{len(kinds['recording'])} recording and {len(kinds['alerting'])} alert rules evaluate")
    assert not lacking
    assert [
        rule["name"] for rule in all_rules(watched.prometheus) if rule["state"] == "firing"
    ] == []


def all_rules(prometheus: Prometheus) -> list[dict[str, str]]:
    """Return the rules as Prometheus has them; a recording rule has no state."""
    return [
        {"state": ""} | rule
        for group in prometheus.ask("rules")["groups"]
        for rule in group["rules"]
    ]


def test_pages_keep_to_the_naming_rules(watched: Watched) -> None:
    """`promtool check metrics` has nothing to say about that of the machine, or of a device."""
    for arguments in ((), *(("-d", name) for name in DEVICES)):
        page = watched.cli("metrics", *arguments)
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=page.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (arguments, page.returncode, checked.returncode, checked.stderr) == (
            *(arguments, 0),
            *(0, ""),
        )


def test_every_device_is_up_on_the_page(watched: Watched) -> None:
    """Prometheus itself scrapes one service, and knows of each device whether it answered."""
    assert watched.prometheus.query('count(up{job="kernel"} == 1)') == [1]
    assert watched.prometheus.query("count(virtmesh_machine_device_up == 1)") == [len(DEVICES)]
    assert watched.prometheus.query("count(virtmesh_attached == 1)") == [len(DEVICES)]
