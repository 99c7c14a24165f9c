//! The registers of a hart by name, for debuggers.

use std::collections::HashMap;

use virtmesh_hart::Hart;

/// CSRs by name (RISC-V privileged architecture, tables 2 to 8). Those that the hart has not are left out.
const CSRS: [(&str, u16); 44] = [
    ("fflags", 0x001),
    ("frm", 0x002),
    ("fcsr", 0x003),
    ("sstatus", 0x100),
    ("sie", 0x104),
    ("stvec", 0x105),
    ("scounteren", 0x106),
    ("senvcfg", 0x10A),
    ("sscratch", 0x140),
    ("sepc", 0x141),
    ("scause", 0x142),
    ("stval", 0x143),
    ("sip", 0x144),
    ("stimecmp", 0x14D),
    ("satp", 0x180),
    ("mstatus", 0x300),
    ("misa", 0x301),
    ("medeleg", 0x302),
    ("mideleg", 0x303),
    ("mie", 0x304),
    ("mtvec", 0x305),
    ("mcounteren", 0x306),
    ("menvcfg", 0x30A),
    ("mcountinhibit", 0x320),
    ("mscratch", 0x340),
    ("mepc", 0x341),
    ("mcause", 0x342),
    ("mtval", 0x343),
    ("mip", 0x344),
    ("pmpcfg0", 0x3A0),
    ("pmpcfg2", 0x3A2),
    ("pmpaddr0", 0x3B0),
    ("pmpaddr1", 0x3B1),
    ("pmpaddr2", 0x3B2),
    ("pmpaddr3", 0x3B3),
    ("mcycle", 0xB00),
    ("minstret", 0xB02),
    ("cycle", 0xC00),
    ("time", 0xC01),
    ("instret", 0xC02),
    ("mvendorid", 0xF11),
    ("marchid", 0xF12),
    ("mimpid", 0xF13),
    ("mhartid", 0xF14),
];

/// Registers of each file.
const FILE: usize = 32;

/// Read all: pc, privilege, x0 to x31, f0 to f31, and the CSRs.
pub fn read_all(hart: &Hart) -> HashMap<String, u64> {
    let fixed = [("pc", hart.pc()), ("privilege", hart.privilege() as u64)];
    let mut registers: HashMap<_, _> = fixed.map(|(name, value)| (name.into(), value)).into();
    for index in 0..FILE {
        registers.insert(format!("x{index}"), hart.x(index));
        registers.insert(format!("f{index}"), hart.f(index));
    }
    let csrs = CSRS.iter();
    registers.extend(csrs.filter_map(|(name, number)| {
        let value = hart.csr(*number)?;
        Some(((*name).into(), value))
    }));
    registers
}

/// Write one. False if there is none of that name that can be written.
pub fn write(hart: &mut Hart, name: &str, value: u64) -> bool {
    if name == "pc" {
        hart.set_pc(value);
        return true;
    }
    if let Some((_, number)) = CSRS.iter().find(|(known, _)| *known == name) {
        return hart.set_csr(*number, value);
    }
    let index = |prefix| {
        let digits: &str = name.strip_prefix(prefix)?;
        digits.parse::<usize>().ok().filter(|index| *index < FILE)
    };
    if let Some(index) = index('x') {
        hart.set_x(index, value);
        return true;
    }
    if let Some(index) = index('f') {
        hart.set_f(index, value);
        return true;
    }
    false
}
