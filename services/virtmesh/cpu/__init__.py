"""The CPU of a machine: it runs a kernel of somebody else on the device services."""
