"""Virtio 1.4: the mmio transport, virtqueues, and the base of device models."""
