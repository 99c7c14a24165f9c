"""Names of devices, kinds of devices and machines."""

NAME_PATTERN = r"[a-z][a-z0-9-]{0,30}"
"""A regular expression for all of a name: a lower-case letter, then letters, digits and dashes."""
