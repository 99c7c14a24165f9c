//! Instructions per second of CPU time: straight code, a loop with loads and stores, a chain of calls.
//!
//! Run with `cargo run --release -p virtmesh-hart --example hart_bench`. It prints, and asserts nothing about
//! speed. The last column is the ratio to straight code of the same round: compare that between machines.

use std::sync::atomic::AtomicBool;

use virtmesh_hart::{Exit, Hart, Ram, Time};

const BASE: u64 = 0x8000_0000;
const SIZE: usize = 1 << 20;
const INSTRUCTIONS: u64 = 100_000_000;
const ROUNDS: usize = 5;

fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    imm.cast_unsigned() << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn r_type(funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x33
}

fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i_type(0x13, 0, rd, rs1, imm)
}

fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
    i_type(0x03, 3, rd, rs1, imm)
}

fn sd(rs1: u32, rs2: u32, imm: i32) -> u32 {
    let imm = imm.cast_unsigned();
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (imm & 0x1f) << 7 | 0x23
}

fn jal(rd: u32, offset: i32) -> u32 {
    let imm = offset.cast_unsigned();
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 0xff) << 12
        | rd << 7
        | 0x6f
}

fn bne(rs1: u32, rs2: u32, offset: i32) -> u32 {
    let imm = offset.cast_unsigned();
    (imm >> 12 & 1) << 31
        | (imm >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | 1 << 12
        | (imm >> 1 & 0xf) << 8
        | (imm >> 11 & 1) << 7
        | 0x63
}

/// 500 arithmetic instructions on six registers, then back to the first.
fn straight() -> Vec<u32> {
    let mut code: Vec<u32> = (0..500)
        .map(|i| match i % 5 {
            0 => addi(5, 6, 1),
            1 => r_type(0, 0, 6, 7, 8),
            2 => r_type(4, 0, 7, 5, 9),
            3 => i_type(0x13, 1, 8, 6, 3),
            _ => r_type(0, 0x20, 9, 10, 7),
        })
        .collect();
    code.push(jal(0, -2000));
    code
}

/// Copies eight bytes per turn through a buffer of 32 KiB, as a C compiler writes it.
fn copy() -> Vec<u32> {
    vec![
        r_type(0, 0, 5, 11, 0), // t0 = a1
        r_type(0, 0, 6, 12, 0), // t1 = a2
        ld(7, 5, 0),            // loop: t2 = [t0]
        sd(6, 7, 0),            // [t1] = t2
        addi(5, 5, 8),          // t0 += 8
        addi(6, 6, 8),          // t1 += 8
        bne(5, 13, -16),        // until t0 == a3
        jal(0, -28),            // again
    ]
}

/// Calls a function on another page, as a program of many small functions does.
fn calls() -> Vec<u32> {
    let mut code = vec![addi(0, 0, 0); 1024 + 8];
    code[0] = jal(1, 4096); // call
    code[1] = addi(10, 10, 1);
    code[2] = bne(10, 0, -8);
    code[3] = jal(0, -12);
    code[1024] = addi(2, 2, -16);
    code[1025] = sd(2, 1, 8);
    code[1026] = ld(1, 2, 8);
    code[1027] = addi(2, 2, 16);
    code[1028] = i_type(0x67, 0, 0, 1, 0); // ret
    code
}

/// CPU time of this thread, so that a busy host disturbs less.
#[allow(clippy::cast_precision_loss)] // seconds since the start of the program
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Millions of instructions per second of CPU time.
#[allow(clippy::cast_precision_loss)] // for people
fn measure(code: &[u32]) -> f64 {
    let mut memory = vec![0u64; SIZE / 8 + 512];
    let start = memory.as_mut_ptr().cast::<u8>();
    let pointer = start.wrapping_add(start.align_offset(4096));
    // SAFETY: the vector is longer than RAM by a page, is used through `ram` alone, and outlives the hart.
    let ram = unsafe { Ram::new(pointer, BASE, SIZE as u64) };
    for (i, &word) in code.iter().enumerate() {
        assert!(ram.store(BASE + 4 * i as u64, 4, word.into()));
    }
    let mut hart = Hart::new(ram, 0, Time::Real { hz: 10_000_000 });
    hart.set_x(2, BASE + 0x8_0000);
    hart.set_x(11, BASE + 0x1_0000);
    hart.set_x(12, BASE + 0x2_0000);
    hart.set_x(13, BASE + 0x1_8000);
    let kick = AtomicBool::new(false);
    assert_eq!(hart.run(1_000_000, &kick), Exit::Budget, "warm up");
    let begin = cpu_seconds();
    assert_eq!(hart.run(INSTRUCTIONS, &kick), Exit::Budget);
    INSTRUCTIONS as f64 / (cpu_seconds() - begin) / 1e6
}

fn main() {
    let programs = [
        ("straight code", straight()),
        ("copy loop", copy()),
        ("calls between pages", calls()),
    ];
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    for _ in 0..ROUNDS {
        for (rates, (_, code)) in rounds.iter_mut().zip(&programs) {
            rates.push(measure(code));
        }
    }
    println!("{:<22}{:>8}{:>8}", "", "MIPS", "ratio");
    let mut first = None;
    for (rates, (name, _)) in rounds.iter_mut().zip(&programs) {
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let base = *first.get_or_insert(median);
        println!("{name:<22}{median:>8.0}{:>8.2}", median / base);
    }
}
