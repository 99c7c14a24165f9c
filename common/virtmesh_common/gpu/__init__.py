"""What the text of virtio 1.4 fixes for GPU devices."""
