//! Sv39: random page tables against a slow, plain walk, and single rules.

use proptest::prelude::*;
use virtmesh_hart::Exit;
use virtmesh_hart::Privilege::{self, Machine as M, Supervisor as S, User as U};

use crate::asm::{ECALL, NOP, load, sfence_vma, store};
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

/// A machine with one page at virtual `va`, whose entry (level 0) is `flags` and page 64.
fn mapped(va: u64, flags: u64) -> Machine {
    let mut m = machine();
    let table = |page: u64| BASE + page * 4096;
    m.write64(table(16) + (va >> 30 & 511) * 8, table(17) >> 2 | V);
    m.write64(table(17) + (va >> 21 & 511) * 8, table(18) >> 2 | V);
    m.write64(table(18) + (va >> 12 & 511) * 8, table(64) >> 2 | flags);
    m
}

const VA: u64 = 0x4020_3000;
const SUPERVISOR: Regime = Regime {
    user: false,
    sum: false,
    mxr: false,
    update: true,
};

fn set_leaf(m: &mut Machine, flags: u64, page: u64) {
    m.write64(BASE + 18 * 4096 + 3 * 8, (BASE + page * 4096) >> 2 | flags);
}

fn sfence(m: &mut Machine, rs1: u32) {
    m.write32(CODE + 16, &[sfence_vma(0, 0), sfence_vma(9, 0)]);
    m.hart.set_x(9, VA + 0x123);
    m.hart.set_pc(CODE + 16 + if rs1 == 0 { 0 } else { 4 });
    m.step(1);
}

#[test]
fn sfence_vma_makes_a_changed_entry_seen() {
    for rs1 in [0, 9] {
        let mut m = mapped(VA, V | R | W | A | D);
        access(&mut m, VA, Kind::Load, SUPERVISOR);
        assert_eq!(m.hart.x(7) >> 32, 64);

        set_leaf(&mut m, V | R | W | A | D, 65);
        sfence(&mut m, rs1);
        access(&mut m, VA, Kind::Load, SUPERVISOR);

        assert_eq!(m.hart.x(7) >> 32, 65);
    }
}

#[test]
fn sfence_vma_of_one_address_ends_a_superpage() {
    let mut m = mapped(VA, 0);
    m.write64(BASE + 17 * 4096 + 8, BASE >> 2 | V | R | A);
    let va = VA & !0x1f_ffff | 64 << 12;
    for page in [64, 65] {
        access(
            &mut m,
            va - (64 << 12) + (page << 12),
            Kind::Load,
            SUPERVISOR,
        );
        assert_eq!(m.hart.x(7) >> 32, page);
    }

    m.write64(BASE + 17 * 4096 + 8, 0);
    sfence(&mut m, 9);
    access(&mut m, va, Kind::Load, SUPERVISOR);

    assert_eq!(
        (m.csr(MCAUSE), m.csr(MTVAL)),
        (13, va),
        "VA of the fence is on another page of it"
    );
}

#[test]
fn flush_makes_a_changed_entry_seen() {
    let mut m = mapped(VA, V | R | A);
    access(&mut m, VA, Kind::Load, SUPERVISOR);
    set_leaf(&mut m, 0, 64);

    m.hart.flush();
    access(&mut m, VA, Kind::Load, SUPERVISOR);

    assert_eq!(m.csr(MCAUSE), 13);
}

#[test]
fn a_load_does_not_let_a_store_pass_a_clean_page() {
    let mut m = mapped(VA, V | R | W);
    let leaf = BASE + 18 * 4096 + 3 * 8;

    access(&mut m, VA, Kind::Load, SUPERVISOR);
    assert_eq!(m.read64(leaf) & (A | D), A);
    access(&mut m, VA, Kind::Store, SUPERVISOR);

    assert_eq!(m.read64(leaf) & (A | D), A | D);
}

#[test]
fn without_adue_a_clean_page_faults() {
    let mut m = mapped(VA, V | R | W | A);
    let regime = Regime {
        update: false,
        ..SUPERVISOR
    };

    access(&mut m, VA, Kind::Load, regime);
    assert_eq!(m.csr(MCAUSE), 0);
    access(&mut m, VA, Kind::Store, regime);

    assert_eq!(m.csr(MCAUSE), 15);
}

#[test]
fn misaligned_access_over_two_pages_faults_at_the_second() {
    for (kind, cause) in [(Kind::Load, 13), (Kind::Store, 15)] {
        let mut m = mapped(VA, V | R | W | A | D);
        access(&mut m, VA + 0xffd, kind, SUPERVISOR);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (cause, VA + 0x1000));
        assert_eq!(
            m.read64(BASE + 64 * 4096 + 0xff8) >> 32,
            64,
            "nothing is stored"
        );
    }
}

#[test]
fn instruction_over_two_pages_faults_at_the_second() {
    let mut m = mapped(VA, V | X | A);
    assert!(
        m.hart
            .ram()
            .store(BASE + 64 * 4096 + 0xffe, 2, (NOP & 0xffff).into())
    );

    access(&mut m, VA + 0xffe, Kind::Fetch, SUPERVISOR);

    assert_eq!(
        (m.csr(MCAUSE), m.csr(MEPC), m.csr(MTVAL)),
        (12, VA + 0xffe, VA + 0x1000)
    );
}

#[test]
fn tables_outside_ram_and_behind_pmp_are_access_faults() {
    let mut m = mapped(VA, V | R | A);
    m.set_csr(SATP, 8 << 60 | 0x10000);
    access(&mut m, VA, Kind::Load, SUPERVISOR);
    assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (5, VA));

    let mut m = mapped(VA, V | R | A);
    m.set_csr(0x3b0, ROOT >> 2 | 0x1ff);
    m.set_csr(0x3a0, 0x1a); // NAPOT, W without R is refused; so:
    m.set_csr(0x3a0, 0x18);
    access(&mut m, VA, Kind::Store, SUPERVISOR);
    assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (7, VA));
}

#[test]
fn translate_looks_without_rights_and_without_marks() {
    let mut m = mapped(VA, V | X);
    m.enter(S, 0);
    let leaf = m.read64(BASE + 18 * 4096 + 3 * 8);

    assert_eq!(m.hart.translate(VA + 0x123), Some(BASE + 64 * 4096 + 0x123));
    assert_eq!(m.hart.translate(VA + 0x1000), None);

    assert_eq!(m.read64(BASE + 18 * 4096 + 3 * 8), leaf);
}

#[test]
fn modes_see_their_own_pages_in_turn() {
    let mut m = mapped(VA, V | R | W | X | USER | A | D);
    let mut outcome = |user, sum| {
        access(
            &mut m,
            VA,
            Kind::Load,
            Regime {
                user,
                sum,
                ..SUPERVISOR
            },
        );
        m.csr(MCAUSE)
    };

    let outcomes: Vec<u64> = [
        (true, false),
        (false, false),
        (false, true),
        (false, false),
        (true, false),
    ]
    .map(|(user, sum)| outcome(user, sum))
    .to_vec();

    assert_eq!(outcomes, [0, 13, 0, 13, 0]);
}

#[test]
fn bare_mode_refuses_addresses_beyond_56_bits() {
    let mut m = machine();
    m.set_csr(SATP, 0);
    let privileges: [Privilege; 1] = [M];
    for privilege in privileges {
        m.hart.set_x(5, 1 << 56);
        m.hart.set_pc(CODE);
        m.step(1);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (5, 1 << 56), "{privilege:?}");
    }
}
