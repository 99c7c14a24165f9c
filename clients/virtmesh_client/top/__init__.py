"""What a machine is doing now: samples of its counters, and rates between two of them."""

from virtmesh_client.top.rates import Row, rows_between
from virtmesh_client.top.sample import Sample, Sampler

__all__ = ["Row", "Sample", "Sampler", "rows_between"]
