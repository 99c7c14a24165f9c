"""The chip: registers, receiver, transmitter, modem lines, interrupts, clock."""
