//! What is saved of a device's registers, and in which order it is written again.

use virtmesh_board::saved::Saved;
use virtmesh_board::{Kind, Operation};

const STATUS: u32 = 0x070;
const QUEUE_SEL: u32 = 0x030;
const QUEUE_READY: u32 = 0x044;
const DRIVER_FEATURES: u32 = 0x020;
const DRIVER_FEATURES_SEL: u32 = 0x024;

fn note(saved: &mut Saved, writes: &[(u32, u64)]) {
    for (offset, value) in writes {
        saved.note(Operation::write(*offset, 4, *value));
    }
}

fn listed(saved: &Saved) -> Vec<(u32, u64)> {
    let writes = saved.writes();
    assert!(writes.iter().all(Operation::is_write));
    writes
        .iter()
        .map(|write| (write.offset, write.value))
        .collect()
}

/// What a driver writes to bring up a device with two queues.
const BRING_UP: [(u32, u64); 25] = [
    (STATUS, 0),
    (STATUS, 1),
    (STATUS, 3),
    (0x014, 1),
    (DRIVER_FEATURES_SEL, 1),
    (DRIVER_FEATURES, 0x1),
    (DRIVER_FEATURES_SEL, 0),
    (DRIVER_FEATURES, 0x200),
    (STATUS, 0xB),
    (QUEUE_SEL, 0),
    (0x038, 64),
    (0x080, 0x8000_1000),
    (0x084, 0),
    (0x090, 0x8000_2000),
    (0x094, 0),
    (0x0A0, 0x8000_3000),
    (0x0A4, 0),
    (QUEUE_READY, 1),
    (QUEUE_SEL, 1),
    (0x038, 16),
    (0x080, 0x8000_4000),
    (QUEUE_READY, 1),
    (STATUS, 0xF),
    (0x050, 1),
    (0x064, 3),
];

#[test]
fn a_device_is_brought_up_in_the_order_of_the_specification() {
    let mut saved = Saved::new(Kind::Virtio);
    note(&mut saved, &BRING_UP);
    note(&mut saved, &[(QUEUE_SEL, 0), (0x0AC, 2)]);
    assert_eq!(
        listed(&saved),
        [
            (STATUS, 1),
            (STATUS, 3),
            (DRIVER_FEATURES_SEL, 0),
            (DRIVER_FEATURES, 0x200),
            (DRIVER_FEATURES_SEL, 1),
            (DRIVER_FEATURES, 0x1),
            (STATUS, 0xB),
            (QUEUE_SEL, 0),
            (0x038, 64),
            (0x080, 0x8000_1000),
            (0x084, 0),
            (0x090, 0x8000_2000),
            (0x094, 0),
            (0x0A0, 0x8000_3000),
            (0x0A4, 0),
            (QUEUE_READY, 1),
            (QUEUE_SEL, 1),
            (0x038, 16),
            (0x080, 0x8000_4000),
            (QUEUE_READY, 1),
            (STATUS, 0xF),
            (0x014, 1),
            (DRIVER_FEATURES_SEL, 0),
            (QUEUE_SEL, 0),
            (0x0AC, 2),
        ]
    );
}

#[test]
fn a_reset_clears_what_is_saved() {
    let mut saved = Saved::new(Kind::Virtio);
    note(&mut saved, &BRING_UP);
    note(&mut saved, &[(STATUS, 0)]);
    assert_eq!(listed(&saved), []);
}

#[test]
fn what_was_written_again_replaces_what_was_before() {
    let mut saved = Saved::new(Kind::Virtio);
    note(&mut saved, &[(STATUS, 1), (STATUS, 1), (STATUS, 3)]);
    note(&mut saved, &[(DRIVER_FEATURES, 1), (DRIVER_FEATURES, 2)]);
    note(&mut saved, &[(0x038, 8), (0x038, 16)]);
    let expected = [
        (STATUS, 1),
        (STATUS, 3),
        (DRIVER_FEATURES_SEL, 0),
        (DRIVER_FEATURES, 2),
        (QUEUE_SEL, 0),
        (0x038, 16),
    ];
    assert_eq!(listed(&saved), expected);
}

#[test]
fn a_stopped_queue_is_not_started_and_a_reset_one_is_forgotten() {
    let mut saved = Saved::new(Kind::Virtio);
    note(
        &mut saved,
        &[(0x038, 8), (QUEUE_READY, 1), (QUEUE_READY, 0)],
    );
    assert_eq!(listed(&saved), [(QUEUE_SEL, 0), (0x038, 8)]);
    note(&mut saved, &[(0x0C0, 1)]);
    assert_eq!(listed(&saved), []);
}

#[test]
fn configuration_writes_come_after_driver_ok_in_their_order() {
    let mut saved = Saved::new(Kind::Virtio);
    saved.note(Operation::write(0x100, 1, 3));
    saved.note(Operation::write(0x101, 1, 5));
    saved.note(Operation::write(0x100, 1, 4));
    note(&mut saved, &[(STATUS, 0xF)]);
    assert_eq!(listed(&saved), [(STATUS, 0xF), (0x101, 5), (0x100, 4)]);
    assert_eq!(saved.writes()[1].width(), 1);
}

#[test]
fn a_driver_that_writes_everywhere_is_not_remembered_without_bound() {
    let mut saved = Saved::new(Kind::Virtio);
    for value in 0..2000 {
        let offset = 0x100 + u32::try_from(value).unwrap();
        let writes = [
            (QUEUE_SEL, value),
            (0x038, value),
            (DRIVER_FEATURES_SEL, value),
        ];
        note(&mut saved, &writes);
        note(
            &mut saved,
            &[
                (DRIVER_FEATURES, value),
                (offset, value),
                (STATUS, value | 1),
            ],
        );
    }
    assert!(saved.writes().len() < 4000, "it fits one request");
}

fn uart(shift: u8, writes: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let mut saved = Saved::new(Kind::Uart { shift });
    for (offset, value) in writes {
        saved.note(Operation::write(*offset, 1, *value));
    }
    listed(&saved)
}

/// What Linux's 8250 driver writes: divisor, format, FIFOs, modem control, interrupts, characters.
const SET_UP: [(u32, u64); 9] = [
    (3, 0x80),
    (0, 12),
    (1, 0),
    (3, 0x03),
    (2, 0x87),
    (4, 0x0B),
    (1, 0x05),
    (0, 0x41),
    (7, 0x55),
];

#[test]
fn a_serial_port_is_set_up_without_its_characters_and_fifo_resets() {
    let expected = [
        (3, 0x83),
        (0, 12),
        (1, 0),
        (3, 0x03),
        (2, 0x81),
        (4, 0x0B),
        (7, 0x55),
        (1, 0x05),
    ];
    assert_eq!(uart(0, &SET_UP), expected);
}

#[test]
fn a_divisor_latch_that_is_open_stays_open() {
    let writes = [(1, 1), (3, 0x83), (0, 1)];
    let expected = [(3, 0x83), (0, 1), (3, 0x03), (1, 1), (3, 0x83)];
    assert_eq!(uart(0, &writes), expected);
}

#[test]
fn places_may_be_wider_apart() {
    let writes: Vec<_> = SET_UP
        .iter()
        .map(|(offset, value)| (offset << 2, *value))
        .collect();
    assert_eq!(uart(2, &writes)[0], (0x0C, 0x83));
}

#[test]
fn nothing_is_saved_of_an_unknown_device() {
    let mut saved = Saved::new(Kind::Other);
    note(&mut saved, &BRING_UP);
    assert_eq!(listed(&saved), []);
}
