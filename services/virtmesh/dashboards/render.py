"""How Grafana's SDK spells a board: needs the extra `dashboards` of the distribution."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from virtmesh.dashboards.board import HEAT, LINES, NUMBER, STATES

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

    from virtmesh.dashboards.board import Board, Panel

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "virtmesh"
COLOURS = ("green", "orange", "red")

WORDS = {
    "$sel": 'machine=~"$machine",device=~"$device"',
    "$machines": 'machine=~"$machine"',
    "$services": 'job=~"device|kernel",machine=~"$machine"',
    "$rate": "$__rate_interval",
}
"""Selectors of the chosen devices, machines, and services of machines; the time rates are over."""

BUILDERS: dict[str, Any] = {
    LINES: timeseries.Panel,
    NUMBER: stat.Panel,
    STATES: statetimeline.Panel,
    HEAT: heatmap.Panel,
}


def render(board: Board) -> str:
    """Return the JSON of a dashboard, as Grafana takes it."""
    return json.dumps(build(board), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def build(content: Board) -> Dashboard:
    """Return a dashboard as the model of the SDK."""
    board = (
        dashboard.Dashboard(content.title)
        .uid(content.uid)
        .description(content.meaning)
        .tags([TAG])
        .readonly()
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(_variable("machine", "Machine", content.machines))
    )
    if content.devices:
        board = board.with_variable(_variable("device", "Device", content.devices))
    for row in content.rows:
        board = board.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            board = board.with_panel(_panel(panel))
    built = board.build()
    for number, made in enumerate(built.panels or (), start=1):
        made.id_val = number
    return built


def _spell(expression: str) -> str:
    """Put in what the words stand for."""
    for word, meaning in WORDS.items():
        expression = expression.replace(word, meaning)
    return expression


def _panel(panel: Panel) -> Any:
    """Build one panel."""
    made = (
        BUILDERS[panel.look]()
        .title(panel.title)
        .description(panel.meaning)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .thresholds(_thresholds(panel))
        .targets(
            [
                prometheus.Dataquery()
                .ref_id(chr(ord("A") + index))
                .datasource(DATASOURCE)
                .expr(_spell(expression))
                .legend_format(legend)
                .format(
                    PromQueryFormat.HEATMAP if panel.look == HEAT else PromQueryFormat.TIME_SERIES
                )
                for index, (expression, legend) in enumerate(panel.queries)
            ]
        )
    )
    if panel.names:
        made = made.mappings([_mapping(panel.names)])
    return LOOKS[panel.look](made, panel)


def _lines(made: Any, panel: Panel) -> Any:
    """Dress lines: filled a little, and the limits drawn."""
    if panel.limits:
        style = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.LINE)
        made = made.thresholds_style(style)
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    return made.min(0).fill_opacity(10).legend(_legend()).tooltip(tooltip)


def _states(made: Any, _panel: Panel) -> Any:
    """Dress states."""
    made = made.fill_opacity(70).line_width(0)
    return made.legend(_legend()).show_value(common_models.VisibilityMode.AUTO)


def _number(made: Any, _panel: Panel) -> Any:
    """Dress a number: the last one that there is."""
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _heat(made: Any, panel: Panel) -> Any:
    """Dress a histogram over time: its buckets are counted already."""
    return made.calculate(calculate=False).y_axis(heatmap.YAxisConfig().unit(panel.unit))


LOOKS = {LINES: _lines, STATES: _states, NUMBER: _number, HEAT: _heat}


def _legend() -> Any:
    """Build a short legend below."""
    return (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
    )


def _thresholds(panel: Panel) -> Any:
    """Build the limits of a panel."""
    colours = list(COLOURS) if len(panel.limits) == 2 else [COLOURS[0], COLOURS[2]]
    if panel.reversed:
        colours.reverse()
    steps = [models.Threshold(value=None, color=colours[0])]
    steps += [
        models.Threshold(value=limit, color=colour)
        for limit, colour in zip(panel.limits, colours[1:], strict=False)
    ]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _mapping(names: dict[str, str]) -> Any:
    """Build the words for values."""
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=word, index=index)
            for index, (value, word) in enumerate(names.items())
        }
    )


def _variable(name: str, label: str, query: str) -> Any:
    """Build a variable that lists what Prometheus has; everything is chosen at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _links() -> Any:
    """Build the links to the other dashboards, which keep the time and what is chosen."""
    return (
        dashboard.DashboardLink("Dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )
