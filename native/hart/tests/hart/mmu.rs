//! Sv39: random page tables against a slow, plain walk, and single rules.

mod rules;

use proptest::prelude::*;
use virtmesh_hart::Exit;
use virtmesh_hart::Privilege::{Supervisor as S, User as U};

use crate::asm::{ECALL, load, store};
use crate::csrs::{MCAUSE, MENVCFG, MEPC, MSTATUS, MTVAL, SATP};
use crate::machine::{BASE, CODE, HANDLER, Machine};

const MPRV: u64 = 1 << 17;
const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;
const ADUE: u64 = 1 << 61;

/// Pages of RAM that hold tables: the first is the root.
const TABLES: std::ops::Range<u64> = 16..22;
/// Pages of RAM that hold data.
const PAGES: std::ops::Range<u64> = 64..96;
const ROOT: u64 = BASE + 16 * 4096;
const SV39: u64 = 8 << 60 | ROOT >> 12;

const V: u64 = 1;
const R: u64 = 2;
const W: u64 = 4;
const X: u64 = 8;
const USER: u64 = 16;
const A: u64 = 64;
const D: u64 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fetch,
    Load,
    Store,
}

/// What decides, besides the table.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // four independent bits
struct Regime {
    user: bool,
    sum: bool,
    mxr: bool,
    update: bool,
}

/// The walk, step by step as the privileged specification numbers them. The physical address and the change
/// of an entry (address, new value); or whether it is a page fault (else an access fault).
fn reference(
    m: &Machine,
    va: u64,
    kind: Kind,
    regime: Regime,
) -> Result<(u64, Option<(u64, u64)>), bool> {
    let sign = va >> 38 & 1;
    if (39..64).any(|bit| va >> bit & 1 != sign) {
        return Err(true);
    }
    let mut a = ROOT; // step 1
    let mut i = 2;
    loop {
        let address = a + (va >> (12 + 9 * i) & 511) * 8; // step 2
        let pte = m.hart.ram().load(address, 8).ok_or(false)?;
        let has = |bits| pte & bits == bits;
        if !has(V) || (!has(R) && has(W)) || pte >> 54 != 0 {
            return Err(true); // step 3
        }
        let ppn = pte >> 10 & ((1 << 44) - 1);
        if !has(R) && !has(X) {
            if pte & (D | A | USER) != 0 || i == 0 {
                return Err(true); // step 4
            }
            i -= 1;
            a = ppn << 12;
            continue;
        }
        let right = match kind {
            Kind::Fetch => has(X),
            Kind::Load => has(R) || (regime.mxr && has(X)),
            Kind::Store => has(W),
        };
        let mode = if regime.user {
            has(USER)
        } else {
            !has(USER) || (regime.sum && kind != Kind::Fetch)
        };
        if !right || !mode {
            return Err(true); // step 5
        }
        if i > 0 && ppn & ((1 << (9 * i)) - 1) != 0 {
            return Err(true); // step 6
        }
        let wanted = if kind == Kind::Store { A | D } else { A };
        let change = (!has(wanted)).then_some((address, pte | wanted)); // step 7
        if change.is_some() && !regime.update {
            return Err(true);
        }
        let low = (1 << (12 + 9 * i)) - 1;
        return Ok((ppn << 12 & !low | va & low, change)); // step 8
    }
}

/// A table entry: pointers to tables, leaves to pages, superpages of RAM, and rubbish.
fn pte() -> impl Strategy<Value = u64> {
    let flags = prop_oneof![
        6 => (any::<u8>()).prop_map(|flags| u64::from(flags) | V),
        4 => any::<u8>().prop_map(|flags| u64::from(flags) | V | R | W | X),
        1 => any::<u8>().prop_map(u64::from),
    ];
    let page = |pages: std::ops::Range<u64>| pages.prop_map(|page| ((BASE >> 12) + page) << 10);
    prop_oneof![
        6 => page(TABLES).prop_map(|ppn| ppn | V),
        6 => (page(PAGES), flags.clone()).prop_map(|(ppn, flags)| ppn | flags),
        3 => flags.clone().prop_map(|flags| BASE >> 12 << 10 | flags),
        1 => (page(TABLES), flags.clone()).prop_map(|(ppn, flags)| ppn | flags),
        1 => flags.clone().prop_map(|flags| (0x10000 << 10) | flags),
        1 => (flags, 54u32..64).prop_map(|(flags, bit)| 1 << bit | BASE >> 12 << 10 | flags),
    ]
}

/// Few indices at each level, so that walks meet the entries that were made.
fn address() -> impl Strategy<Value = u64> {
    (
        0u64..4,
        0u64..4,
        0u64..4,
        0u64..512,
        prop::bool::weighted(0.05),
        any::<bool>(),
    )
        .prop_map(|(top, middle, low, word, bad, high)| {
            let va = top << 30 | middle << 21 | low << 12 | word << 3;
            let va = if high { va | !0 << 38 } else { va };
            if bad { va ^ 1 << 45 } else { va }
        })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Fetch), Just(Kind::Load), Just(Kind::Store)]
}

