"""The CPU of a machine: run, stop, step, look at registers and memory."""
