"""The NS16550A serial port: what its device and its driver share, and the parts of the device."""
