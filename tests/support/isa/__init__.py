"""Instructions of RV64GC on two machines: qemu-riscv64, and the hart of native/hart."""
