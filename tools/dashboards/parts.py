"""What all dashboards are made of: panels and rows as data, and how the SDK spells them.

Expressions have words for what most of them need (WORDS), such as
rate(virtmesh_interrupts_total{$sel}[$rate]).
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.models.dashboard import Dashboard

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

Query = tuple[str, str]
"""An expression, and the legend of its series."""

LINES, NUMBER, STATES, HEAT = "lines", "number", "states", "heat"
BUILDERS: dict[str, Any] = {
    LINES: timeseries.Panel,
    NUMBER: stat.Panel,
    STATES: statetimeline.Panel,
    HEAT: heatmap.Panel,
}


@dataclass(frozen=True)
class Panel:
    """One panel. `limits` are the values from which on it is orange, and red; 0 to 2 of them."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    look: str = LINES
    width: int = 8
    height: int = 7
    limits: Sequence[float] = ()
    names: dict[str, str] = field(default_factory=dict)
    """Words for values, such as 0 and 1."""
    reversed: bool = False
    """Red below the limit instead of above."""


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard. `devices` chooses what the variable lists: a query of label_values."""

    uid: str
    title: str
    meaning: str
    rows: Sequence[Row]
    machines: str = "label_values(virtmesh_kernel_device_state, machine)"
    devices: str = 'label_values(virtmesh_device_info{machine=~"$machine"}, device)'

    def build(self) -> Dashboard:
        """Return the dashboard as the SDK's model."""
        board = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.meaning)
            .tags([TAG])
            .readonly()
            .refresh("5s")
            .time("now-15m", "now")
            .timezone("browser")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .link(_links())
            .with_variable(_variable("machine", "Machine", self.machines))
        )
        if self.devices:
            board = board.with_variable(_variable("device", "Device", self.devices))
        for row in self.rows:
            board = board.with_row(dashboard.Row(row.title))
            for panel in row.panels:
                board = board.with_panel(_panel(panel))
        built = board.build()
        for number, made in enumerate(built.panels or (), start=1):
            made.id_val = number
        return built


def quantiles(bucket: str, by: str, legend: str, chosen: str = "$sel") -> list[Query]:
    """Return the median and the 99th percentile of a histogram, by labels."""
    rates = f"sum by (machine, {by}, le) (rate({bucket}{{{chosen}}}[$rate]))"
    return [
        (f"histogram_quantile({quantile}, {rates})", f"{legend} p{round(100 * quantile)}")
        for quantile in (0.5, 0.99)
    ]


def rate(metric: str, legend: str, by: str = "device", chosen: str = "$sel") -> Query:
    """Return how often something happens in a second, by labels."""
    return f"sum by (machine, {by}) (rate({metric}{{{chosen}}}[$rate]))", legend


def rate_or_zero(metric: str, legend: str, by: str) -> Query:
    """Return the same for what may never have happened: a zero for each device then."""
    expression, _ = rate(metric, legend, f"device, {by}")
    return f"{expression} or sum by (machine, device) (virtmesh_attached{{$sel}}) * 0", legend


def share(part: str, rest: str, legend: str) -> Query:
    """Return which part of the sum of two rates the first one is, by device."""
    (one, _), (other, _) = rate(part, legend), rate(rest, legend)
    return f"{one} / ({one} + {other})", legend


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
