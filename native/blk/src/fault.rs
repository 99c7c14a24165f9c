//! Faults on demand of requests. They are asked for as a request is taken from its queue, in the order of
//! the queue, so that a fault is repeated where the driver repeats its requests.

use virtmesh_device::{About, FaultKind, Hit, Interrupt};

use crate::request::{Operation, Request, SECTOR_SIZE};

/// The kinds that take hold of a request.
const KINDS: u64 = FaultKind::IoError.bit();

/// The fault that takes hold of a request, if one does. None for a request that the disk refuses.
pub fn of_request(interrupt: &Interrupt, queue: usize, request: &Request) -> Option<Hit> {
    if matches!(request.operation, Operation::Refuse(_)) {
        return None;
    }
    let moves = !matches!(request.operation, Operation::Flush | Operation::Identify);
    let about = About {
        queue: u8::try_from(queue).unwrap_or(u8::MAX),
        token: request.head.into(),
        request_type: request.request_type.number(),
        sectors: moves.then(|| (request.sector(), request.bytes().div_ceil(SECTOR_SIZE))),
    };
    interrupt.take_fault(KINDS, &about)
}
