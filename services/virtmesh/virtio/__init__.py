"""Virtio 1.4: what its text fixes (registers, status, features), and the mmio transport."""
