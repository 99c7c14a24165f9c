"""The line from the chip to the far end, and who is there."""
