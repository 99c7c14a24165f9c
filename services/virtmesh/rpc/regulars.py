"""Clients that have been here before, by their keys.

Keys of unix sockets are what clients say they are. Who takes another name for each call is never a
regular; those who come for the first or second time share one line, and each regular has its own.
"""

from __future__ import annotations

from collections import OrderedDict

REGULARS_MAX = 512
"""Most clients that are kept; the one that has been away longest goes."""
NEWCOMERS_MAX = 4096
"""Most clients whose first visit is kept."""
NEWCOMERS = "*"
"""The line of all that are not regulars."""


class Regulars:
    """Tells regulars from newcomers."""

    def __init__(self) -> None:
        self._regulars: OrderedDict[str, None] = OrderedDict()
        self._newcomers: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, client: str) -> bool:
        return client in self._regulars

    def visit(self, client: str) -> str:
        """Note a visit of a client; return the line that it stands in."""
        if client in self._regulars:
            self._regulars.move_to_end(client)
            return client
        if client in self._newcomers:
            del self._newcomers[client]
            _keep(self._regulars, client, REGULARS_MAX)
        else:
            _keep(self._newcomers, client, NEWCOMERS_MAX)
        return NEWCOMERS


def _keep(clients: OrderedDict[str, None], client: str, most: int) -> None:
    """Add a client, in the place of the one that was added first if there are too many."""
    clients[client] = None
    if len(clients) > most:
        clients.popitem(last=False)
