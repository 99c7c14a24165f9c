//! The device side of a ring, driven by a hostile driver: every chain is valid, or there is an error,
//! and after an error the queue stays broken.

use std::sync::atomic::Ordering;

use arbitrary::{Result, Unstructured};
use virtmesh_ring::layout::packed::Word;
use virtmesh_ring::layout::{Descriptor, descriptor_area_len, driver_area_len};
use virtmesh_ring::{
    Chain, DeviceQueue, GuestRam, QueueConfig, RingArea, RingError, RingMemory, RingState,
};

use crate::guest::{self, BASE, SIZE};
use crate::input::{address, index, length};

/// Where indirect tables are written.
const TABLES: u64 = BASE + 0x8000;
/// Most descriptors of a queue here.
const LONGEST: u16 = 16;
/// Steps of one input: more add nothing.
const STEPS: usize = 300;

/// A split ring.
pub fn split(input: &mut Unstructured<'_>) -> Result<()> {
    drive(input, false)
}

/// A packed ring.
pub fn packed(input: &mut Unstructured<'_>) -> Result<()> {
    drive(input, true)
}

/// A valid queue, or at times one with addresses and a state that the driver made up.
pub fn config(input: &mut Unstructured<'_>, packed: bool) -> Result<QueueConfig> {
    let size = if packed {
        input.int_in_range(1..=LONGEST)?
    } else {
        1 << input.int_in_range(0..=4_u8)?
    };
    let driver_area = BASE + descriptor_area_len(size);
    let mut config = QueueConfig {
        size,
        descriptor_area: BASE,
        driver_area,
        device_area: (driver_area + driver_area_len(size)).next_multiple_of(4),
        event_idx: input.arbitrary()?,
        indirect: input.arbitrary()?,
        packed,
        state: None,
    };
    match input.int_in_range(0..=15_u8)? {
        0 => config.size = input.arbitrary()?,
        1 => config.descriptor_area = address(input)?,
        2 => config.driver_area = address(input)?,
        3 => config.device_area = address(input)?,
        4..=6 => config.state = RingState::from_vring_base(packed, input.arbitrary()?).ok(),
        _ => {}
    }
    Ok(config)
}

/// The queue, and what the device has of it.
struct Driven {
    ram: GuestRam,
    config: QueueConfig,
    device: DeviceQueue,
    in_flight: Vec<u16>,
    allowed: u16,
    broken: Option<RingError>,
}

fn drive(input: &mut Unstructured<'_>, packed: bool) -> Result<()> {
    let ram = guest::cleared(0);
    let config = config(input, packed)?;
    let Ok(device) = DeviceQueue::new(ram.clone(), config) else {
        return Ok(());
    };
    let mut driven = Driven {
        ram,
        config,
        device,
        in_flight: Vec::new(),
        allowed: config.size,
        broken: None,
    };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        driven.step(input)?;
    }
    Ok(())
}

