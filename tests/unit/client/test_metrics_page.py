"""The samples of a page of metrics."""

from __future__ import annotations

from virtmesh_client.metrics_page import samples_of

PAGE = r"""# HELP looks Looks.
# TYPE looks counter
looks_total{device="vda",text="a \"b\" \\ {c} \n"} 2.0
up 1
ratio NaN
room{le="+Inf"} +Inf

this is none
"""


def test_samples_have_names_labels_and_values() -> None:
    """What JSON has no number for is a text."""
    assert list(samples_of(PAGE)) == [
        {
            "name": "looks_total",
            "labels": {"device": "vda", "text": 'a "b" \\ {c} \n'},
            "value": 2.0,
        },
        {"name": "up", "labels": {}, "value": 1.0},
        {"name": "ratio", "labels": {}, "value": "NaN"},
        {"name": "room", "labels": {"le": "+Inf"}, "value": "+Inf"},
    ]
