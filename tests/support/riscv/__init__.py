"""Debian's riscv64 kernel for tests: on virtmesh's own processor, and on QEMU's as the oracle."""
