"""`virtmesh serial` and `virtmesh console`."""
