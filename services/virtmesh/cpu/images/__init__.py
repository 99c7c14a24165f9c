"""What a guest boots from: images in files, where they go in RAM, and how the CPU enters them."""
