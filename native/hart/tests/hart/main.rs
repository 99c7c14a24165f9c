//! The hart as the board and the guest see it.

mod any_code;
mod asm;
mod atomics;
mod code;
mod compressed;
mod csr;
mod csrs;
mod debug;
mod decoder;
mod devices;
mod float;
mod interrupts;
mod machine;
mod memory;
mod mmu;
mod pmp;
mod traps;
