//! The data path of virtio-blk.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_blk::{Disk, DiskOptions, RequestType, latency_bound};
use virtmesh_device::Kick;

use crate::blk_check::{check, engine_choice, poll_limit, range_limits};
use crate::blk_failure::{FailedRequest, failed_request};
use crate::blk_stats::{self, Counters};
use crate::errors;
use crate::exceptions::Exception;
use crate::image::open_image;
use crate::interrupt::Interrupt;
use crate::memory::GuestMemory;
use crate::queue::QueueConfig;
use crate::ring_state::RingState;
use crate::write_log::{WriteLog, open_log};

/// A disk image and its request queues.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct BlkDevice {
    /// None once closed.
    device: Mutex<Option<Arc<virtmesh_blk::BlkDevice>>>,
    engine: &'static str,
    engine_reason: String,
}

impl BlkDevice {
    fn open(&self) -> Option<Arc<virtmesh_blk::BlkDevice>> {
        // Nothing panics while it is held.
        self.device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn device(&self) -> PyResult<Arc<virtmesh_blk::BlkDevice>> {
        self.open()
            .ok_or_else(|| PyValueError::new_err("the device is closed"))
    }
}

#[pymethods]
impl BlkDevice {
    #[new]
    #[pyo3(signature = (
        path,
        *,
        read_only=false,
        serial="",
        block_size=512,
        seg_max=126,
        size_max=u32::MAX,
        max_discard_sectors=0x007F_FFFF,
        max_discard_seg=32,
        max_write_zeroes_sectors=0x007F_FFFF,
        max_write_zeroes_seg=32,
        threads=4,
        queues=1,
        hold_failed=false,
        write_log=None,
        poll_us=50,
        poll_on_one_processor=false,
        bypass_cache=false,
        engine="auto",
        queue_size=256,
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "Python passes them by keyword"
    )]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments are extracted by value"
    )]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        read_only: bool,
        serial: &str,
        block_size: u32,
        seg_max: u32,
        size_max: u32,
        max_discard_sectors: u32,
        max_discard_seg: u32,
        max_write_zeroes_sectors: u32,
        max_write_zeroes_seg: u32,
        threads: usize,
        queues: usize,
        hold_failed: bool,
        write_log: Option<PathBuf>,
        poll_us: u32,
        poll_on_one_processor: bool,
        bypass_cache: bool,
        engine: &str,
        queue_size: u32,
    ) -> PyResult<Self> {
        check(block_size, threads)?;
        let choice = engine_choice(engine)?;
        let options = DiskOptions {
            serial: serial.to_owned(),
            seg_max,
            size_max,
            discard: range_limits(max_discard_sectors, max_discard_seg),
            write_zeroes: range_limits(max_write_zeroes_sectors, max_write_zeroes_seg),
            hold_failed,
            poll: poll_limit(poll_us, poll_on_one_processor),
        };
        let image = py
            .detach(|| open_image(&path, read_only, block_size, bypass_cache))
            .map_err(|error| errors::image(py, &error))?;
        let log = open_log(py, write_log, &image, block_size)?;
        let disk = Disk::new(image, options).ok_or_else(|| {
            PyValueError::new_err(format!(
                "serial {serial:?}: give at most 20 printable ASCII characters"
            ))
        })?;
        let disk = disk.with_log(log);
        let chosen = choice
            .start(threads, (queues, queue_size), &disk.image)
            .map_err(|error| errors::engine(py, &error))?;
        let device = virtmesh_blk::BlkDevice::new(disk, chosen.engine);
        Ok(Self {
            device: Mutex::new(Some(Arc::new(device))),
            engine: chosen.name,
            engine_reason: chosen.reason,
        })
    }

    #[getter]
    fn capacity(&self) -> PyResult<u64> {
        Ok(self.device()?.disk().image.capacity())
    }

    #[getter]
    fn allocated(&self, py: Python<'_>) -> PyResult<u64> {
        let allocated = self.device()?.disk().image.allocated();
        allocated.map_err(|error| errors::storage(py, &error.to_string(), &error))
    }

    #[getter]
    fn image_read_only(&self) -> PyResult<bool> {
        Ok(self.device()?.disk().image.is_read_only())
    }

    #[getter]
    fn image_identity(&self) -> PyResult<(u64, u64)> {
        Ok(self.device()?.disk().image.identity())
    }

    #[getter]
    fn engine(&self) -> &'static str {
        self.engine
    }

    #[getter]
    fn engine_reason(&self) -> &str {
        &self.engine_reason
    }

    #[getter]
    fn is_block_node(&self) -> PyResult<bool> {
        Ok(self.device()?.disk().image.is_block_node())
    }

    #[getter]
    fn get_read_only(&self) -> PyResult<bool> {
        Ok(self.device()?.disk().read_only())
    }

    #[setter]
    fn set_read_only(&self, py: Python<'_>, read_only: bool) -> PyResult<()> {
        if self.device()?.disk().set_read_only(read_only) {
            return Ok(());
        }
        Err(errors::raise(
            py,
            Exception::BlockReadOnly,
            "the image was opened read-only: open it writable to allow writes",
        ))
    }

    #[getter]
    fn get_write_back(&self) -> PyResult<bool> {
        Ok(self.device()?.disk().write_back())
    }

    #[setter]
    fn set_write_back(&self, write_back: bool) -> PyResult<()> {
        self.device()?.disk().set_write_back(write_back);
        Ok(())
    }

    fn activate(&self, driver_features: u64) -> PyResult<()> {
        self.device()?.disk().set_features(driver_features);
        Ok(())
    }

    #[pyo3(signature = (index, memory, config, interrupt, kick))]
    fn start_queue(
        &self,
        py: Python<'_>,
        index: usize,
        memory: &GuestMemory,
        config: &QueueConfig,
        interrupt: &Interrupt,
        kick: Option<RawFd>,
    ) -> PyResult<()> {
        let kick = kick
            .map(Kick::duplicate)
            .transpose()
            .map_err(|error| errors::eventfd(py, &error))?;
        let interrupt = Arc::clone(&interrupt.inner);
        let log = config.log.as_ref();
        let config = config
            .for_device()
            .map_err(|error| errors::config(py, &error))?;
        self.device()?
            .start_logged_queue(index, &memory.ram, config, log, interrupt, kick)
            .map_err(|error| errors::start(py, &error))
    }

    fn kick(&self, index: usize) {
        if let Some(device) = self.open() {
            device.kick(index);
        }
    }

    fn request_stop(&self, index: usize) {
        if let Some(device) = self.open() {
            device.request_stop(index);
        }
    }

    fn abandon(&self, index: usize) {
        if let Some(device) = self.open() {
            device.abandon(index);
        }
    }

    /// The type, first sector and age in seconds of the request that has been executed longest, and why it
    /// is held, if it is.
    fn oldest(&self, index: usize) -> Option<(&'static str, u64, f64, &'static str)> {
        Some(blk_stats::describe(self.open()?.oldest(index)?))
    }

    #[getter]
    fn held(&self) -> PyResult<usize> {
        Ok(self.device()?.held())
    }

    fn holds(&self, index: usize) -> bool {
        self.open().is_some_and(|device| device.holds(index))
    }

    fn resume(&self, give_up: bool) -> PyResult<usize> {
        Ok(self.device()?.resume(give_up))
    }

    fn is_stopped(&self, index: usize) -> bool {
        self.open().is_none_or(|device| device.is_stopped(index))
    }

    fn queue_state(&self, index: usize) -> Option<RingState> {
        let inner = self.open()?.queue_state(index)?;
        Some(RingState { inner })
    }

    fn queue_base(&self, index: usize) -> Option<u32> {
        Some(self.open()?.queue_state(index)?.vring_base())
    }

    fn join(&self, py: Python<'_>, index: usize, seconds: f64) -> PyResult<bool> {
        let limit = Duration::try_from_secs_f64(seconds)
            .map_err(|cause| PyValueError::new_err(cause.to_string()))?;
        Ok(self
            .open()
            .is_none_or(|device| py.detach(|| device.join(index, limit))))
    }

    fn resize(&self, py: Python<'_>, capacity: u64) -> PyResult<()> {
        let device = self.device()?;
        py.detach(|| device.disk().image.resize(capacity))
            .map_err(|error| errors::resize(py, &error))
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let device = self.device()?;
        py.detach(|| device.disk().image.flush()).map_err(|error| {
            let message = format!("the image cannot be flushed: {error}");
            errors::storage(py, &message, &error)
        })
    }

    #[getter]
    fn write_log(&self) -> PyResult<Option<WriteLog>> {
        let log = self.device()?.disk().log().cloned();
        Ok(log.map(|inner| WriteLog { inner }))
    }

    fn stats(&self) -> PyResult<BTreeMap<&'static str, Counters>> {
        Ok(blk_stats::counters(&self.device()?.disk().stats))
    }

    #[classattr]
    fn latency_bounds() -> Vec<f64> {
        let bounds = (0..).map_while(latency_bound);
        bounds.map(|bound| bound.as_secs_f64()).collect()
    }

    fn latencies(&self) -> PyResult<BTreeMap<&'static str, Vec<u64>>> {
        Ok(blk_stats::latencies(&self.device()?.disk().stats))
    }

    #[getter]
    fn in_flight(&self) -> PyResult<usize> {
        Ok(self.device()?.in_flight())
    }

    #[getter]
    fn malformed(&self) -> PyResult<u64> {
        Ok(self.device()?.disk().stats.malformed())
    }

    #[getter]
    fn polls(&self) -> PyResult<[u64; 2]> {
        Ok(self.device()?.disk().stats.polls())
    }

    #[getter]
    fn notifications(&self) -> PyResult<u64> {
        Ok(self.device()?.disk().stats.notifications())
    }

    #[getter]
    fn truncated(&self) -> PyResult<u64> {
        Ok(self.device()?.disk().image.truncated())
    }

    #[getter]
    fn flushes(&self) -> PyResult<u64> {
        Ok(self.device()?.disk().image.flushes())
    }

    fn failures(&self, after: u64) -> PyResult<Vec<FailedRequest>> {
        let failures = self.device()?.disk().failures.since(after);
        Ok(failures.into_iter().map(failed_request).collect())
    }

    fn wait_failures(
        &self,
        py: Python<'_>,
        after: u64,
        seconds: f64,
    ) -> PyResult<Vec<FailedRequest>> {
        let patience = Duration::try_from_secs_f64(seconds)
            .map_err(|cause| PyValueError::new_err(format!("{seconds} seconds: {cause}")))?;
        // Not the device: who waits does not keep the image open.
        let Some(failures) = self
            .open()
            .map(|device| Arc::clone(&device.disk().failures))
        else {
            return Ok(Vec::new());
        };
        let found = py.detach(|| failures.wait(after, patience));
        Ok(found.into_iter().map(failed_request).collect())
    }

    fn failure_counts(&self) -> PyResult<BTreeMap<&'static str, BTreeMap<&'static str, u64>>> {
        let device = self.device()?;
        let failures = &device.disk().failures;
        let counts = RequestType::ALL.map(|request_type| {
            let of_type = failures.counts(request_type).into_iter().collect();
            (request_type.name(), of_type)
        });
        Ok(counts.into())
    }

    fn close(&self, py: Python<'_>) {
        let device = self
            .device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(device) = device {
            py.detach(|| {
                device.close();
                drop(device);
            });
        }
    }
}
