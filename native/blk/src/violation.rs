//! Counts what a driver broke, with its queue and chain.

use virtmesh_device::{EventKind, Interrupt, TraceEvent};
use virtmesh_ring::RingError;

use crate::parse::MalformedChain;
use crate::request::Request;

/// Count what a ring error says of the driver. Returns its text.
pub(crate) fn of_ring(interrupt: &Interrupt, queue: usize, cause: &RingError) -> String {
    let text = cause.to_string();
    if let Some(rule) = cause.rule() {
        let head = cause.head().unwrap_or_default();
        interrupt.violated(rule, &text, event(queue, head));
    }
    text
}

/// Count a chain that is not a request.
pub(crate) fn of_chain(interrupt: &Interrupt, queue: usize, head: u16, cause: &MalformedChain) {
    interrupt.violated(cause.rule(), &cause.to_string(), event(queue, head));
}

/// Count the rule that a request breaks, if it breaks one.
pub(crate) fn of_request(interrupt: &Interrupt, queue: usize, request: &Request) {
    if let Some(rule) = request.broken_rule {
        let (head, name) = (request.head, request.request_type.name());
        let text = format!("request {head} of queue {queue}: {name}");
        interrupt.violated(rule, &text, event(queue, head));
    }
}

fn event(queue: usize, head: u16) -> TraceEvent {
    TraceEvent::of_chain(EventKind::Violation, queue, head, 0, 0)
}
