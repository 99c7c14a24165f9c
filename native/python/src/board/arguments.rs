//! What Python gives and gets, as Rust has it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_board::access_log::{self, Logged};
use virtmesh_board::quirks::Level;
use virtmesh_board::requests::RequestError;
use virtmesh_board::{Kind, Operation, Rule};
use virtmesh_hart::Time;

use crate::errors;
use crate::exceptions::Exception;

/// Largest `register_shift`.
const SHIFT_MAX: u8 = 7;

/// Slot, pc, offset, op, value, time in ns.
pub type Access = (usize, u64, u32, u8, u64, u64);
/// Pc, offset, op, value.
pub type Marked = (u64, u32, u8, u64);
/// Slot, reason, message, count, pc, offset or address, op, value, time in ns, number in the trace.
pub type Violation = (
    Option<usize>,
    String,
    String,
    u64,
    u64,
    u64,
    u8,
    u64,
    u64,
    Option<u64>,
);

/// Virtual address, bytes, on read, on write.
pub type Watchpoint = (u64, u64, bool, bool);

pub fn plic_rule(name: &str) -> PyResult<Rule> {
    match name {
        "spec" => Ok(Rule::Spec),
        "qemu" => Ok(Rule::Qemu),
        other => Err(refusal(format!("plic_rule {other:?} is not spec or qemu"))),
    }
}

pub fn time(name: &str, hz: u64, per_tick: u64) -> PyResult<Time> {
    if hz == 0 || per_tick == 0 {
        return Err(refusal(
            "timebase_hz and instructions_per_tick are at least 1",
        ));
    }
    match name {
        "real" => Ok(Time::Real { hz }),
        "instructions" => Ok(Time::Instructions { hz, per_tick }),
        other => Err(refusal(format!(
            "time {other:?} is not real or instructions"
        ))),
    }
}

pub fn kind(name: &str, shift: u8) -> PyResult<Kind> {
    match name {
        "virtio" => Ok(Kind::Virtio),
        "uart" if shift <= SHIFT_MAX => Ok(Kind::Uart { shift }),
        "uart" => Err(refusal(format!("register_shift is at most {SHIFT_MAX}"))),
        "other" => Ok(Kind::Other),
        other => Err(refusal(format!(
            "kind {other:?} is not virtio, uart or other"
        ))),
    }
}

pub fn quirks(name: Option<&str>, kind: Kind) -> PyResult<Option<Level>> {
    match name {
        None => Ok(None),
        Some(_) if kind != Kind::Virtio => Err(refusal("quirks are of virtio slots")),
        Some("lenient") => Ok(Some(Level::Lenient)),
        Some("legacy") => Ok(Some(Level::Legacy)),
        Some(other) => Err(refusal(format!(
            "quirks {other:?} is not lenient or legacy"
        ))),
    }
}

pub fn watchpoint((address, length, way): (u64, u64, String)) -> PyResult<Watchpoint> {
    match way.as_str() {
        "r" => Ok((address, length, true, false)),
        "w" => Ok((address, length, false, true)),
        "rw" => Ok((address, length, true, true)),
        other => Err(refusal(format!("watchpoint {other:?} is not r, w or rw"))),
    }
}

pub fn access_columns(access: &Logged) -> Access {
    let Operation { offset, op, value } = access.operation;
    (access.slot, access.pc, offset, op, value, access.time_ns)
}

pub fn marked_columns(access: &Logged) -> Marked {
    let Operation { offset, op, value } = access.operation;
    (access.pc, offset, op, value)
}

pub fn violation_columns(one: access_log::Violation) -> Violation {
    (
        one.slot,
        one.reason,
        one.message,
        one.count,
        one.pc,
        one.address,
        one.op,
        one.value,
        one.time_ns,
        one.sequence,
    )
}

pub fn refusal(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

pub fn request_error(py: Python<'_>, error: &RequestError) -> PyErr {
    let message = error.to_string();
    match error {
        RequestError::Refused(refusal) => {
            Exception::RegisterError.make(py, &message, &[("refused", &refusal.reason)])
        }
        RequestError::Lost(_) => errors::raise(py, Exception::DeviceLost, &message),
        _ => refusal(message),
    }
}
