"""What the CPU service and its clients share."""
