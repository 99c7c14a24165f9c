"""Screens: the virtio GPU device, in 2D (virtio 1.4, 5.7)."""
