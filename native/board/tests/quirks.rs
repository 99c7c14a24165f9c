//! Quirks of a slot: what the device gets for what a driver does.

mod common;

use std::collections::HashMap;

use common::assembler::*;
use common::machine::*;
use common::{Answer, REFUSED};
use virtmesh_board::quirks::Level;
use virtmesh_board::{Board, Reason, Rule};

const VERSION: i32 = 0x004;
const VENDOR_ID: i32 = 0x00C;
const DRIVER_FEATURES: i32 = 0x020;
const PAGE_SIZE: i32 = 0x028;
const QUEUE_SEL: i32 = 0x030;
const QUEUE_SIZE: i32 = 0x038;
const ALIGN: i32 = 0x03C;
const PFN: i32 = 0x040;
const STATUS: i32 = 0x070;

/// What a driver does: a write, or a read into a0.
#[derive(Clone, Copy)]
enum Do {
    Write(i32, u32),
    Read(i32),
}

use Do::{Read, Write};

fn program(steps: &[Do]) -> Vec<u32> {
    let mut words = vec![lui(T0, SLOT_UPPER)];
    for step in steps {
        match *step {
            Write(offset, value) => {
                // Small values and pages only.
                let low = i32::try_from(value & 0x7FF).unwrap();
                words.extend([lui(T1, value >> 12), addi(T1, T1, low), sw(T1, offset, T0)]);
            }
            Read(offset) => words.push(lw(A0, offset, T0)),
        }
    }
    words.extend(poweroff());
    words
}

/// A device that keeps what is written, and refuses the registers of version 1.
fn device() -> Device {
    let mut kept = HashMap::from([(0x004, 2), (0x100, 0x1111_2222), (0x104, 0x3333_4444)]);
    Device::start(move |request| {
        let mut values = vec![];
        for (offset, op, value) in &request.accesses {
            if [0x028, 0x03C, 0x040].contains(offset) {
                let (flags, text) = (REFUSED, b"UNKNOWN_REGISTER\0".to_vec());
                return Some(Answer {
                    flags,
                    values,
                    text,
                    ..Answer::default()
                });
            }
            if op & 0x80 != 0 {
                kept.insert(*offset, *value);
            }
            values.push(if op & 0x80 == 0 {
                kept.get(offset).copied().unwrap_or(0)
            } else {
                0
            });
        }
        Some(Answer {
            values,
            ..Answer::default()
        })
    })
}

/// Run the steps. Returns the board, what the device got, and the names of the broken rules, each as
/// often as it was broken, in the order of their first times.
fn drive(level: Level, steps: &[Do]) -> (Board, Vec<(u32, u64)>, Vec<String>) {
    drive_words(level, &program(steps))
}

fn drive_words(level: Level, words: &[u32]) -> (Board, Vec<(u32, u64)>, Vec<String>) {
    let mut board = board(Rule::Spec, words);
    board.set_quirks(0, Some(level));
    let device = device();
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    let accesses = device
        .requests
        .try_iter()
        .flat_map(|request| request.accesses);
    let got = accesses.map(|(offset, _, value)| (offset, value)).collect();
    let violations = board.log().violations();
    (
        board,
        got,
        violations
            .into_iter()
            .flat_map(|one| (0..one.count).map(move |_| one.reason.clone()))
            .collect(),
    )
}

#[test]
fn a_driver_that_keeps_the_rules_goes_through_unchanged() {
    let steps = [
        Write(STATUS, 0),
        Write(STATUS, 1),
        Write(STATUS, 3),
        Write(0x024, 1),
        Write(DRIVER_FEATURES, 1),
        Write(STATUS, 0xB),
        Write(STATUS, 0xF),
        Read(VERSION),
    ];
    let (mut board, got, broken) = drive(Level::Lenient, &steps);
    let expected = [
        (0x70, 0),
        (0x70, 1),
        (0x70, 3),
        (0x24, 1),
        (0x20, 1),
        (0x70, 0xB),
        (0x70, 0xF),
        (0x04, 0),
    ];
    assert_eq!(got, expected);
    assert_eq!(broken, [""; 0]);
    assert_eq!(board.hart().x(10), 2);
}

#[test]
fn lenient_status_bits_one_by_one_are_completed_with_version_1() {
    let steps = [
        Write(STATUS, 1),
        Write(STATUS, 2),
        Write(DRIVER_FEATURES, 4),
        Write(STATUS, 8),
        Write(STATUS, 4),
    ];
    let (_, got, broken) = drive(Level::Lenient, &steps);
    let expected = [
        (0x70, 1),
        (0x70, 3),
        (0x20, 4),
        (0x24, 1),
        (0x20, 1),
        (0x24, 0),
        (0x70, 0xB),
        (0x70, 0xF),
    ];
    assert_eq!(got, expected);
    let expected = [
        "tolerate_single_status_bits",
        "tolerate_single_status_bits",
        "tolerate_single_status_bits",
        "tolerate_no_version_1",
    ];
    assert_eq!(broken, expected);
}

#[test]
fn lenient_a_driver_that_acknowledges_nothing_is_completed() {
    let (_, got, broken) = drive(Level::Lenient, &[Write(STATUS, 2), Write(STATUS, 0xB)]);
    assert_eq!(got[..2], [(0x70, 1), (0x70, 3)]);
    assert_eq!(broken[0], "tolerate_no_acknowledge");
}

