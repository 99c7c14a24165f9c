//! PMP: registers and locks, and every access against a byte-by-byte reference.

use proptest::prelude::*;
use virtmesh_hart::Exit;
use virtmesh_hart::Privilege::{Machine as M, User as U};

use crate::asm::{NOP, load, store};
use crate::csrs::{MCAUSE, MEPC, MSTATUS, MTVAL, PMPADDR0, PMPCFG0, PMPCFG2};
use crate::machine::{BASE, CODE, HANDLER, Machine};

const MPRV: u64 = 1 << 17;
const L: u8 = 0x80;
/// Where the entries of the property test lie.
const DATA: u64 = BASE + 0x8000;

/// One entry, as the specification describes it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    config: u8,
    address: u64,
}

/// Whether entry `index` matches the byte at `address`.
fn matches(entries: &[Entry], index: usize, address: u64) -> bool {
    let entry = entries[index];
    match entry.config >> 3 & 3 {
        0 => false,
        1 => {
            let low = if index == 0 {
                0
            } else {
                entries[index - 1].address
            };
            low <= address >> 2 && address >> 2 < entry.address
        }
        2 => entry.address == address >> 2,
        _ => {
            let ones = entry.address.trailing_ones();
            entry.address >> (ones + 1) == address >> 2 >> (ones + 1)
        }
    }
}

/// Whether `width` bytes at `address` may be accessed; `machine`: by M mode.
fn allows(entries: &[Entry], address: u64, width: u64, is_store: bool, machine: bool) -> bool {
    for index in 0..entries.len() {
        let hits = (address..address + width)
            .filter(|&byte| matches(entries, index, byte))
            .count() as u64;
        if hits == 0 {
            continue;
        }
        let config = entries[index].config;
        let right = if is_store { 2 } else { 1 };
        return hits == width && ((machine && config & L == 0) || config & right != 0);
    }
    machine
}

fn configure(m: &mut Machine, entries: &[Entry]) {
    for (i, entry) in entries.iter().enumerate() {
        m.set_csr(PMPADDR0 + u16::try_from(i).expect("small"), entry.address);
    }
    for (register, first) in [(PMPCFG0, 0), (PMPCFG2, 8)] {
        let value = entries
            .iter()
            .skip(first)
            .take(8)
            .enumerate()
            .fold(0, |value, (i, entry)| {
                value | u64::from(entry.config) << (8 * i)
            });
        m.set_csr(register, value);
    }
}

/// Entries about a few words near DATA, so that accesses meet their edges.
fn entry() -> impl Strategy<Value = Entry> {
    // W without R is reserved.
    let rights = prop::sample::select(vec![0u8, 1, 3, 4, 5, 7]);
    let config = (0u8..4, rights, prop::bool::weighted(0.2))
        .prop_map(|(mode, rights, lock)| mode << 3 | rights | if lock { L } else { 0 });
    let address = prop_oneof![
        4 => (0u64..16).prop_map(|word| (DATA >> 2) + word),
        1 => (0u64..0x2000).prop_map(|word| (DATA >> 2) - 0x1000 + word),
        1 => (0u32..20).prop_map(|ones| DATA >> 2 | ((1 << ones) - 1)),
    ];
    (config, address).prop_map(|(config, address)| Entry { config, address })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn loads_and_stores_are_allowed_as_the_reference_says(
        entries in prop::collection::vec(entry(), 1..=15),
        accesses in prop::collection::vec(
            (any::<bool>(), 0u32..4, 0u64..64, any::<bool>()), 1..40),
    ) {
        let mut m = Machine::new();
        for log in 0..4 {
            m.write32(CODE + u64::from(log) * 8, &[load(log, 6, 5, 0), store(log, 5, 6, 0)]);
        }
        // Entry 0 keeps the code executable for M mode, whatever follows.
        let code = Entry { config: 3 << 3 | 7, address: CODE >> 2 | 0x1ff };
        let entries: Vec<Entry> = [code].into_iter().chain(entries).collect();
        configure(&mut m, &entries);
        for (is_store, log, offset, machine) in accesses {
            let address = DATA + offset;
            let width = 1 << log;
            let mode = if machine { M } else { U };
            m.set_csr(MSTATUS, MPRV | (mode as u64) << 11);
            m.set_csr(MCAUSE, 0);
            m.hart.set_x(5, address);
            m.hart.set_pc(CODE + u64::from(log) * 8 + u64::from(is_store) * 4);
            m.step(1);
            let expected = if allows(&entries, address, width, is_store, machine) {
                0
            } else if is_store {
                7
            } else {
                5
            };
            prop_assert_eq!(m.csr(MCAUSE), expected, "{:#x} of {} bytes by {:?}", address, width, mode);
        }
    }
}

