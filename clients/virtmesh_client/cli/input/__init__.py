"""`virtmesh input`."""
