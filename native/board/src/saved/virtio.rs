//! Virtio over MMIO (virtio 1.4, 4.2.2): the writes that restore a device.
//!
//! The order is that of the initialisation (3.1.1): Status up to DRIVER, features, `FEATURES_OK`, queues,
//! `DRIVER_OK`; then the configuration space, and the selectors as the driver left them. Status 0 is never
//! replayed: a device that was started anew is reset, and Status 0 would clear the in-flight log.

use std::collections::BTreeMap;

use super::LastWrites;
use crate::wire::Operation;

pub(crate) const DEVICE_FEATURES_SEL: u32 = 0x014;
pub(crate) const DRIVER_FEATURES: u32 = 0x020;
pub(crate) const DRIVER_FEATURES_SEL: u32 = 0x024;
pub(crate) const QUEUE_SEL: u32 = 0x030;
pub(crate) const QUEUE_SIZE: u32 = 0x038;
pub(crate) const QUEUE_READY: u32 = 0x044;
pub(crate) const STATUS: u32 = 0x070;
pub(crate) const QUEUE_DESC_LOW: u32 = 0x080;
pub(crate) const QUEUE_DEVICE_HIGH: u32 = 0x0A4;
const SHM_SEL: u32 = 0x0AC;
pub(crate) const QUEUE_RESET: u32 = 0x0C0;
pub(crate) const CONFIG: u32 = 0x100;

pub(crate) const ACKNOWLEDGE: u64 = 1;
pub(crate) const DRIVER: u64 = 2;
pub(crate) const FEATURES_OK: u64 = 8;
pub(crate) const DRIVER_OK: u64 = 4;

/// Steps of Status that are noted: there are eight bits.
const STEPS_MAX: usize = 16;
/// Words of 32 features that are noted.
const FEATURE_WORDS_MAX: usize = 4;
/// Queues that are noted: more than any device has.
const QUEUES_MAX: u64 = 256;
/// Registers of one queue: size, and two words of three addresses.
const QUEUE_REGISTERS_MAX: usize = 7;
/// Places of the configuration space that are noted.
const CONFIG_WRITES_MAX: usize = 64;

/// What was written to one device since its last reset.
#[derive(Debug, Default)]
pub struct Registers {
    /// Values of Status, each different from the one before.
    steps: Vec<Operation>,
    /// By selector.
    features: BTreeMap<u64, Operation>,
    /// By index.
    queues: BTreeMap<u64, Queue>,
    config: LastWrites,
    /// The last writes to the four selectors.
    selectors: LastWrites,
}

#[derive(Debug, Default)]
struct Queue {
    registers: LastWrites,
    ready: Option<Operation>,
}

impl Registers {
    /// Note a write that the device executed.
    pub fn note(&mut self, write: Operation) {
        match write.offset {
            STATUS if write.value == 0 => *self = Self::default(),
            STATUS => self.note_status(write),
            DEVICE_FEATURES_SEL | DRIVER_FEATURES_SEL | QUEUE_SEL | SHM_SEL => {
                self.selectors.note(write, 4);
            }
            DRIVER_FEATURES => {
                let selected = self.selected(DRIVER_FEATURES_SEL);
                if self.features.len() < FEATURE_WORDS_MAX || self.features.contains_key(&selected)
                {
                    self.features.insert(selected, write);
                }
            }
            QUEUE_SIZE | QUEUE_DESC_LOW..=QUEUE_DEVICE_HIGH => {
                if let Some(queue) = self.queue() {
                    queue.registers.note(write, QUEUE_REGISTERS_MAX);
                }
            }
            QUEUE_READY => {
                if let Some(queue) = self.queue() {
                    queue.ready = (write.value != 0).then_some(write);
                }
            }
            QUEUE_RESET if write.value != 0 => {
                self.queues.remove(&self.selected(QUEUE_SEL));
            }
            CONFIG.. => self.config.note(write, CONFIG_WRITES_MAX),
            // QueueNotify, InterruptACK, and what is reserved.
            _ => {}
        }
    }

    /// The writes that restore the device, in order.
    pub fn writes(&self) -> Vec<Operation> {
        let steps = |at: fn(u64) -> bool| {
            let there = self.steps.iter().filter(move |step| at(step.value));
            there.copied()
        };
        let mut writes: Vec<Operation> =
            steps(|status| status & (FEATURES_OK | DRIVER_OK) == 0).collect();
        for (&selected, &features) in &self.features {
            writes.push(Operation::write(DRIVER_FEATURES_SEL, 4, selected));
            writes.push(features);
        }
        writes.extend(steps(|status| {
            status & (FEATURES_OK | DRIVER_OK) == FEATURES_OK
        }));
        for (&index, queue) in &self.queues {
            writes.push(Operation::write(QUEUE_SEL, 4, index));
            writes.extend(&queue.registers.0);
            writes.extend(queue.ready);
        }
        writes.extend(steps(|status| status & DRIVER_OK != 0));
        writes.extend(&self.config.0);
        writes.extend(&self.selectors.0);
        writes
    }

    /// The last value of Status; 0 if it was not written.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.value)
    }

    /// The accepted features of a selector; `None` if they were not written.
    #[must_use]
    pub fn accepted(&self, selector: u64) -> Option<u64> {
        self.features.get(&selector).map(|write| write.value)
    }

    /// The size of the selected queue; 0 if it was not written.
    #[must_use]
    pub fn queue_size(&self) -> u64 {
        let queue = self.queues.get(&self.selected(QUEUE_SEL));
        let mut sizes = queue.into_iter().flat_map(|queue| &queue.registers.0);
        let size = sizes.find(|write| write.offset == QUEUE_SIZE);
        size.map_or(0, |write| write.value)
    }

    fn note_status(&mut self, write: Operation) {
        let repeated = self
            .steps
            .last()
            .is_some_and(|last| last.value == write.value);
        if !repeated && self.steps.len() < STEPS_MAX {
            self.steps.push(write);
        }
    }

    /// The last value of a selector; 0 if it was not written.
    pub fn selected(&self, selector: u32) -> u64 {
        let written = self
            .selectors
            .0
            .iter()
            .find(|noted| noted.offset == selector);
        written.map_or(0, |noted| noted.value)
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        let index = self.selected(QUEUE_SEL);
        (index < QUEUES_MAX).then(|| self.queues.entry(index).or_default())
    }
}
