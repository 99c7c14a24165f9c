//! Virtqueues, driver side and device side.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_device::EventKind;
use virtmesh_ring::layout::MAX_QUEUE_SIZE;
use virtmesh_ring::{ConfigError, LogRegion, Segment, Segments};

use crate::errors;
use crate::inflight::InFlightLog;
use crate::interrupt::Interrupt;
use crate::memory::GuestMemory;
use crate::queue_recorder::QueueRecorder;
use crate::recorder::Recorder;
use crate::ring_state::RingState;

/// A buffer: guest address, length in bytes.
type Piece = (u64, u32);
/// A chain: head, readable buffers, writable buffers.
type Pieces = (u16, Vec<Piece>, Vec<Piece>);

/// The size, addresses and negotiated features of a virtqueue.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct QueueConfig {
    /// The configuration without a `base`.
    inner: virtmesh_ring::QueueConfig,
    /// The vring base, which is checked when the device side is made.
    base: Option<u32>,
    pub log: Option<LogRegion>,
}

#[pymethods]
impl QueueConfig {
    #[new]
    #[pyo3(signature = (
        *,
        size,
        descriptor_area,
        driver_area,
        device_area,
        event_idx,
        indirect,
        packed=false,
        base=None,
        state=None,
        log=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by keyword")]
    fn new(
        size: u16,
        descriptor_area: u64,
        driver_area: u64,
        device_area: u64,
        event_idx: bool,
        indirect: bool,
        packed: bool,
        base: Option<u32>,
        state: Option<&RingState>,
        log: Option<&InFlightLog>,
    ) -> PyResult<Self> {
        if base.is_some() && state.is_some() {
            return Err(PyValueError::new_err(
                "base and state are both given: give one of them",
            ));
        }
        let inner = virtmesh_ring::QueueConfig {
            size,
            descriptor_area,
            driver_area,
            device_area,
            event_idx,
            indirect,
            packed,
            state: state.map(|state| state.inner),
        };
        let log = log.map(|log| log.region.clone());
        Ok(Self { inner, base, log })
    }
}

impl QueueConfig {
    /// The configuration for a device side, which continues from the base.
    pub fn for_device(&self) -> Result<virtmesh_ring::QueueConfig, ConfigError> {
        let mut config = self.inner;
        if let Some(base) = self.base {
            let state = virtmesh_ring::RingState::from_vring_base(config.packed, base)?;
            config.state = Some(state);
        }
        Ok(config)
    }
}

/// The driver side.
#[pyclass(module = "virtmesh_native")]
pub struct DriverQueue {
    inner: virtmesh_ring::DriverQueue,
    recorder: QueueRecorder,
    /// Chains were added since `should_notify` was last called.
    added: bool,
}

#[pymethods]
impl DriverQueue {
    #[new]
    #[pyo3(signature = (
        memory,
        config,
        *,
        indirect_area=None,
        indirect_entries=0,
        recorder=None,
        index=0,
    ))]
    fn new(
        memory: &GuestMemory,
        config: &QueueConfig,
        indirect_area: Option<u64>,
        indirect_entries: u16,
        recorder: Option<&Recorder>,
        index: usize,
    ) -> PyResult<Self> {
        let ram = memory.ram.clone();
        virtmesh_ring::DriverQueue::new(ram, config.inner, indirect_area, indirect_entries)
            .map(|inner| Self {
                inner,
                recorder: QueueRecorder::new(recorder, index),
                added: false,
            })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[getter]
    fn free(&self) -> u16 {
        self.inner.free()
    }

    #[getter]
    fn in_flight(&self) -> u16 {
        self.inner.in_flight()
    }

    fn add(
        &mut self,
        py: Python<'_>,
        readable: &Bound<'_, PyAny>,
        writable: &Bound<'_, PyAny>,
    ) -> PyResult<Option<u16>> {
        let (readable, writable) = (segments(readable)?, segments(writable)?);
        let time = self.recorder.time(); // before the device can see the chain
        let head = self
            .inner
            .add(&readable, &writable)
            .map_err(|error| errors::ring(py, &error))?;
        if let Some(head) = head {
            self.recorder
                .record_chain(EventKind::Add, time, head, &readable, &writable);
            self.added = true;
        }
        Ok(head)
    }

    fn should_notify(&mut self) -> bool {
        let wanted = self.inner.should_notify();
        if std::mem::take(&mut self.added) {
            self.recorder.record_event(if wanted {
                EventKind::Notify
            } else {
                EventKind::NotifySuppressed
            });
        }
        wanted
    }

    fn can_pop(&self) -> bool {
        self.inner.can_pop()
    }

    #[pyo3(signature = (limit=256))]
    fn pop_used(&mut self, py: Python<'_>, limit: usize) -> PyResult<Vec<(u16, u32)>> {
        let mut used = Vec::new();
        let outcome = self.inner.pop_used_batch(limit, &mut used);
        self.recorder.record_used(EventKind::PopUsed, &used);
        match outcome {
            // Chains before the bad entry are valid; the next call returns the error again.
            Err(error) if used.is_empty() => Err(errors::corrupt(py, &error)),
            _ => Ok(used),
        }
    }

    fn enable_interrupts(&mut self) -> bool {
        self.inner.enable_interrupts()
    }

    fn disable_interrupts(&mut self) {
        self.inner.disable_interrupts();
    }
}

