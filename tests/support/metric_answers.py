"""Answers to MetricsService.Collect of devices that are broken or hostile, by what is wrong."""

from __future__ import annotations

from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb


def family(
    name: str = "virtmesh_x",
    *series: str,
    type_: pb.Type.ValueType = pb.TYPE_GAUGE,
    meaning: str = "X.",
) -> pb.Family:
    """Return a family in which every series has the value 1."""
    series = series or (name,)
    return pb.Family(
        name=name, type=type_, meaning=meaning, series=series, values=[1.0] * len(series)
    )


def answer(*families: pb.Family) -> bytes:
    """Return an answer."""
    return pb.CollectResponse(families=families).SerializeToString()


HOSTILE = {
    "no message": b"\xff" * 100,
    "too many bytes": answer(family(meaning="x" * (600 << 10))),
    "too many families": answer(*(family(f"virtmesh_{n}") for n in range(513))),
    "too many series": answer(family("m", *(f'm{{a="{n}"}}' for n in range(16385)))),
    "a name that is none": answer(family("virtmesh x")),
    "a name that is too long": answer(family("x" * 200)),
    "a name with a line break": answer(family("x\nvirtmesh_kernel_requests_total 5\n")),
    "a name twice": answer(family("m"), family("m", 'm{a="b"}')),
    "a name of the kernel": answer(family("virtmesh_kernel_requests_total")),
    "a name of the gathering": answer(
        family("virtmesh_machine_device_up", 'virtmesh_machine_device_up{device="vda"}')
    ),
    "a series twice": answer(family("m", 'm{a="b"}', 'm{a="b"}')),
    "a series of another family": answer(family("m", "virtmesh_kernel_requests_total")),
    "a bucket of what has none": answer(family("m", 'm_bucket{le="1"}')),
    "the label device": answer(family("m", 'm{device="vda"}')),
    "the label machine": answer(family("m", 'm{machine="other"}')),
    "the label job": answer(family("m", 'm{job="other"}')),
    "a label of Prometheus": answer(family("m", 'm{__name__="other"}')),
    "a label twice": answer(family("m", 'm{a="b",a="c"}')),
    "too many labels": answer(family("m", "m{" + ",".join(f'l{n}="x"' for n in range(17)) + "}")),
    "a line break in a label": answer(family("m", 'm{a="b"} 1\nvirtmesh_other 2\n#"}')),
    "an escape sequence in a label": answer(family("m", 'm{a="\x1b]0;owned\x07"}')),
    "a label that does not end": answer(family("m", 'm{a="b}')),
    "a value in the name": answer(family("m", "m 5")),
    "values without series": pb.CollectResponse(
        families=[pb.Family(name="m", values=[1.0, 2.0], series=["m"])]
    ).SerializeToString(),
    "a series that is too long": answer(family("m", f'm{{a="{"x" * 2000}"}}')),
}
