"""What the data sheet of the NS16550A fixes."""
