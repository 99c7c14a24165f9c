//! Why a run of a board ended.

use pyo3::prelude::*;
use virtmesh_board::Reason;

/// The end of a run.
#[pyclass(module = "virtmesh_native", frozen, get_all)]
pub struct Exit {
    kind: &'static str,
    slot: Option<usize>,
    code: u16,
    pc: u64,
    address: Option<u64>,
    message: String,
}

impl Exit {
    /// Convert the end of a run.
    pub fn new(exit: virtmesh_board::Exit) -> Self {
        Self {
            kind: kind_name(exit.reason),
            slot: exit.slot,
            code: exit.code,
            pc: exit.pc,
            address: exit.address,
            message: exit.message,
        }
    }
}

#[pymethods]
impl Exit {
    fn __repr__(&self) -> String {
        let Self { kind, pc, .. } = self;
        let slot = self
            .slot
            .map_or(String::new(), |slot| format!(", slot={slot}"));
        format!("Exit(kind={kind:?}, pc={pc:#x}{slot}, code={})", self.code)
    }
}

fn kind_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Budget => "budget",
        // A signal's exception is raised instead.
        Reason::Kick | Reason::Signal => "kick",
        Reason::Breakpoint => "breakpoint",
        Reason::Watchpoint => "watchpoint",
        Reason::Lost => "lost",
        Reason::PowerOff => "poweroff",
        Reason::Reboot => "reboot",
        Reason::Fail => "fail",
    }
}
