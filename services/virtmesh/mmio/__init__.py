"""Register windows: the table, its dispatcher, and the seam to a device model."""
