//! The interrupt of a device.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_device::{About, EventKind, TraceEvent, Violation};

use crate::errors;
use crate::faults::Faults;
use crate::recorder::{Recorder, event};

/// A violation: rule, count, text, number in the trace, time in ns, detail, queue, token, value, tag.
type Row = (
    String,
    u64,
    String,
    Option<u64>,
    u64,
    u8,
    u8,
    u32,
    u64,
    Option<u32>,
);

fn row(found: Violation) -> Row {
    let event = found.event;
    (
        found.rule,
        found.count,
        found.text,
        found.sequence,
        found.time_ns,
        event.detail,
        event.queue,
        event.token,
        event.value,
        found.request,
    )
}

/// `InterruptStatus` of one device, and the eventfds that signal it.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Interrupt {
    pub inner: Arc<virtmesh_device::Interrupt>,
}

#[pymethods]
impl Interrupt {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self {
            inner: virtmesh_device::Interrupt::shared()?,
        })
    }

    #[getter]
    fn get_recorder(&self) -> Recorder {
        let inner = self.inner.recorder().cloned();
        Recorder {
            inner: inner.unwrap_or_else(|| Arc::new(virtmesh_device::Recorder::new(0))),
        }
    }

    #[setter]
    fn set_recorder(&self, recorder: &Recorder) -> PyResult<()> {
        if self.inner.record_to(Arc::clone(&recorder.inner)) {
            return Ok(());
        }
        Err(PyValueError::new_err(
            "the interrupt has a recorder already: set it once, before a queue starts",
        ))
    }

    #[getter]
    fn faults(&self) -> Faults {
        Faults {
            inner: Arc::clone(self.inner.faults()),
        }
    }

    fn offer_fault(&self, number: u32) -> bool {
        self.inner.offer_fault(number).is_some()
    }

    fn take_fault(&self, kinds: u64) -> u8 {
        let hit = self.inner.take_fault(kinds, &About::default(), |_| None);
        hit.map_or(0, |hit| hit.kind as u8)
    }

    fn take_faults(&self, kinds: u64, count: usize) -> Vec<(usize, u8)> {
        let events = 0..count;
        events
            .map(|index| (index, self.take_fault(kinds)))
            .filter(|(_, kind)| *kind != 0)
            .collect()
    }

    fn loses_notification(&self, queue: usize) -> bool {
        self.inner.loses_notification(queue)
    }

    fn takes_chain(&self, queue: usize) -> bool {
        self.inner.most_taken(queue, 1).is_some()
    }

    fn is_stuck(&self, queue: usize) -> bool {
        self.inner.is_stuck(queue)
    }

    #[getter]
    fn status(&self) -> u32 {
        self.inner.status()
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.inner.sequence()
    }

    #[getter]
    fn suppressed(&self) -> u64 {
        self.inner.suppressed()
    }

    #[getter]
    fn fault(&self) -> Option<String> {
        self.inner.fault()
    }

    #[getter]
    fn wake_fd(&self) -> RawFd {
        self.inner.wake().as_raw_fd()
    }

    #[getter]
    fn get_observed(&self) -> bool {
        self.inner.observed()
    }

    #[setter]
    fn set_observed(&self, observed: bool) {
        self.inner.set_observed(observed);
    }

    fn acknowledge(&self, bits: u32) {
        self.inner.acknowledge(bits);
    }

    fn raise_config(&self) {
        self.inner.raise_config();
    }

    fn raise_used(&self, queue: usize) {
        self.inner.raise_used(queue);
    }

    fn set_level(&self, sources: u32) {
        self.inner.set_level(sources);
    }

    fn set_fault(&self, reason: &str) {
        self.inner.set_fault(reason);
    }

    #[pyo3(signature = (rule, text, *, detail=0, queue=0, token=0, value=0, accessed=false))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by keyword")]
    fn violated(
        &self,
        rule: &str,
        text: &str,
        detail: u8,
        queue: u8,
        token: u32,
        value: u64,
        accessed: bool,
    ) -> PyResult<()> {
        let event = TraceEvent {
            token,
            value,
            ..event(EventKind::Violation as u8, detail, queue)?
        };
        if accessed {
            self.inner.violated_by_request(rule, text, event);
        } else {
            self.inner.violated(rule, text, event);
        }
        Ok(())
    }

    fn violations(&self) -> Vec<Row> {
        let found = self.inner.violations().list();
        found.into_iter().map(row).collect()
    }

    fn clear_violations(&self) {
        self.inner.violations().clear();
    }

    #[pyo3(signature = (queue, descriptor))]
    fn set_call(&self, py: Python<'_>, queue: usize, descriptor: Option<RawFd>) -> PyResult<()> {
        self.inner
            .set_call(queue, descriptor)
            .map_err(|error| errors::eventfd(py, &error))
    }

    #[pyo3(signature = (descriptor))]
    fn set_config_call(&self, py: Python<'_>, descriptor: Option<RawFd>) -> PyResult<()> {
        self.inner
            .set_config_call(descriptor)
            .map_err(|error| errors::eventfd(py, &error))
    }

    #[pyo3(signature = (descriptor))]
    fn set_line_call(&self, py: Python<'_>, descriptor: Option<RawFd>) -> PyResult<()> {
        self.inner
            .set_line_call(descriptor)
            .map_err(|error| errors::eventfd(py, &error))
    }

    fn signal(&self, py: Python<'_>, descriptor: RawFd) -> PyResult<()> {
        self.inner
            .signal(descriptor)
            .map_err(|error| errors::eventfd(py, &error))
    }

    fn reset(&self) {
        self.inner.reset();
    }
}
