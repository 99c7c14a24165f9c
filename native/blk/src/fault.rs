//! Faults on demand of requests. They are asked for as a request is taken from its queue, in the order of
//! the queue, so that a fault is repeated where the driver repeats its requests.

use virtmesh_device::{About, FaultKind, Hit, Interrupt};

use crate::request::{Operation, Request, SECTOR_SIZE};

/// The kinds that take hold of any request.
const KINDS: u64 = FaultKind::IoError.bit() | FaultKind::Delay.bit() | FaultKind::Hang.bit();
/// The kinds that take hold of writes.
const WRITE_KINDS: u64 = FaultKind::TornWrite.bit() | FaultKind::CorruptWrite.bit();
/// Bytes that are changed where nothing else is said, and the most that are.
const CHANGED: u64 = 1;
const CHANGED_MAX: u64 = 64;
/// Changed bytes that are named.
const NAMED: usize = 4;

/// The fault that takes hold of a request, if one does. None for a request that the disk refuses.
pub fn of_request(interrupt: &Interrupt, queue: usize, request: &Request) -> Option<Hit> {
    let kinds = match request.operation {
        Operation::Refuse(_) => return None,
        Operation::Write { .. } => KINDS | WRITE_KINDS,
        Operation::Flush => KINDS | FaultKind::LostFlush.bit(),
        _ => KINDS,
    };
    take(kinds, interrupt, queue, request)
}

/// The error that takes hold of a request that is tried again after one, if one does.
pub fn of_retry(interrupt: &Interrupt, queue: usize, request: &Request) -> Option<Hit> {
    take(FaultKind::IoError.bit(), interrupt, queue, request)
}

fn take(kinds: u64, interrupt: &Interrupt, queue: usize, request: &Request) -> Option<Hit> {
    let moves = !matches!(request.operation, Operation::Flush | Operation::Identify);
    let about = About {
        queue: u8::try_from(queue).unwrap_or(u8::MAX),
        token: request.head.into(),
        request_type: request.request_type.number(),
        sectors: moves.then(|| (request.sector(), request.bytes().div_ceil(SECTOR_SIZE))),
    };
    interrupt.take_fault(kinds, &about, |hit| describe(hit, request))
}

/// How many bytes of a write are written, of its `length`: whole sectors unless the fault says how many.
pub fn torn_length(hit: &Hit, length: u64) -> u64 {
    let sectors = length / SECTOR_SIZE;
    hit.bytes.map_or_else(
        || hit.draw(0).checked_rem(sectors).unwrap_or(0) * SECTOR_SIZE,
        |bytes| bytes.min(length),
    )
}

/// The bytes of a write of `length` that are changed: where, and the bits that are turned over.
pub fn changes(hit: &Hit, length: u64) -> Vec<(u64, u8)> {
    let count = hit.bytes.unwrap_or(CHANGED).min(CHANGED_MAX);
    let change = |index| {
        let place = hit.draw(2 * index).checked_rem(length)?;
        // Never 0: that would change nothing.
        let bits = u8::try_from(hit.draw(2 * index + 1) % 255).unwrap_or(0) + 1;
        Some((place, bits))
    };
    (0..count).filter_map(change).collect()
}

/// Say which bytes a fault is about, where there are some.
fn describe(hit: &Hit, request: &Request) -> Option<String> {
    let (length, sector) = (request.bytes(), request.sector());
    match hit.kind {
        FaultKind::TornWrite => {
            let written = torn_length(hit, length);
            Some(format!(
                "torn: of the {length} bytes at sector {sector} the first {written} are written"
            ))
        }
        FaultKind::CorruptWrite => {
            let changes = changes(hit, length);
            let mut named: Vec<_> = changes
                .iter()
                .take(NAMED)
                .map(|(place, bits)| format!("{place} ^ {bits:#04x}"))
                .collect();
            if changes.len() > NAMED {
                named.push(format!("and {} more", changes.len() - NAMED));
            }
            let named = named.join(", ");
            Some(format!(
                "corrupt: of the {length} bytes at sector {sector}, byte {named}"
            ))
        }
        _ => hit
            .delay
            .map(|delay| format!("{} us at sector {sector}", delay.as_micros())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(random: u64, bytes: Option<u64>) -> Hit {
        Hit {
            id: 1,
            kind: FaultKind::TornWrite,
            index: 0,
            random,
            delay: None,
            bytes,
        }
    }

    #[test]
    fn a_torn_write_lacks_a_sector_at_least_and_ends_between_two() {
        for random in 0..1000 {
            let written = torn_length(&hit(random, None), 4096);
            assert!(written < 4096 && written.is_multiple_of(SECTOR_SIZE));
        }
        assert_eq!(torn_length(&hit(5, Some(100)), 4096), 100);
        assert_eq!(torn_length(&hit(5, Some(5000)), 4096), 4096);
        assert_eq!(torn_length(&hit(5, None), 0), 0);
    }

    #[test]
    fn each_change_is_inside_and_changes_something() {
        for random in 0..1000 {
            let found = changes(&hit(random, Some(3)), 512);
            assert_eq!(found.len(), 3);
            assert!(found.iter().all(|(place, bits)| *place < 512 && *bits != 0));
        }
        assert_eq!(changes(&hit(0, Some(1 << 40)), 512).len(), 64);
        assert!(changes(&hit(0, None), 0).is_empty());
    }
}
