//! The device's end of a register channel.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use virtmesh_device::ChannelError;

use crate::errors;
use crate::exceptions::Exception;
use crate::interrupt::Interrupt;

/// A request: tag, offsets, ops, values.
type Columns<'py> = (
    u32,
    Bound<'py, PyList>,
    Bound<'py, PyList>,
    Bound<'py, PyList>,
);

/// Receives batches of register accesses, and answers them with the state of the line.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct RegisterChannel {
    inner: Mutex<Option<virtmesh_device::RegisterChannel>>,
}

#[pymethods]
impl RegisterChannel {
    #[new]
    fn new(descriptor: RawFd, interrupt: &Interrupt) -> PyResult<Self> {
        let interrupt = Arc::clone(&interrupt.inner);
        let channel = virtmesh_device::RegisterChannel::new(descriptor, interrupt)?;
        Ok(Self {
            inner: Mutex::new(Some(channel)),
        })
    }

    fn receive<'py>(&self, py: Python<'py>, wait_us: u64) -> PyResult<Option<Columns<'py>>> {
        if wait_us > 0 {
            let longest = Duration::from_micros(wait_us);
            let came = py.detach(|| Ok::<_, PyErr>(open(&mut self.lock())?.wait(longest)))?;
            if !came {
                return Ok(None);
            }
        }
        let mut inner = self.lock();
        let received = open(&mut inner)?.receive();
        let Some(request) = received.map_err(|error| refusal(py, &error))? else {
            return Ok(None);
        };
        Ok(Some((
            request.tag,
            PyList::new(py, request.entries().map(|entry| entry.offset))?,
            PyList::new(py, request.entries().map(|entry| entry.op))?,
            PyList::new(py, request.entries().map(|entry| entry.value))?,
        )))
    }

    #[pyo3(signature = (tag, values, refused=None))]
    #[expect(clippy::needless_pass_by_value, reason = "the values are made for it")]
    fn answer(
        &self,
        py: Python<'_>,
        tag: u32,
        values: Vec<u64>,
        refused: Option<(String, String)>,
    ) -> PyResult<bool> {
        let refused = refused.as_ref();
        let refused = refused.map(|(reason, message)| (reason.as_str(), message.as_str()));
        open(&mut self.lock())?
            .answer(tag, values.iter().copied(), refused)
            .map_err(|error| refusal(py, &error))
    }

    #[pyo3(signature = (tag))]
    fn set_executing(&self, tag: Option<u32>) -> PyResult<()> {
        open(&mut self.lock())?.set_executing(tag);
        Ok(())
    }

    fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        open(&mut self.lock())?
            .flush()
            .map_err(|error| refusal(py, &error))
    }

    #[getter]
    fn ended(&self) -> bool {
        self.lock()
            .as_ref()
            .is_none_or(virtmesh_device::RegisterChannel::has_ended)
    }

    fn close(&self) {
        self.lock().take();
    }
}

impl RegisterChannel {
    fn lock(&self) -> MutexGuard<'_, Option<virtmesh_device::RegisterChannel>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel, unless it was closed.
fn open(
    inner: &mut Option<virtmesh_device::RegisterChannel>,
) -> PyResult<&mut virtmesh_device::RegisterChannel> {
    inner
        .as_mut()
        .ok_or_else(|| PyConnectionError::new_err("the register channel is closed"))
}

/// Convert the end of a channel.
fn refusal(py: Python<'_>, error: &ChannelError) -> PyErr {
    match error {
        ChannelError::Malformed(_) => errors::raise(py, Exception::BadStream, &error.to_string()),
        ChannelError::Ended | ChannelError::Io(_) => PyConnectionError::new_err(error.to_string()),
    }
}
