"""Device models, one file each: a module with OPTIONS and `make` is a kind of device."""