#[test]
fn lenient_features_ok_that_is_left_out_comes_before_the_first_queue() {
    let steps = [
        Write(STATUS, 1),
        Write(STATUS, 3),
        Write(0x024, 1),
        Write(DRIVER_FEATURES, 1),
        Write(QUEUE_SIZE, 8),
        Write(0x044, 1),
        Write(STATUS, 7),
    ];
    let (_, got, broken) = drive(Level::Lenient, &steps);
    let expected = [
        (0x70, 0xB),
        (0x70, 0), // read back
        (0x38, 8),
        (0x44, 1),
        (0x70, 0xF),
    ];
    assert_eq!(got[4..], expected);
    assert_eq!(broken, ["tolerate_no_features_ok"]);
}

#[test]
fn lenient_the_vendor_is_that_of_qemu() {
    let (mut board, got, broken) = drive(Level::Lenient, &[Read(VENDOR_ID)]);
    assert_eq!(board.hart().x(10), 0x554D_4551);
    assert_eq!((got, broken), (vec![], vec!["qemu_vendor_id".to_string()]));
}

#[test]
fn lenient_a_wide_read_of_the_configuration_space_is_two() {
    let ld = 0x100 << 20 | T0 << 15 | 3 << 12 | A0 << 7 | 0x03;
    let mut words = vec![lui(T0, SLOT_UPPER), ld];
    words.extend(poweroff());
    let (mut board, got, broken) = drive_words(Level::Lenient, &words);
    assert_eq!(board.hart().x(10), 0x3333_4444_1111_2222);
    assert_eq!(got, [(0x100, 0), (0x104, 0)]);
    assert_eq!(broken, ["tolerate_wide_config_access"]);
}

#[test]
fn lenient_version_1_is_not_presented() {
    let steps = [Read(VERSION), Write(PFN, 0x80001)];
    let (mut board, got, broken) = drive(Level::Lenient, &steps);
    assert_eq!(board.hart().x(10), 2);
    assert_eq!(got, [(0x04, 0), (0x40, 0x80001)]);
    assert_eq!(broken, ["UNKNOWN_REGISTER"]);
}

/// What a driver of version 1 does, without `FEATURES_OK`.
const LEGACY_DRIVER: [Do; 8] = [
    Write(STATUS, 1),
    Write(STATUS, 3),
    Write(DRIVER_FEATURES, 4),
    Write(PAGE_SIZE, 0x1000),
    Write(QUEUE_SEL, 1),
    Write(QUEUE_SIZE, 8),
    Write(ALIGN, 0x1000),
    Write(PFN, 0x80010),
];

#[test]
fn legacy_a_page_number_becomes_three_areas_and_a_ready_queue() {
    let mut steps = LEGACY_DRIVER.to_vec();
    steps.extend([Write(STATUS, 7), Read(PFN)]);
    let (mut board, got, broken) = drive(Level::Legacy, &steps);
    let expected = [
        (0x70, 1),
        (0x70, 3),
        (0x20, 4),
        (0x30, 1),
        (0x24, 1),
        (0x20, 1),
        (0x24, 0),
        (0x70, 0xB),
        (0x70, 0), // read back
        (0x38, 8), // a device takes no queue before FEATURES_OK
        (0x80, 0x8001_0000),
        (0x84, 0),
        (0x90, 0x8001_0080),
        (0x94, 0),
        (0xA0, 0x8001_1000),
        (0xA4, 0),
        (0x44, 1),
        (0x70, 0xF),
    ];
    assert_eq!(got, expected);
    assert_eq!(board.hart().x(10), 0x80010);
    let named = |name: &str| broken.iter().filter(|one| *one == name).count();
    assert_eq!(named("legacy_interface"), 4);
    assert_eq!(named("tolerate_no_features_ok"), 1);
    assert_eq!(named("tolerate_no_version_1"), 1);
    assert_eq!(broken.len(), 6);
}

#[test]
fn legacy_what_is_saved_drives_a_device_of_version_2() {
    let (board, _, _) = drive(Level::Legacy, &LEGACY_DRIVER);
    let saved = board.check_slot(0).unwrap().saved.writes();
    let written: Vec<_> = saved.iter().map(|write| write.offset).collect();
    assert!(
        [0x28, 0x3C, 0x40]
            .iter()
            .all(|offset| !written.contains(offset))
    );
    assert!(
        [0x80, 0xA4, 0x44]
            .iter()
            .all(|offset| written.contains(offset))
    );
}

#[test]
fn legacy_page_number_0_stops_the_queue_and_a_reset_forgets_it() {
    let mut steps = LEGACY_DRIVER.to_vec();
    steps.extend([Write(PFN, 0), Read(PFN)]);
    let (mut board, got, _) = drive(Level::Legacy, &steps);
    assert_eq!(got.last(), Some(&(0x44, 0)));
    assert_eq!(board.hart().x(10), 0);
    let mut steps = LEGACY_DRIVER.to_vec();
    steps.extend([Write(STATUS, 0), Write(QUEUE_SEL, 1), Read(PFN)]);
    let (mut board, _, _) = drive(Level::Legacy, &steps);
    assert_eq!(board.hart().x(10), 0);
}

#[test]
fn legacy_a_queue_without_a_size_is_not_started() {
    let steps = [
        Read(VERSION),
        Write(PAGE_SIZE, 3),
        Write(ALIGN, 0),
        Write(PFN, 0x80010),
    ];
    let (mut board, got, broken) = drive(Level::Legacy, &steps);
    assert_eq!(board.hart().x(10), 1);
    assert_eq!(got, [(0x004, 0)], "Version alone is read");
    assert_eq!(broken, ["legacy_interface"; 4]);
}