/// The device side.
#[pyclass(module = "virtmesh_native")]
pub struct DeviceQueue {
    inner: virtmesh_ring::DeviceQueue,
    recorder: QueueRecorder,
    index: usize,
    size: u16,
}

#[pymethods]
impl DeviceQueue {
    #[new]
    #[pyo3(signature = (memory, config, *, recorder=None, index=0))]
    fn new(
        py: Python<'_>,
        memory: &GuestMemory,
        config: &QueueConfig,
        recorder: Option<&Recorder>,
        index: usize,
    ) -> PyResult<Self> {
        let recorder = QueueRecorder::new(recorder, index);
        config
            .for_device()
            .and_then(|inner| {
                let (memory, log) = (memory.ram.clone(), config.log.as_ref());
                virtmesh_ring::DeviceQueue::with_log(memory, inner, log)
            })
            .map(|inner| Self {
                inner,
                recorder,
                index,
                size: config.inner.size,
            })
            .map_err(|error| errors::config(py, &error))
    }

    fn pop(&mut self, py: Python<'_>) -> PyResult<Option<Pieces>> {
        let chain = self
            .inner
            .pop()
            .map_err(|error| errors::corrupt(py, &error))?;
        if let Some(chain) = &chain {
            let time = self.recorder.time();
            let (readable, writable) = (&chain.readable, &chain.writable);
            self.recorder
                .record_chain(EventKind::Pop, time, chain.head, readable, writable);
        }
        Ok(chain.map(|chain| (chain.head, pieces(&chain.readable), pieces(&chain.writable))))
    }

    fn push(&mut self, py: Python<'_>, head: u16, written: u32) -> PyResult<()> {
        self.recorder
            .record_used(EventKind::Push, &[(head, written)]); // before the driver can see it
        self.inner
            .push(head, written)
            .map_err(|error| errors::ring(py, &error))
    }

    /// Like `push`, unless a fault of the interrupt's device tells something else of the chain.
    fn push_by(
        &mut self,
        py: Python<'_>,
        head: u16,
        written: u32,
        interrupt: &Interrupt,
    ) -> PyResult<()> {
        let told = if interrupt.inner.may_lie() {
            interrupt.inner.lie(self.index, self.size, (head, written))
        } else {
            None
        };
        let told = told.unwrap_or((head, written));
        self.recorder.record_used(EventKind::Push, &[told]); // before the driver can see it
        self.inner
            .push_as(&[(head, told)])
            .map_err(|error| errors::ring(py, &error))
    }

    #[getter]
    fn state(&self) -> RingState {
        let inner = self.inner.state();
        RingState { inner }
    }

    #[getter]
    fn state_in_order(&self) -> RingState {
        let inner = self.inner.state_in_order();
        RingState { inner }
    }

    #[getter]
    fn base(&self) -> u32 {
        self.inner.state().vring_base()
    }

    #[getter]
    fn base_in_order(&self) -> u32 {
        self.inner.state_in_order().vring_base()
    }

    fn needs_interrupt(&mut self) -> bool {
        self.inner.needs_interrupt()
    }

    fn enable_notifications(&mut self, py: Python<'_>) -> PyResult<bool> {
        self.inner
            .enable_notifications()
            .map_err(|error| errors::corrupt(py, &error))
    }

    fn disable_notifications(&mut self) {
        self.inner.disable_notifications();
    }
}

/// Convert a sequence of (address, length). It stops at one more than any chain has, which the ring
/// refuses.
fn segments(sequence: &Bound<'_, PyAny>) -> PyResult<Segments> {
    sequence
        .try_iter()?
        .take(usize::from(MAX_QUEUE_SIZE) + 1)
        .map(|piece| {
            let (addr, len) = piece?.extract::<Piece>()?;
            Ok(Segment { addr, len })
        })
        .collect()
}

fn pieces(segments: &[Segment]) -> Vec<Piece> {
    segments
        .iter()
        .map(|segment| (segment.addr, segment.len))
        .collect()
}
