"""The remote serial protocol of GDB: debuggers attach to the CPU over TCP of this host."""
