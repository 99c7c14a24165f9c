//! A hart with RAM and nothing else, for comparing it with other implementations of RV64GC.
//!
//! Run: `cargo run -p virtmesh-hart --example bare_hart -- image FILE` or `... words < FILE`
//!
//! - `image`: load a flat file at 0x80000000 and run it in machine mode with floating point on. The
//!   file begins with a jump; at offset 8 it has three addresses: where to stop, and the first and
//!   the last bound of what to write to stdout then. Outside RAM there is nothing: access faults. A
//!   trap is an error unless the program has set up a handler.
//! - `words`: read words of 32 bits, little-endian; an instruction of 16 bits has zeros above.
//!   Execute each as the first instruction after a reset, in machine mode with floating point on,
//!   and write a byte for each: 1 if it is legal, 0 if it raises an illegal-instruction exception.
//!
//! `tests/interop/riscv` drives it.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;

use virtmesh_hart::{Exit, Hart, Ram, Time};

const BASE: u64 = 0x8000_0000;
/// What a file may hold, and what is there besides.
const MAX_FILE: usize = 256 << 20;
const SPARE: usize = 1 << 20;
const PAGE: usize = 4096;
const MAX_INSTRUCTIONS: u64 = 2_000_000_000;
const STEP: u64 = 1_000_000;

const MSTATUS: u16 = 0x300;
const MTVEC: u16 = 0x305;
const MEPC: u16 = 0x341;
const MCAUSE: u16 = 0x342;
const MTVAL: u16 = 0x343;
const FS_INITIAL: u64 = 1 << 13;
const ILLEGAL_INSTRUCTION: u64 = 2;
const NOP: u32 = 0x13;
const NO_CAUSE: u64 = 0;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let output = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["image", file] => run_image(&std::fs::read(file)?)?,
        ["words"] => {
            let mut words = Vec::new();
            io::stdin()
                .lock()
                .take(MAX_FILE as u64)
                .read_to_end(&mut words)?;
            judge_words(&words)
        }
        _ => return Err("usage: bare_hart image FILE | bare_hart words < FILE".into()),
    };
    io::stdout().lock().write_all(&output)?;
    Ok(())
}

/// Return RAM that begins with `contents`, and the address of `SPARE` bytes of zeros behind them.
fn ram(contents: &[u8]) -> (Ram, u64) {
    assert!(contents.len() <= MAX_FILE, "more than {MAX_FILE} bytes");
    let spare = contents.len().next_multiple_of(PAGE);
    let layout = Layout::from_size_align(spare + SPARE, PAGE).expect("far below the limit");
    // SAFETY: the size is not zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    if pointer.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: there is room for the contents, and nobody else knows of it.
    unsafe { pointer.copy_from_nonoverlapping(contents.as_ptr(), contents.len()) };
    // SAFETY: the memory is never freed, and nobody else refers to it.
    let ram = unsafe { Ram::new(pointer, BASE, layout.size() as u64) };
    (ram, BASE + spare as u64)
}

/// Return a hart in machine mode with floating point on, whose traps go to `handler`.
fn reset(hart: &mut Hart, pc: u64, handler: u64) {
    hart.reset(pc, 0, 0);
    for (csr, value) in [(MTVEC, handler), (MCAUSE, NO_CAUSE)] {
        assert!(hart.set_csr(csr, value), "CSR {csr:#x} is missing");
    }
    let status = hart.csr(MSTATUS).expect("machine mode");
    assert!(
        hart.set_csr(MSTATUS, status | FS_INITIAL),
        "mstatus is missing"
    );
}

fn csr(hart: &Hart, number: u16) -> u64 {
    hart.csr(number).expect("machine mode")
}

fn run_image(image: &[u8]) -> Result<Vec<u8>> {
    let (ram, handler) = ram(image);
    let header = |at| ram.load(BASE + at, 8).ok_or("no header");
    let (done, start, end) = (header(8)?, header(16)?, header(24)?);
    let mut hart = Hart::new(
        ram,
        0,
        Time::Instructions {
            hz: 10_000_000,
            per_tick: 10,
        },
    );
    reset(&mut hart, BASE, handler);
    hart.set_breakpoints(&[done, handler]);
    let kick = AtomicBool::new(false);
    for _ in 0..MAX_INSTRUCTIONS / STEP {
        match hart.run(STEP, &kick) {
            Exit::Budget => {}
            Exit::Access(_) => hart.answer(Err(())),
            Exit::Breakpoint if hart.pc() == done => {
                let bytes = (start..end).map(|at| hart.ram().load(at, 1));
                let bytes = bytes
                    .collect::<Option<Vec<u64>>>()
                    .ok_or("output outside RAM")?;
                return Ok(bytes.iter().map(|byte| byte.to_le_bytes()[0]).collect());
            }
            Exit::Breakpoint => {
                let [cause, pc, value] = [MCAUSE, MEPC, MTVAL].map(|number| csr(&hart, number));
                return Err(format!("trap {cause} at {pc:#x}, mtval {value:#x}").into());
            }
            exit => return Err(format!("at {:#x}: {exit:?}", hart.pc()).into()),
        }
    }
    Err(format!("more than {MAX_INSTRUCTIONS} instructions").into())
}

fn judge_words(words: &[u8]) -> Vec<u8> {
    // Each word has 8 bytes for itself: nothing is fetched that was fetched as another instruction.
    let mut spaced = Vec::with_capacity(2 * words.len());
    for word in words.chunks_exact(4) {
        spaced.extend_from_slice(word);
        spaced.extend_from_slice(&NOP.to_le_bytes());
    }
    let (ram, scratch) = ram(&spaced);
    let handler = scratch + SPARE as u64 / 2;
    assert!(ram.store(handler, 4, NOP.into()), "the handler is in RAM");
    let mut hart = Hart::new(
        ram,
        0,
        Time::Instructions {
            hz: 10_000_000,
            per_tick: 10,
        },
    );
    let kick = AtomicBool::new(false);
    (BASE..BASE + spaced.len() as u64)
        .step_by(8)
        .map(|pc| {
            reset(&mut hart, pc, handler);
            for register in 1..32 {
                hart.set_x(register, scratch + 4096);
            }
            let exit = hart.run(1, &kick);
            if let Exit::Access(_) = exit {
                hart.answer(Err(()));
            }
            let trapped = csr(&hart, MCAUSE) == ILLEGAL_INSTRUCTION && csr(&hart, MEPC) == pc;
            u8::from(!trapped)
        })
        .collect()
}
