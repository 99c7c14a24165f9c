//! Entry in machine mode, traps, and the end of the machine.

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

use plic::Plic;

/// The device that ends the machine, and what it is told.
const TEST_DEVICE: *mut u32 = 0x10_0000 as *mut u32;
const POWER_OFF: u32 = 0x5555;
const FAIL: u32 = 0x3333;
/// Machine mode of hart 0.
const CONTEXT: usize = 0;
const MEIE: usize = 1 << 11;

global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "la sp, stack_top",
    "la t0, trapped",
    "csrw mtvec, t0",
    "li t0, 0x6000", // mstatus.FS: floating point is on.
    "csrs mstatus, t0",
    "call main",
    ".balign 4",
    "trapped:",
    "csrr a0, mcause",
    "call fail",
    ".bss",
    ".balign 16",
    ".skip 0x10000",
    "stack_top:",
);

/// The interrupt controller.
pub fn plic() -> &'static Plic {
    // SAFETY: the board has it there, for as long as it runs.
    unsafe { Plic::from_addr(0xC00_0000) }
}

/// Let an interrupt end the sleep of `wait`.
pub fn enable(source: u32) {
    plic().set_priority(source, 1);
    plic().set_threshold(CONTEXT, 0);
    plic().enable(source, CONTEXT);
    // SAFETY: mstatus.MIE is clear, so nothing but WFI sees it.
    unsafe { asm!("csrs mie, {}", in(reg) MEIE) }
}

/// Sleep until a device asks, let `handle` serve it, and complete the interrupt.
pub fn wait(mut handle: impl FnMut(u32)) {
    // SAFETY: no memory is touched.
    unsafe { asm!("wfi") }
    while let Some(source) = plic().claim(CONTEXT) {
        handle(source.get());
        plic().complete(CONTEXT, source);
    }
}

/// End the machine.
pub fn power_off() -> ! {
    end(POWER_OFF)
}

/// End the machine with a code.
#[no_mangle]
pub extern "C" fn fail(code: u32) -> ! {
    end(FAIL | code << 16)
}

fn end(word: u32) -> ! {
    // SAFETY: a register of the board.
    unsafe { TEST_DEVICE.write_volatile(word) };
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    fail(99)
}

/// Debian's core is built to unwind; nothing here does.
#[no_mangle]
extern "C" fn rust_eh_personality() {}