#[test]
fn without_a_match_only_machine_mode_has_access() {
    let mut m = Machine::with_code(&[NOP]);
    m.enter(U, CODE);

    m.step(1);

    assert_eq!((m.csr(MCAUSE), m.csr(MEPC), m.csr(MTVAL)), (1, CODE, CODE));
    assert_eq!(m.hart.pc(), HANDLER);
}

#[test]
fn execution_needs_x_on_each_half_of_an_instruction() {
    let mut m = Machine::with_code(&[NOP, NOP, NOP]);
    let entries = [
        Entry {
            config: 4 | 1 << 3,
            address: (CODE + 4) >> 2,
        },
        Entry {
            config: 3 | 1 << 3,
            address: (CODE + 0x1000) >> 2,
        },
    ];
    configure(&mut m, &entries);
    m.enter(U, CODE);
    m.step(1);
    assert_eq!(m.hart.pc(), CODE + 4, "allowed");
    m.step(1);
    assert_eq!((m.csr(MCAUSE), m.csr(MEPC)), (1, CODE + 4));

    let mut m = Machine::with_code(&[0x0013_0001]); // C.NOP, then the first half of NOP
    m.write32(CODE + 4, &[0]);
    configure(&mut m, &entries);
    m.enter(U, CODE);
    m.step(2);
    assert_eq!(
        (m.csr(MCAUSE), m.csr(MEPC), m.csr(MTVAL)),
        (1, CODE + 2, CODE + 4)
    );
}

#[test]
fn locked_entries_keep_their_registers() {
    let mut m = Machine::new();
    m.set_csr(PMPADDR0, 0x1000);
    m.set_csr(PMPADDR0 + 1, 0x2000);
    m.set_csr(PMPCFG0, u64::from(L | 1 << 3 | 1) << 8);

    m.set_csr(PMPADDR0, 7);
    m.set_csr(PMPADDR0 + 1, 7);
    m.set_csr(PMPCFG0, 0x1f1f);

    assert_eq!(m.csr(PMPADDR0), 0x1000, "it bounds a locked TOR entry");
    assert_eq!(m.csr(PMPADDR0 + 1), 0x2000);
    assert_eq!(m.csr(PMPCFG0), u64::from(L | 1 << 3 | 1) << 8 | 0x1f);
}

#[test]
fn locked_entry_binds_machine_mode() {
    let mut m = Machine::with_code(&[store(3, 5, 6, 0)]);
    m.hart.set_x(5, DATA);
    m.step(1);
    configure(
        &mut m,
        &[Entry {
            config: L | 2 << 3 | 1,
            address: DATA >> 2,
        }],
    );
    m.hart.set_pc(CODE);

    m.step(1);

    assert_eq!(
        m.csr(MCAUSE),
        7,
        "the TLB does not remember what was allowed before"
    );
}

#[test]
fn reserved_write_only_keeps_the_old_configuration() {
    let mut m = Machine::new();
    m.set_csr(PMPCFG0, 0x0f);

    m.set_csr(PMPCFG0, 0x0a);

    assert_eq!(m.csr(PMPCFG0), 0x0f);
}

#[test]
fn devices_are_protected_too() {
    let mut m = Machine::with_code(&[load(2, 6, 5, 0)]);
    m.hart.set_x(5, 0x1000_0000);
    configure(
        &mut m,
        &[Entry {
            config: L | 3 << 3 | 2 | 1,
            address: 0x1000_0000 >> 2,
        }],
    );
    assert!(matches!(m.run(1), Exit::Access(_)));
    let mut m = Machine::with_code(&[load(2, 6, 5, 0)]);
    m.hart.set_x(5, 0x1000_0000);
    configure(
        &mut m,
        &[Entry {
            config: L | 3 << 3 | 4,
            address: 0x1000_0000 >> 2,
        }],
    );

    m.step(1);

    assert_eq!(m.csr(MCAUSE), 5);
}
