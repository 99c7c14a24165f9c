"""A kind without a dashboard of its own gets one that is generated from its metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from virtmesh.blk import kind as blk
from virtmesh.dashboards.generated import COMMON, generated_board
from virtmesh.dashboards.render import render
from virtmesh.kinds.dashboard import board_of
from virtmesh.telemetry.definitions import counter, gauge, histogram, info

METRICS = (
    counter("virtmesh_toy_bytes", "Bytes that it made.", "bytes", "source"),
    gauge("virtmesh_toy_level_bytes", "Bytes in its pool.", "bytes"),
    histogram("virtmesh_toy_wait_duration_seconds", "Time that it waited."),
    counter("virtmesh_toy_refusals", "Times that it refused", "refusals"),
    info("virtmesh_toy", "What it is.", "model"),
)


def panels_of(text: str) -> dict[str, Any]:
    """Return the panels of a rendered dashboard by title, without the headings of its rows."""
    return {one["title"]: one for one in json.loads(text)["panels"] if one["type"] != "row"}


def test_each_metric_has_a_panel_of_its_type() -> None:
    """Rates of counters, values of gauges, quantiles of histograms; facts are not drawn."""
    panels = panels_of(render(generated_board("toy", "A toy.", METRICS)))

    own = {title: panel for title, panel in panels.items() if title.startswith("Toy")}
    found = {
        title: (
            panel["fieldConfig"]["defaults"]["unit"],
            [target["expr"] for target in panel["targets"]],
            panel["targets"][0]["legendFormat"],
        )
        for title, panel in own.items()
    }
    chosen = '{machine=~"$machine",device=~"$device"}'
    over = "[$__rate_interval]"
    rate = f"rate(virtmesh_toy_wait_duration_seconds_bucket{chosen}{over})"
    assert found == {
        "Toy bytes": (
            "Bps",
            [f"sum by (machine, device, source) (rate(virtmesh_toy_bytes_total{chosen}{over}))"],
            "{{device}} {{source}}",
        ),
        "Toy level bytes": ("bytes", [f"virtmesh_toy_level_bytes{chosen}"], "{{device}}"),
        "Toy wait duration seconds": (
            "s",
            [
                f"histogram_quantile({quantile}, sum by (machine, device, le) ({rate}))"
                for quantile in (0.5, 0.99)
            ],
            "{{device}} p50",
        ),
        "Toy refusals": (
            "ops",
            [f"sum by (machine, device) (rate(virtmesh_toy_refusals_total{chosen}{over}))"],
            "{{device}}",
        ),
    }
    assert panels["Toy refusals"]["description"] == "Times that it refused."


def test_it_begins_with_what_every_device_measures() -> None:
    """A kind without metrics has at least that, for the devices of the kind."""
    text = render(generated_board("toy", "A toy.", ()))

    assert list(panels_of(text)) == [panel.title for panel in COMMON.panels]
    assert 'virtmesh_device_info{kind=\\"toy\\",machine=~\\"$machine\\"}' in text
    assert json.loads(text)["uid"] == "virtmesh-toy"


def test_a_kind_with_a_dashboard_keeps_it() -> None:
    """The one of disks is drawn by hand."""
    assert board_of(blk.KIND).uid == "virtmesh-block"


def test_a_command_prints_the_dashboard_of_a_kind() -> None:
    """As JSON that Grafana imports; a name that no kind has is refused."""
    command = [sys.executable, "-m", "virtmesh.kinds.dashboard"]
    done = subprocess.run([*command, "uart"], capture_output=True, text=True, check=True)
    bad = subprocess.run([*command, "toaster"], capture_output=True, text=True, check=False)

    assert json.loads(done.stdout)["title"] == "virtmesh: serial ports"
    assert bad.returncode == 1
    assert "no kind of device is named 'toaster': there are blk, gpu, input, uart" in bad.stderr