/// The entries for `address`: indices 0 to 3 of each table, and of the root those of high addresses too.
fn fill_tables(m: &mut Machine, entries: &[u64]) {
    let mut entries = entries.iter();
    for table in TABLES {
        for index in (0..4).chain(256..260) {
            if let Some(&entry) = entries.next() {
                m.write64(BASE + table * 4096 + index * 8, entry);
            }
        }
    }
}

/// Each double of a data page names its page, and is ECALL for who executes it.
fn fill_pages(m: &mut Machine) {
    for page in PAGES {
        for word in 0..512 {
            m.write64(BASE + page * 4096 + word * 8, page << 32 | u64::from(ECALL));
        }
    }
}

fn expected_cause(kind: Kind, page_fault: bool) -> u64 {
    match (kind, page_fault) {
        (Kind::Fetch, true) => 12,
        (Kind::Load, true) => 13,
        (Kind::Store, true) => 15,
        (Kind::Fetch, false) => 1,
        (Kind::Load, false) => 5,
        (Kind::Store, false) => 7,
    }
}

/// Make the access: a fetch by MRET to `va`, else by MPRV from M mode. The exit.
fn access(m: &mut Machine, va: u64, kind: Kind, regime: Regime) -> Exit {
    let mode = if regime.user { U } else { S };
    let sum = if regime.sum { SUM } else { 0 };
    let mxr = if regime.mxr { MXR } else { 0 };
    let mstatus = (mode as u64) << 11 | sum | mxr;
    m.set_csr(MCAUSE, 0);
    m.set_csr(MENVCFG, if regime.update { ADUE } else { 0 });
    m.hart.set_x(5, va);
    m.hart.set_x(6, u64::from(ECALL));
    match kind {
        Kind::Fetch => {
            m.set_csr(MSTATUS, mstatus);
            m.set_csr(MEPC, va);
            m.hart.set_pc(CODE + 8);
            m.step(1);
        }
        Kind::Load => {
            m.set_csr(MSTATUS, mstatus | MPRV);
            m.hart.set_pc(CODE);
        }
        Kind::Store => {
            m.set_csr(MSTATUS, mstatus | MPRV);
            m.hart.set_pc(CODE + 4);
        }
    }
    m.run(1)
}

fn machine() -> Machine {
    let mut m = Machine::with_code(&[load(3, 7, 5, 0), store(3, 5, 6, 0), crate::asm::MRET]);
    m.open_pmp();
    fill_pages(&mut m);
    m.set_csr(SATP, SV39);
    m
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// Many accesses by one hart, whose TLBs live on: each is as the plain walk says, and so are A and D.
    #[test]
    fn accesses_are_as_the_plain_walk_says(
        entries in prop::collection::vec(pte(), 48),
        accesses in prop::collection::vec(
            (address(), kind(), any::<bool>(), any::<bool>(), any::<bool>()), 1..40),
        update in prop::bool::weighted(0.8),
    ) {
        let mut m = machine();
        fill_tables(&mut m, &entries);
        for (va, kind, user, sum, mxr) in accesses {
            let regime = Regime { user, sum, mxr, update };
            let expected = reference(&m, va, kind, regime);
            let before = expected.ok().and_then(|(pa, _)| m.hart.ram().load(pa, 8));
            // A store to a table or to the code would change the rules under the TLBs, and so could
            // an instruction other than ECALL, which also stayed in its mode.
            let is_data = |pa: u64| PAGES.contains(&(pa.wrapping_sub(BASE) >> 12));
            if expected.is_ok_and(|(pa, _)| {
                before.is_some() && kind != Kind::Load && !is_data(pa)
            }) {
                continue;
            }
            let exit = access(&mut m, va, kind, regime);
            match expected {
                Err(page_fault) => {
                    prop_assert_eq!(exit, Exit::Budget);
                    prop_assert_eq!(m.csr(MCAUSE), expected_cause(kind, page_fault), "{:#x} {:?}", va, kind);
                    prop_assert_eq!(m.csr(MTVAL), va);
                    prop_assert_eq!(m.hart.pc(), HANDLER);
                }
                Ok((pa, change)) => {
                    if let Some((address, value)) = change {
                        prop_assert_eq!(m.read64(address), value, "A and D of {:#x}", va);
                    }
                    match (kind, before) {
                        (Kind::Fetch, None) => prop_assert_eq!(m.csr(MCAUSE), 1),
                        (_, None) => {
                            let Exit::Access(access) = exit else {
                                panic!("{exit:?} for {va:#x}")
                            };
                            prop_assert_eq!(access.address, pa);
                        }
                        (Kind::Fetch, Some(_)) => {
                            prop_assert_eq!(m.csr(MCAUSE), if user { 8 } else { 9 });
                            prop_assert_eq!(m.csr(MEPC), va);
                        }
                        (Kind::Load, Some(word)) => {
                            prop_assert_eq!(m.csr(MCAUSE), 0);
                            // The walk may have set A in the table that it read.
                            if change.is_none() {
                                prop_assert_eq!(m.hart.x(7), word);
                            }
                        }
                        (Kind::Store, Some(word)) => {
                            prop_assert_eq!(m.csr(MCAUSE), 0);
                            prop_assert_eq!(m.read64(pa), u64::from(ECALL));
                            m.write64(pa, word);
                        }
                    }
                }
            }
        }
    }
}
