//! Quirks of a virtio slot: what the board does in front of the device, for kernels that were grown on
//! QEMU. Each use is a violation of the rule that it names.
//!
//! `lenient` completes what a driver leaves out; `legacy` presents version 1 of virtio-mmio (virtio 1.4,
//! 4.2.4) too. The device has version 2 and is driven by the rules: one access of the guest becomes several.
//!
//! What is decided here depends on writes that the device *executed* ([`Registers`]), so an access that
//! is made again, of a new device, becomes the same accesses.

use std::collections::BTreeMap;

use crate::saved::virtio::{
    ACKNOWLEDGE, CONFIG, DRIVER, DRIVER_FEATURES, DRIVER_FEATURES_SEL, DRIVER_OK, FEATURES_OK,
    QUEUE_DESC_LOW, QUEUE_READY, QUEUE_SEL, Registers, STATUS,
};
use crate::wire::Operation;

const VERSION: u32 = 0x004;
const VENDOR_ID: u32 = 0x00C;
/// Registers of version 1 (4.2.4).
const GUEST_PAGE_SIZE: u32 = 0x028;
const QUEUE_ALIGN: u32 = 0x03C;
const QUEUE_PFN: u32 = 0x040;
const QUEUE_SIZE: u32 = 0x038;
const QUEUE_DEVICE_HIGH: u32 = 0x0A4;

/// `VendorID` of QEMU's virtio devices: "QEMU", little-endian.
const QEMU_VENDOR: u64 = 0x554D_4551;
/// `VIRTIO_F_VERSION_1` is bit 0 of the features with selector 1.
const VERSION_1: u64 = 1;
/// Largest split queue (2.7).
const QUEUE_SIZE_MAX: u64 = 32768;
/// Queues whose page numbers are kept.
const QUEUES_MAX: usize = 256;
/// Alignment and page size until they are written.
const PAGE: u64 = 4096;

/// A rule that a driver breaks, with the name of the quirk that helps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// As in the tables of quirks and violations.
    pub name: &'static str,
    /// What the driver should do.
    pub text: &'static str,
}

const QEMU_VENDOR_ID: Rule = Rule {
    name: "qemu_vendor_id",
    text: "VendorID names who made the device, and says nothing about how to drive it (4.2.2)",
};
const LEGACY: Rule = Rule {
    name: "legacy_interface",
    text: "a driver MUST NOT use the registers of version 1 with a device of version 2 (4.2.4)",
};
const NO_VERSION_1: Rule = Rule {
    name: "tolerate_no_version_1",
    text: "a driver MUST accept VIRTIO_F_VERSION_1 if it is offered (6.1)",
};
const NO_FEATURES_OK: Rule = Rule {
    name: "tolerate_no_features_ok",
    text: "a driver MUST set FEATURES_OK before it sets up queues and DRIVER_OK (3.1.1)",
};
const SINGLE_STATUS_BITS: Rule = Rule {
    name: "tolerate_single_status_bits",
    text: "a driver MUST NOT clear a bit of Status (2.1.1)",
};
const NO_ACKNOWLEDGE: Rule = Rule {
    name: "tolerate_no_acknowledge",
    text: "a driver MUST set ACKNOWLEDGE before DRIVER (3.1.1)",
};
const WIDE_CONFIG_ACCESS: Rule = Rule {
    name: "tolerate_wide_config_access",
    text: "a driver MUST read 64-bit fields of the configuration space by 32 bits (4.2.2.2)",
};

/// Which quirks a slot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Completes what a driver of version 2 leaves out.
    Lenient,
    /// Presents version 1 too.
    Legacy,
}

/// Quirks of one slot, with the registers that only version 1 has.
#[derive(Debug)]
pub struct Quirks {
    level: Level,
    page_size: u64,
    align: u64,
    pages: BTreeMap<u64, u64>,
}

/// What one access of the guest becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Accesses of the device; none: `answer` is all.
    pub operations: Vec<Operation>,
    /// How the guest is answered.
    pub answer: Answer,
    /// The rules that the driver breaks.
    pub broken: Vec<Rule>,
}

/// How the guest is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With this value.
    Value(u64),
    /// With the two halves that were read.
    Halves,
}

