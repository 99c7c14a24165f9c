"""`virtmesh cpu`: the CPU of a machine."""
