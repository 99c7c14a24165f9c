//! The board: a hart and slots for devices.

mod arguments;
mod exit;
mod memory;
mod registers;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use virtmesh_board::access_log::AccessLog;
use virtmesh_board::slot::{ANSWER_LIMIT, ConnectError};
use virtmesh_board::stats::Stats;
use virtmesh_board::wire::OP_WRITE;
use virtmesh_board::{Notifier, Operation, Options};
use virtmesh_ring::{GuestRam, RegionSpec};

use self::arguments::{
    Access, Marked, Violation, access_columns, marked_columns, refusal, request_error,
    violation_columns,
};
pub use self::exit::Exit;
use crate::errors;
use crate::memory::check_open;
use crate::recorder::Recorder;

/// Instructions for each tick of `mtime`, unless told otherwise: about real time.
const INSTRUCTIONS_PER_TICK: u64 = 10;
/// Ticks of `mtime` per second on QEMU's `virt` board.
const TIMEBASE_HZ: u64 = 10_000_000;

/// A machine without its devices.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Board {
    /// Locked by the thread that runs it.
    inner: Mutex<virtmesh_board::Board>,
    notifier: Arc<Notifier>,
    stats: Arc<Stats>,
    log: Arc<AccessLog>,
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
        let rule = arguments::plic_rule(plic_rule)?;
        let time = arguments::time(time, timebase_hz, instructions_per_tick)?;
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
        let mut board = virtmesh_board::Board::new(memory, options).map_err(|error| {
            if error.kind() == ErrorKind::InvalidInput {
                return refusal(error.to_string());
            }
            error.into()
        })?;
        board.set_answer_limit(limit);
        Ok(Self {
            notifier: board.notifier(),
            stats: board.stats(),
            log: board.log(),
            inner: Mutex::new(board),
        })
    }

    #[pyo3(signature = (address, size, source, *, kind="virtio", register_shift=0,
        quirks=None))]
    fn add_slot(
        &self,
        address: u64,
        size: u64,
        source: usize,
        kind: &str,
        register_shift: u8,
        quirks: Option<&str>,
    ) -> PyResult<usize> {
        let kind = arguments::kind(kind, register_shift)?;
        let level = arguments::quirks(quirks, kind)?;
        let mut board = self.lock()?;
        let added = board.add_slot(address, size, source, kind);
        let slot = added.map_err(|error| refusal(error.to_string()))?;
        board.set_quirks(slot, level);
        Ok(slot)
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
        // SAFETY: neither call takes pointers.
        let is_main_thread = unsafe { libc::getpid() == libc::gettid() };
        let (exit, raised) = py.detach(|| {
            let mut raised = None;
            let exit = board.run(budget, &mut || {
                // Python runs signal handlers in the main thread only.
                if !is_main_thread {
                    return false;
                }
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
        Ok(Exit::new(exit))
    }

    #[pyo3(signature = (count=1, *, interrupts=true))]
    fn step(&self, py: Python<'_>, count: u64, interrupts: bool) -> PyResult<Exit> {
        if count == 0 {
            return Err(refusal("count is at least 1"));
        }
        self.lock()?.hart().hold_interrupts(!interrupts);
        let exit = self.run(py, count);
        self.lock()?.hart().hold_interrupts(false);
        exit
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
        let result = py.detach(|| board.execute(slot, operation));
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

    fn violations(&self) -> Vec<Violation> {
        let violations = self.log.violations().into_iter();
        violations.map(violation_columns).collect()
    }

    fn marks(&self, slot: usize) -> Vec<(u32, Vec<Marked>)> {
        let marks = self.log.marks(slot).into_iter();
        marks
            .map(|one| (one.tag, one.accesses.iter().map(marked_columns).collect()))
            .collect()
    }

    fn record_to(&self, slot: usize, recorder: &Recorder) -> PyResult<()> {
        self.lock_for(slot)?
            .record_to(slot, Arc::clone(&recorder.inner));
        Ok(())
    }

    fn stats(&self) -> HashMap<&'static str, u64> {
        let mut stats: HashMap<_, _> = self.stats.list().into_iter().collect();
        stats.insert("accesses_dropped", self.log.dropped());
        stats.insert("marks", self.log.marks_made());
        stats
    }

    fn registers(&self) -> PyResult<HashMap<String, u64>> {
        Ok(registers::read_all(self.lock()?.hart()))
    }

    fn set_register(&self, name: &str, value: u64) -> PyResult<()> {
        if registers::write(self.lock()?.hart(), name, value) {
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
        memory::read_physical(py, board, address, length)
    }

    fn write_physical(&self, py: Python<'_>, address: u64, data: &[u8]) -> PyResult<()> {
        let board = &mut *self.lock()?;
        memory::write_physical(py, board, address, data)
    }

    fn read_virtual<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let board = &mut *self.lock()?;
        memory::read_virtual(py, board, address, length)
    }

    fn write_virtual(&self, py: Python<'_>, address: u64, data: &[u8]) -> PyResult<()> {
        let board = &mut *self.lock()?;
        memory::write_virtual(py, board, address, data)
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
        let ranges: PyResult<Vec<_>> = ranges.into_iter().map(arguments::watchpoint).collect();
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