impl Quirks {
    /// As after a reset.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            page_size: PAGE,
            align: PAGE,
            pages: BTreeMap::new(),
        }
    }

    /// Forget what the driver wrote: the board was reset.
    pub fn reset(&mut self) {
        *self = Self::new(self.level);
    }

    /// Say what an access becomes. `None`: it goes to the device as it is.
    pub fn plan(&mut self, device: &Registers, access: Operation) -> Option<Plan> {
        let legacy = self.level == Level::Legacy;
        if access.width() == 8 && access.offset >= CONFIG && !access.is_write() {
            return Some(wide_read(access.offset));
        }
        match (access.offset, access.is_write()) {
            _ if access.width() != 4 => None,
            (VENDOR_ID, false) => Some(here(QEMU_VENDOR, QEMU_VENDOR_ID)),
            (STATUS, true) => self.write_status(device, access.value),
            // The device is read as well: it sees that the driver has looked.
            (VERSION, false) if legacy => Some(Plan {
                operations: vec![Operation::read(VERSION, 4)],
                ..here(1, LEGACY)
            }),
            (GUEST_PAGE_SIZE, true) if legacy => Some(keep(&mut self.page_size, access.value)),
            (QUEUE_ALIGN, true) if legacy => Some(keep(&mut self.align, access.value)),
            (QUEUE_PFN, true) if legacy => Some(self.write_page(device, access.value)),
            (QUEUE_PFN, false) if legacy => {
                let page = self.pages.get(&device.selected(QUEUE_SEL));
                Some(here(page.copied().unwrap_or(0), LEGACY))
            }
            (QUEUE_SIZE | QUEUE_READY | QUEUE_DESC_LOW..=QUEUE_DEVICE_HIGH, true) => {
                before_queues(device, access)
            }
            _ => None,
        }
    }

    fn write_status(&mut self, device: &Registers, value: u64) -> Option<Plan> {
        if value == 0 {
            *self = Self::new(self.level);
            return None;
        }
        let mut plan = Plan::empty();
        let mut status = value | device.status();
        // A driver that leaves FEATURES_OK out was told so when it was set for it.
        if status & !value & !FEATURES_OK != 0 {
            plan.broken.push(SINGLE_STATUS_BITS);
        }
        // U-Boot 2025.01 resets a device that it has acknowledged, and sets DRIVER then.
        if status & DRIVER != 0 && status & ACKNOWLEDGE == 0 {
            status |= ACKNOWLEDGE;
            plan.broken.push(NO_ACKNOWLEDGE);
            plan.operations
                .push(Operation::write(STATUS, 4, ACKNOWLEDGE));
        }
        if status & DRIVER_OK != 0 && status & FEATURES_OK == 0 {
            status |= FEATURES_OK;
            plan.accept_features(device, status & !DRIVER_OK);
        } else if status & FEATURES_OK != 0 {
            plan.accept_version_1(device);
        }
        if status == value && plan.operations.is_empty() {
            return None;
        }
        plan.operations.push(Operation::write(STATUS, 4, status));
        Some(plan)
    }

    /// `QueuePFN`: the three areas of the selected queue are behind each other (2.7.2, legacy), or the
    /// queue is stopped.
    fn write_page(&mut self, device: &Registers, page: u64) -> Plan {
        let queue = device.selected(QUEUE_SEL);
        let mut plan = here(0, LEGACY);
        if page == 0 {
            self.pages.remove(&queue);
            plan.operations.push(Operation::write(QUEUE_READY, 4, 0));
            return plan;
        }
        let size = device.queue_size();
        // A queue without a size, or with an impossible one, is not started: its PFN reads as 0.
        let fits = (1..=QUEUE_SIZE_MAX).contains(&size);
        if !fits || self.pages.len() >= QUEUES_MAX && !self.pages.contains_key(&queue) {
            return plan;
        }
        self.pages.insert(queue, page);
        if device.status() & FEATURES_OK == 0 {
            plan.accept_features(device, device.status() | FEATURES_OK);
        }
        // No overflow: page and page size have 32 bits, and the areas less than a MiB.
        let descriptors = page.wrapping_mul(self.page_size);
        let available = descriptors.wrapping_add(16 * size);
        let end = available.wrapping_add(2 * (3 + size));
        let used = end.wrapping_add(self.align - 1) & !(self.align - 1);
        let areas = [descriptors, available, used].into_iter();
        // Each area has two registers, 16 bytes from those of the next.
        for (low, area) in (QUEUE_DESC_LOW..).step_by(16).zip(areas) {
            plan.operations
                .push(Operation::write(low, 4, area & 0xFFFF_FFFF));
            plan.operations
                .push(Operation::write(low + 4, 4, area >> 32));
        }
        plan.operations.push(Operation::write(QUEUE_READY, 4, 1));
        plan
    }
}

impl Plan {
    fn empty() -> Self {
        Self {
            operations: Vec::new(),
            answer: Answer::Value(0),
            broken: Vec::new(),
        }
    }

    /// Set `FEATURES_OK`, which the driver leaves out, and read it back, as who sets it has to (3.1.1).
    fn accept_features(&mut self, device: &Registers, status: u64) {
        self.broken.push(NO_FEATURES_OK);
        self.accept_version_1(device);
        self.operations.extend([
            Operation::write(STATUS, 4, status),
            Operation::read(STATUS, 4),
        ]);
    }

    /// Accept `VIRTIO_F_VERSION_1`, unless the driver did, and leave the selector as it is.
    fn accept_version_1(&mut self, device: &Registers) {
        let accepted = device.accepted(1).unwrap_or(0);
        if accepted & VERSION_1 != 0 || device.status() & FEATURES_OK != 0 {
            return;
        }
        self.broken.push(NO_VERSION_1);
        let selected = device.selected(DRIVER_FEATURES_SEL);
        self.operations.extend([
            Operation::write(DRIVER_FEATURES_SEL, 4, 1),
            Operation::write(DRIVER_FEATURES, 4, accepted | VERSION_1),
            Operation::write(DRIVER_FEATURES_SEL, 4, selected),
        ]);
    }
}

/// A queue is set up by a driver that leaves `FEATURES_OK` out: it is set first, as a device takes no
/// queue before it.
fn before_queues(device: &Registers, access: Operation) -> Option<Plan> {
    let status = device.status();
    if status & DRIVER == 0 || status & FEATURES_OK != 0 {
        return None;
    }
    let mut plan = Plan::empty();
    plan.accept_features(device, status | FEATURES_OK);
    plan.operations.push(access);
    Some(plan)
}

/// Answer an access without the device.
fn here(value: u64, rule: Rule) -> Plan {
    Plan {
        answer: Answer::Value(value),
        broken: vec![rule],
        ..Plan::empty()
    }
}

/// Keep a page size or alignment. What is no power of two is ignored.
fn keep(place: &mut u64, value: u64) -> Plan {
    if value.is_power_of_two() {
        *place = value;
    }
    here(0, LEGACY)
}

fn wide_read(offset: u32) -> Plan {
    Plan {
        operations: [offset, offset.wrapping_add(4)]
            .map(|half| Operation::read(half, 4))
            .into(),
        answer: Answer::Halves,
        broken: vec![WIDE_CONFIG_ACCESS],
    }
}
