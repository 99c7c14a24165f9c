"""The dashboards of Grafana, as far as they can be judged without it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support import ROOT
from tests.support.metric_definitions import all_definitions

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
PATHS = sorted(FOLDER.glob("*.json"))
NAMES = re.compile(r"\b(?:virtmesh|grpc)_[a-z0-9_]+(?=\{|\b)")
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")
LABELS = {"grpc_method", "grpc_service", "grpc_code", "grpc_type"}

boards = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def panels(path: Path) -> Iterator[dict[str, Any]]:
    """Return the panels of a dashboard, without the headings of its rows."""
    board = json.loads(path.read_text())
    return (panel for panel in board["panels"] if panel["type"] != "row")


def without_empty(value: Any) -> Any:
    """Leave empty objects out, which the models add."""
    if isinstance(value, list):
        return [without_empty(one) for one in value]
    if isinstance(value, dict):
        return {name: without_empty(one) for name, one in value.items() if one != {}}
    return value


@boards
def test_the_models_of_the_sdk_take_it(path: Path) -> None:
    """Loaded as the models that Grafana's schema gives, and written again, it is the same."""
    plugins.register_default_plugins()
    board = json.loads(path.read_text())

    loaded = Dashboard.from_json(board)

    assert without_empty(json.loads(json.dumps(loaded, cls=JSONEncoder))) == without_empty(board)


@boards
def test_every_panel_explains_itself(path: Path) -> None:
    """A panel has a title, a unit, a description, and a legend for every series."""
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


@boards
def test_panels_fit_the_grid(path: Path) -> None:
    """No panel lies over another, or outside the 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


@boards
def test_panels_ask_for_metrics_that_are_documented(path: Path) -> None:
    """An expression names only metrics that a service states."""
    stated = {definition.full_name for definition in all_definitions()}
    named = {
        name
        for panel in panels(path)
        for target in panel["targets"]
        for name in NAMES.findall(re.sub(r"machine_\w+:\S+?:\w+", "", target["expr"]))
    }

    unknown = {name for name in named - LABELS if SUFFIXES.sub("", name) not in stated}

    assert unknown == set()


def test_dashboards_are_linked_and_told_apart() -> None:
    """Each has a uid of its own, links to the others, and a choice of machines."""
    loaded = [json.loads(path.read_text()) for path in PATHS]

    assert len({board["uid"] for board in loaded}) == len(loaded) == 8
    for board in loaded:
        assert board["tags"] == board["links"][0]["tags"] == ["virtmesh"]
        assert board["templating"]["list"][0]["name"] == "machine"
