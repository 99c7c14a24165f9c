//! The driver side of a ring, against a hostile device: what is handed back was in flight, and has at
//! most as many bytes as were writable.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use arbitrary::{Result, Unstructured};
use virtmesh_ring::{DriverQueue, RingArea, RingMemory, Segment};

use crate::guest::{self, BASE};
use crate::input;
use crate::targets::ring::config;

/// Where indirect tables are, and behind them the data.
const TABLES: u64 = BASE + 0x4000;
const DATA: u64 = BASE + 0x8000;
const ENTRIES: u16 = 8;
const STEPS: usize = 200;

/// Run a driver against any writes to its rings.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = guest::cleared(0);
    let packed = input.arbitrary()?;
    let mut config = config(input, packed)?;
    config.state = None;
    let tables = config.indirect.then_some(TABLES);
    let Ok(mut driver) = DriverQueue::new(ram.clone(), config, tables, ENTRIES) else {
        return Ok(());
    };
    let mut in_flight = HashMap::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.int_in_range(0..=7_u8)? {
            0..=1 => {
                let (readable, writable) = (data(input)?, data(input)?);
                if let Ok(Some(token)) = driver.add(&readable, &writable) {
                    let most: u64 = writable.iter().map(|one| u64::from(one.len)).sum();
                    assert_eq!(in_flight.insert(token, most), None, "a token is given once");
                }
            }
            2 => {
                let place = config
                    .device_area
                    .wrapping_add(2 * u64::from(input.arbitrary::<u8>()?));
                let _ = ram.store_u16(place, input.arbitrary()?, Ordering::Release);
            }
            3 => {
                // A used element, or any descriptor, of a ring of either format.
                let slot = u64::from(input::index(input, config.size)?);
                let (at, size) = if packed {
                    (config.descriptor_area.wrapping_add(16 * slot + 8), 8)
                } else {
                    (config.device_area.wrapping_add(4 + 8 * slot), 4)
                };
                let id = u32::from(input::index(input, config.size)?);
                let len = input::length(input)?;
                if let Some(area) = ram.area(at, size) {
                    if packed {
                        let flags = *input.choose(&[0x8080_u64, 0, 0x8000, 0x80])?;
                        let word = u64::from(len) | u64::from(id) << 32 | flags << 48;
                        area.store_u64(0, word, Ordering::Release);
                    } else {
                        let _ = ram.store_u32(at, id, Ordering::Relaxed);
                        let _ = ram.store_u32(at + 4, len, Ordering::Release);
                    }
                }
            }
            4 => {
                driver.should_notify();
            }
            5 => {
                let _ = driver.enable_interrupts();
            }
            6 => driver.disable_interrupts(),
            _ => {
                if let Ok(Some((token, written))) = driver.pop_used() {
                    let most = in_flight.remove(&token).expect("it was in flight");
                    assert!(u64::from(written) <= most, "{written} of {most}");
                }
            }
        }
        assert_eq!(usize::from(driver.in_flight()), in_flight.len());
    }
    Ok(())
}

/// Some buffers of the data part.
fn data(input: &mut Unstructured<'_>) -> Result<Vec<Segment>> {
    let count = input.int_in_range(0..=3_u8)?;
    (0..count)
        .map(|_| {
            let addr = DATA + u64::from(input.arbitrary::<u8>()?);
            let len = input.int_in_range(1..=512)?;
            Ok(Segment { addr, len })
        })
        .collect()
}
