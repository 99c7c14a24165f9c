"""What names and tokens look like, and how long something may be valid."""

from __future__ import annotations

import math
import re

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
"""A name is also that of a file, so it has no slash and begins with no dot."""
TOKEN = re.compile(r"vmt_(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{32}")
"""A bearer token: its identifier, which lists show, and its secret."""
DAYS_MAX = 3650
CLIENT_DAYS = 365
"""How long a certificate of a client is valid unless somebody says otherwise."""
KEPT_DAYS = 90
"""How long a list still shows what has expired."""
AUTHORIZATION, BEARER = "authorization", "Bearer "
"""How a request has a token (RFC 6750, 2.1): the name of the header, and how its value begins."""


def check_name(name: str) -> str:
    """Return a name. Errors: ValueError for one that can't be."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name: use 1 to 64 letters, digits or . _ @ - characters,"
            " with a letter or digit at both ends"
        )
    return name


def check_days(days: float) -> float:
    """Return a number of days. Errors: ValueError for one that can't be."""
    if math.isnan(days) or not 0 < days <= DAYS_MAX:
        raise ValueError(f"{days:g} days can't be: choose more than 0, and at most {DAYS_MAX}")
    return days
