//! The Python module `virtmesh_native`: a thin binding, described in `__init__.pyi`.
//!
//! Arguments are checked here, and calls that may wait release the GIL.

mod bells;
mod blk;
mod blk_check;
mod blk_failure;
mod blk_stats;
mod board;
mod closer;
mod errors;
mod exceptions;
mod faults;
mod image;
mod inflight;
mod interrupt;
mod memory;
mod new_bytes;
mod pixels;
mod queue;
mod queue_recorder;
mod recorder;
mod register_channel;
mod ring_state;
mod sandbox;
mod spec;
mod vhost;
mod write_log;

#[pyo3::pymodule(name = "_native")]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::bells::Bells;
    #[pymodule_export]
    use crate::blk::BlkDevice;
    #[pymodule_export]
    use crate::board::{Board, Exit};
    #[pymodule_export]
    use crate::closer::{close_later, is_unix_stream, unclosed};
    #[pymodule_export]
    use crate::faults::Faults;
    #[pymodule_export]
    use crate::image::try_image;
    #[pymodule_export]
    use crate::inflight::InFlightLog;
    #[pymodule_export]
    use crate::interrupt::Interrupt;
    #[pymodule_export]
    use crate::memory::GuestMemory;
    #[pymodule_export]
    use crate::pixels::{Backing, CopyCancel, Picture, Surface};
    #[pymodule_export]
    use crate::queue::{DeviceQueue, DriverQueue, QueueConfig};
    #[pymodule_export]
    use crate::recorder::Recorder;
    #[pymodule_export]
    use crate::register_channel::RegisterChannel;
    #[pymodule_export]
    use crate::ring_state::RingState;
    #[pymodule_export]
    use crate::sandbox::{check_filter, confine, count_threads, filter_system_calls, harden};
    #[pymodule_export]
    use crate::spec::{judged_rules, spec_constants};
    #[pymodule_export]
    use crate::vhost::FrontEndMemory;
    #[pymodule_export]
    use crate::write_log::WriteLog;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::exceptions::load(module.py())
    }
}
