//! The board: a hart and slots for devices.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use virtmesh_board::access_log::{AccessLog, Logged};
use virtmesh_board::requests::RequestError;
use virtmesh_board::slot::{ANSWER_LIMIT, ConnectError};
use virtmesh_board::stats::Stats;
use virtmesh_board::wire::OP_WRITE;
use virtmesh_board::{Kind, Notifier, Operation, Options, Reason, Rule};
use virtmesh_hart::Time;
use virtmesh_ring::{GuestRam, RegionSpec};

use crate::exceptions::Exception;
use crate::memory::check_open;
use crate::{board_memory, board_registers, errors};

/// Instructions for each tick of `mtime`, unless told otherwise: about real time.
const INSTRUCTIONS_PER_TICK: u64 = 10;
/// Ticks of `mtime` per second on QEMU's `virt` board.
const TIMEBASE_HZ: u64 = 10_000_000;

/// Slot, pc, offset, op, value, time in ns.
type Access = (usize, u64, u32, u8, u64, u64);
/// An access, reason and message.
type Violation = (Access, String, String);

/// A machine without its devices.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Board {
    /// Locked by the thread that runs it.
    inner: Mutex<virtmesh_board::Board>,
    notifier: Arc<Notifier>,
    stats: Arc<Stats>,
    log: Arc<AccessLog>,
}

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

