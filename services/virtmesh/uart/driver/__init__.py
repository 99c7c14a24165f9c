"""The driver of the NS16550A."""
