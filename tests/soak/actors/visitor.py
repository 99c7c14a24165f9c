"""A client that looks at everything for a moment: metrics, traces, faults, the list of devices."""

from __future__ import annotations

from itertools import islice

from tests.soak.actors.actor import Actor
from tests.soak.plan import DEVICES
from virtmesh_client.metrics_page import samples_of
from virtmesh_client.trace import read_traces

EVENTS_MAX = 2000
"""Events of a trace that are read; then it goes away in the middle of it."""


class Visitor(Actor):
    """Comes, looks, and goes."""

    role = "visitor"

    def step(self) -> None:
        """Look at one thing."""
        self.device = device = self.chance.choice(DEVICES)
        begin = self.journal.now()
        self.operation = self.chance.choice(("metrics", "page", "trace", "devices", "faults"))
        if self.operation == "metrics":
            if not any(True for _ in samples_of(self.machine.metrics(device))):
                self.wrong(f"the metrics of {device} are empty")
        elif self.operation == "page":
            if not any(True for _ in samples_of(self.machine.metrics())):
                self.wrong("the page of metrics is empty")
        elif self.operation == "trace":
            for _event in islice(read_traces(self.machine.channel, [device]), EVENTS_MAX):
                pass
        elif self.operation == "devices":
            names = {one.name for one in self.machine.devices()}
            if names != set(DEVICES):
                self.wrong(f"the kernel lists {sorted(names)}")
        else:
            self.machine.faults(device).list()
        self.did(self.operation, begin)
        self.gate.sleep(self.chance.uniform(0.1, 0.8))