#[pymethods]
impl Board {
    #[new]
    #[pyo3(signature = (memory_fd, address, size, *, plic_rule="spec", timebase_hz=TIMEBASE_HZ,
        time="real", instructions_per_tick=INSTRUCTIONS_PER_TICK, answer_limit_s=None))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by keyword")]
    fn new(
        py: Python<'_>,
        memory_fd: RawFd,
        address: u64,
        size: u64,
        plic_rule: &str,
        timebase_hz: u64,
        time: &str,
        instructions_per_tick: u64,
        answer_limit_s: Option<f64>,
    ) -> PyResult<Self> {
        let rule = match plic_rule {
            "spec" => Rule::Spec,
            "qemu" => Rule::Qemu,
            other => return Err(refusal(format!("plic_rule {other:?} is not spec or qemu"))),
        };
        if timebase_hz == 0 || instructions_per_tick == 0 {
            return Err(refusal(
                "timebase_hz and instructions_per_tick are at least 1",
            ));
        }
        let hz = timebase_hz;
        let time = match time {
            "real" => Time::Real { hz },
            "instructions" => Time::Instructions {
                hz,
                per_tick: instructions_per_tick,
            },
            other => {
                return Err(refusal(format!(
                    "time {other:?} is not real or instructions"
                )));
            }
        };
        let limit = answer_limit_s.map_or(Ok(ANSWER_LIMIT), Duration::try_from_secs_f64);
        let limit = limit.map_err(|_| refusal("answer_limit_s is not a time"))?;
        check_open(py, memory_fd)?;
        // SAFETY: it is open, and the caller keeps it open during the call, which holds the GIL.
        let fd = unsafe { BorrowedFd::borrow_raw(memory_fd) };
        let region = RegionSpec {
            fd,
            guest_address: address,
            size,
            file_offset: 0,
        };
        let memory = GuestRam::map(&[region]).map_err(|error| errors::memory(py, &error))?;
        let options = Options {
            address,
            size,
            rule,
            time,
        };
        let mut board = virtmesh_board::Board::new(memory, options)?;
        board.set_answer_limit(limit);
        Ok(Self {
            notifier: board.notifier(),
            stats: board.stats(),
            log: board.log(),
            inner: Mutex::new(board),
        })
    }

    #[pyo3(signature = (address, size, source, *, kind="virtio", register_shift=0))]
    fn add_slot(
        &self,
        address: u64,
        size: u64,
        source: usize,
        kind: &str,
        register_shift: u8,
    ) -> PyResult<usize> {
        let kind = match kind {
            "virtio" => Kind::Virtio,
            "uart" if register_shift < 8 => Kind::Uart {
                shift: register_shift,
            },
            "uart" => return Err(refusal("register_shift is at most 7")),
            "other" => Kind::Other,
            other => {
                return Err(refusal(format!(
                    "kind {other:?} is not virtio, uart or other"
                )));
            }
        };
        let added = self.lock()?.add_slot(address, size, source, kind);
        added.map_err(|error| refusal(error.to_string()))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python has no slices of these"
    )]
    fn connect(
        &self,
        py: Python<'_>,
        slot: usize,
        channel_fd: RawFd,
        line_fd: RawFd,
        kicks: Vec<RawFd>,
    ) -> PyResult<()> {
        let mut board = self.lock_for(slot)?;
        check_open(py, channel_fd)?;
        // SAFETY: it is open, and the caller keeps it open during the call, which holds the GIL.
        let channel = unsafe { BorrowedFd::borrow_raw(channel_fd) };
        let connected = board.connect(slot, channel, line_fd, &kicks);
        connected.map_err(|error| match error {
            ConnectError::Eventfd(error) => errors::eventfd(py, &error),
            ConnectError::Channel(error) => refusal(error.to_string()),
        })
    }

    #[pyo3(signature = (slot, *, absent))]
    fn disconnect(&self, slot: usize, absent: bool) -> PyResult<()> {
        self.lock_for(slot)?.disconnect(slot, absent);
        Ok(())
    }

    #[pyo3(signature = (pc, a0=0, a1=0))]
    fn reset(&self, pc: u64, a0: u64, a1: u64) -> PyResult<()> {
        self.lock()?.reset(pc, a0, a1);
        Ok(())
    }

    #[pyo3(signature = (budget=0))]
    fn run(&self, py: Python<'_>, budget: u64) -> PyResult<Exit> {
        let board = &mut *self.lock()?;
        let (exit, raised) = py.detach(|| {
            let mut raised = None;
            let exit = board.run(budget, &mut || {
                #[expect(
                    clippy::redundant_closure_for_method_calls,
                    reason = "lifetimes differ"
                )]
                let result = Python::attach(|py| py.check_signals());
                raised = result.err();
                raised.is_some()
            });
            (exit, raised)
        });
        if let Some(error) = raised {
            return Err(error);
        }
        Ok(Exit {
            kind: kind_name(exit.reason),
            slot: exit.slot,
            code: exit.code,
            pc: exit.pc,
            address: exit.address,
            message: exit.message,
        })
    }

    #[pyo3(signature = (count=1))]
    fn step(&self, py: Python<'_>, count: u64) -> PyResult<Exit> {
        if count == 0 {
            return Err(refusal("count is at least 1"));
        }
        self.run(py, count)
    }

    fn kick(&self) {
        self.notifier.stop();
    }

    #[pyo3(signature = (slot, offset, width, value=None))]
    fn access(
        &self,
        py: Python<'_>,
        slot: usize,
        offset: u32,
        width: u8,
        value: Option<u64>,
    ) -> PyResult<u64> {
        let operation = match value {
            None => Operation::read(offset, width),
            Some(value) => Operation::write(offset, width, value),
        };
        if ![1, 2, 4, 8].contains(&width) {
            return Err(refusal("width is 1, 2, 4 or 8"));
        }
        let board = &mut *self.lock_for(slot)?;
        let result = py.detach(|| board.execute(slot, &[operation]));
        result.map_err(|error| request_error(py, &error))
    }

    fn restore(&self, py: Python<'_>, slot: usize) -> PyResult<()> {
        let board = &mut *self.lock_for(slot)?;
        let result = py.detach(|| board.restore(slot));
        result.map_err(|error| request_error(py, &error))
    }

    fn saved(&self, slot: usize) -> PyResult<Vec<(u32, u8, u64)>> {
        let board = self.lock_for(slot)?;
        let writes = board.check_slot(slot).map(|slot| slot.saved.writes());
        let writes = writes.unwrap_or_default().into_iter();
        Ok(writes
            .map(|one| (one.offset, one.op & !OP_WRITE, one.value))
            .collect())
    }

    fn access_log(&self, on: bool) {
        self.log.set_on(on);
    }

    fn drain_accesses(&self) -> Vec<Access> {
        self.log
            .drain_accesses()
            .iter()
            .map(access_columns)
            .collect()
    }

    fn drain_violations(&self) -> Vec<Violation> {
        let violations = self.log.drain_violations().into_iter();
        violations
            .map(|one| (access_columns(&one.access), one.reason, one.message))
            .collect()
    }

    fn stats(&self) -> HashMap<&'static str, u64> {
        let mut stats: HashMap<_, _> = self.stats.list().into_iter().collect();
        stats.insert("accesses_dropped", self.log.dropped());
        stats
    }

    fn registers(&self) -> PyResult<HashMap<String, u64>> {
        Ok(board_registers::read_all(self.lock()?.hart()))
    }

    fn set_register(&self, name: &str, value: u64) -> PyResult<()> {
        if board_registers::write(self.lock()?.hart(), name, value) {
            return Ok(());
        }
        Err(refusal(format!(
            "there is no register {name:?} that can be written"
        )))
    }

    #[getter]
    fn mtime(&self) -> PyResult<u64> {
        Ok(self.lock()?.hart().mtime())
    }

    fn read_physical<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let board = &*self.lock()?;
        board_memory::read_physical(py, board, address, length)
    }

    fn write_physical(&self, py: Python<'_>, address: u64, data: &[u8]) -> PyResult<()> {
        let board = &mut *self.lock()?;
        board_memory::write_physical(py, board, address, data)
    }

    fn read_virtual<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let board = &mut *self.lock()?;
        board_memory::read_virtual(py, board, address, length)
    }

    fn write_virtual(&self, py: Python<'_>, address: u64, data: &[u8]) -> PyResult<()> {
        let board = &mut *self.lock()?;
        board_memory::write_virtual(py, board, address, data)
    }

    fn translate(&self, address: u64) -> PyResult<Option<u64>> {
        Ok(self.lock()?.hart().translate(address))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "Python has no slices of these"
    )]
    fn set_breakpoints(&self, addresses: Vec<u64>) -> PyResult<()> {
        self.lock()?.hart().set_breakpoints(&addresses);
        Ok(())
    }

    fn set_watchpoints(&self, ranges: Vec<(u64, u64, String)>) -> PyResult<()> {
        let ranges: PyResult<Vec<_>> = ranges
            .into_iter()
            .map(|(address, length, way)| match way.as_str() {
                "r" => Ok((address, length, true, false)),
                "w" => Ok((address, length, false, true)),
                "rw" => Ok((address, length, true, true)),
                other => Err(refusal(format!("watchpoint {other:?} is not r, w or rw"))),
            })
            .collect();
        self.lock()?.hart().set_watchpoints(&ranges?);
        Ok(())
    }
}

impl Board {
    fn lock(&self) -> PyResult<MutexGuard<'_, virtmesh_board::Board>> {
        match self.inner.try_lock() {
            Ok(board) => Ok(board),
            // A panic of another call was raised in Python; the board itself is whole.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(
                "the board runs in another thread: kick it first",
            )),
        }
    }

    fn lock_for(&self, slot: usize) -> PyResult<MutexGuard<'_, virtmesh_board::Board>> {
        let board = self.lock()?;
        board
            .check_slot(slot)
            .map_err(|error| refusal(error.to_string()))?;
        Ok(board)
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

fn access_columns(access: &Logged) -> Access {
    let Operation { offset, op, value } = access.operation;
    (access.slot, access.pc, offset, op, value, access.time_ns)
}

fn refusal(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

fn request_error(py: Python<'_>, error: &RequestError) -> PyErr {
    let message = error.to_string();
    match error {
        RequestError::Refused { refusal, .. } => {
            Exception::RegisterError.make(py, &message, &[("refused", &refusal.reason)])
        }
        RequestError::Lost(_) => errors::raise(py, Exception::DeviceLost, &message),
        _ => refusal(message),
    }
}
