"""Virtual hardware you can script, watch, break and restart."""
