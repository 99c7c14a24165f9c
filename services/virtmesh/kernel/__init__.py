"""The kernel service: what an operating system does with the devices of a machine."""
