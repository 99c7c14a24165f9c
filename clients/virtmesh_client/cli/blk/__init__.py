"""`virtmesh blk`."""
