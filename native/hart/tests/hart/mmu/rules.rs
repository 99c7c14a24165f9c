//! Sv39: single rules.

use virtmesh_hart::Privilege::{self, Machine as M, Supervisor as S};

use super::{A, D, Kind, R, ROOT, Regime, USER, V, W, X, access, machine};
use crate::asm::{NOP, sfence_vma};
use crate::csrs::{MCAUSE, MEPC, MTVAL, SATP};
use crate::machine::{BASE, CODE, Machine};

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