impl Driven {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=15_u8)? {
            0..=2 => {
                let place = u64::from(index(input, self.config.size)?);
                self.write_descriptor(self.config.descriptor_area, place, input)?;
            }
            3..=4 => {
                let place = u64::from(input.int_in_range(0..=63_u16)?);
                self.write_descriptor(TABLES, place, input)?;
            }
            5 => self.offer(input)?,
            6 => {
                // Any word of the three areas: suppression, indexes, rings.
                let place = BASE + 2 * u64::from(input.arbitrary::<u8>()?);
                let value = input.arbitrary()?;
                let _ = self.ram.store_u16(place, value, Ordering::Release);
            }
            7..=9 => {
                let popped = self.device.pop();
                self.take(popped);
            }
            10 => {
                let mut chains = Vec::new();
                let before = self.broken;
                let popped = self
                    .device
                    .pop_batch(input.int_in_range(1..=20)?, &mut chains);
                for chain in chains {
                    assert!(before.is_none(), "a broken queue hands no chain out");
                    self.check(&chain);
                }
                self.note(popped.map(|_| ()));
            }
            11 => self.push(input)?,
            12 => {
                self.device.needs_interrupt();
            }
            13 => {
                let enabled = self.device.enable_notifications().map(|_| ());
                self.note(enabled);
            }
            14 => self.device.disable_notifications(),
            _ => self.start_again(input)?,
        }
        Ok(())
    }

    fn write_descriptor(&self, area: u64, place: u64, input: &mut Unstructured<'_>) -> Result<()> {
        // At times a table that points at tables.
        let addr = match input.int_in_range(0..=3_u8)? {
            0 => TABLES + 16 * u64::from(input.arbitrary::<u8>()? % 64),
            _ => address(input)?,
        };
        let len = length(input)?;
        let next = index(input, self.config.size)?;
        let low = u16::from(input.arbitrary::<u8>()? % 8);
        let Some(area) = self.ram.area(area.wrapping_add(16 * place), 16) else {
            return Ok(());
        };
        if self.config.packed {
            // AVAIL and USED: available in this lap, in the next, or neither.
            let laps = input.choose(&[1_u16 << 7, 1 << 15, 0, 1 << 7 | 1 << 15])?;
            let flags = low | laps;
            area.write_u64(0, addr);
            let word = Word {
                len,
                id: next,
                flags,
            };
            area.store_u64(8, word.to_bits(), Ordering::Release);
        } else {
            let descriptor = Descriptor {
                addr,
                len,
                flags: low,
                next,
            };
            area.write_descriptor(0, descriptor.to_words());
        }
        Ok(())
    }

    /// Make chains available in a split ring, from its current index on.
    fn offer(&self, input: &mut Unstructured<'_>) -> Result<()> {
        let ring = self.config.driver_area;
        let Ok(mut at) = self.ram.load_u16(ring.wrapping_add(2), Ordering::Acquire) else {
            return Ok(());
        };
        for _ in 0..input.int_in_range(1..=4_u8)? {
            let entry = ring + 4 + 2 * u64::from(at % self.config.size);
            let head = index(input, self.config.size)?;
            let _ = self.ram.store_u16(entry, head, Ordering::Relaxed);
            at = at.wrapping_add(1);
        }
        if input.ratio(1, 16)? {
            at = input.arbitrary()?;
        }
        let _ = self.ram.store_u16(ring + 2, at, Ordering::Release);
        Ok(())
    }

    fn take(&mut self, popped: std::result::Result<Option<Chain>, RingError>) {
        match popped {
            Ok(Some(chain)) => {
                assert!(self.broken.is_none(), "a broken queue hands no chain out");
                self.check(&chain);
            }
            other => self.note(other.map(|_| ())),
        }
    }

    /// A chain is inside of memory, and in flight once.
    fn check(&mut self, chain: &Chain) {
        assert!(chain.head < self.config.size || self.config.packed);
        assert!(!self.in_flight.contains(&chain.head), "it is in flight");
        let buffers = chain.readable.len() + chain.writable.len();
        assert!(buffers <= usize::from(self.allowed.max(self.config.size)));
        for segment in chain.readable.iter().chain(&chain.writable) {
            let end = segment.addr.checked_add(segment.len.into());
            assert!(segment.addr >= BASE && end.is_some_and(|end| end <= BASE + SIZE));
        }
        self.in_flight.push(chain.head);
    }

    /// The consumer stays broken after its first error.
    fn note(&mut self, outcome: std::result::Result<(), RingError>) {
        match (outcome, self.broken) {
            (Err(error), Some(first)) => assert_eq!(error, first),
            (Err(error), None) => self.broken = Some(error),
            (Ok(()), first) => assert!(first.is_none(), "a broken queue stays broken"),
        }
    }

    fn push(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        let at = input.choose_index(self.in_flight.len())?;
        let head = self.in_flight.swap_remove(at);
        let written = input.arbitrary()?;
        self.device
            .push(head, written)
            .expect("what is in flight can be used");
        Ok(())
    }

    /// Another device side continues; or one with other limits.
    fn start_again(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if input.arbitrary()? {
            let buffers = input.int_in_range(0..=64)?;
            self.device.allow_indirect_buffers(buffers);
            self.allowed = self.allowed.max(buffers);
            return Ok(());
        }
        for head in self.in_flight.drain(..) {
            self.device
                .push(head, 0)
                .expect("what is in flight can be used");
        }
        if self.broken.is_some() {
            return Ok(());
        }
        let state = self.device.state();
        assert_eq!(
            RingState::from_vring_base(self.config.packed, state.vring_base()),
            Ok(state),
            "a state survives being told"
        );
        self.config.state = Some(state);
        self.allowed = self.config.size;
        // A split ring's used index is in memory, where the driver may have changed it.
        if let Ok(device) = DeviceQueue::new(self.ram.clone(), self.config) {
            self.device = device;
        }
        Ok(())
    }
}
