//! Converts the errors of the native code to the exceptions of `virtmesh_native.errors`.

use std::error::Error;
use std::fmt::{Display, Write};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_blk::failure::Cause;
use virtmesh_blk::{EngineError, ImageError, ResizeError, StartError};
use virtmesh_device::EventfdError;
use virtmesh_ring::{ConfigError, MemoryError, RingError};

use crate::exceptions::Exception;

/// Make an exception.
pub fn raise(py: Python<'_>, class: Exception, message: &str) -> PyErr {
    class.make(py, message, &[])
}

/// The text of an error and of its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Convert the refusal of guest memory.
pub fn memory(py: Python<'_>, error: &MemoryError) -> PyErr {
    let class = match error {
        MemoryError::Unsealed { .. } => Exception::MemoryUnsealed,
        MemoryError::TooSmall { .. } => Exception::MemoryTooSmall,
        _ => Exception::MemoryRefused,
    };
    raise(py, class, &chain(error))
}

/// Convert the refusal of a kick or call descriptor.
pub fn eventfd(py: Python<'_>, error: &EventfdError) -> PyErr {
    raise(py, Exception::BadDoorbell, &chain(error))
}

/// Convert the refusal of a queue's configuration.
pub fn config(py: Python<'_>, error: &ConfigError) -> PyErr {
    raise(py, Exception::DriverViolation, &chain(error))
}

/// Convert an error of the storage. Its cause travels with it, as that of a request does.
pub fn storage(py: Python<'_>, message: &str, error: &std::io::Error) -> PyErr {
    let cause = Cause::of(error);
    let facts: [(&str, &dyn Display); 2] = [("cause", &cause.name()), ("errno", &cause.errno)];
    Exception::BlockIOError.make(py, message, &facts)
}

/// Convert a violation by the peer, or misuse of a queue.
pub fn ring(py: Python<'_>, error: &RingError) -> PyErr {
    match error {
        RingError::EmptyChain
        | RingError::EmptySegment { .. }
        | RingError::ChainTooLong { .. }
        | RingError::ChainTooLarge { .. }
        | RingError::BufferOutsideMemory { .. }
        | RingError::NotInFlight { .. } => PyValueError::new_err(chain(error)),
        _ => corrupt(py, error),
    }
}

/// Convert a violation by the peer.
pub fn corrupt(py: Python<'_>, error: &RingError) -> PyErr {
    let (rule, head) = (error.rule(), error.head());
    let mut facts: Vec<(&str, &dyn Display)> = Vec::new();
    if let Some(rule) = &rule {
        facts.push(("rule", rule));
    }
    if let Some(head) = &head {
        facts.push(("head", head));
    }
    Exception::RingCorrupt.make(py, &chain(error), &facts)
}

/// Convert the refusal of an image.
pub fn image(py: Python<'_>, error: &ImageError) -> PyErr {
    let message = chain(error);
    match error {
        ImageError::NotFound { .. } => raise(py, Exception::ImageNotFound, &message),
        ImageError::Locked { holder, .. } => {
            let holder = holder.as_deref().unwrap_or_default();
            Exception::ImageLocked.make(py, &message, &[("holder", &holder)])
        }
        ImageError::Denied { .. } => raise(py, Exception::ImageDenied, &message),
        ImageError::BadSize { size, .. } => {
            Exception::BadSize.make(py, &message, &[("size_bytes", size)])
        }
        ImageError::NotAnImage { .. }
        | ImageError::NotLockable { .. }
        | ImageError::NoDirectIo { .. }
        | ImageError::Io { .. } => raise(py, Exception::ImageError, &message),
    }
}

/// Convert why a disk has no engine.
pub fn engine(py: Python<'_>, error: &EngineError) -> PyErr {
    raise(py, Exception::VirtmeshError, &chain(error))
}

/// Convert the refusal of a resize.
pub fn resize(py: Python<'_>, error: &ResizeError) -> PyErr {
    let message = chain(error);
    match error {
        ResizeError::NotResizable => raise(py, Exception::NotResizable, &message),
        ResizeError::ReadOnly => raise(py, Exception::BlockReadOnly, &message),
        ResizeError::BadSize { size, .. } => {
            Exception::BadSize.make(py, &message, &[("size_bytes", size)])
        }
        ResizeError::Io(cause) => storage(py, &message, cause),
    }
}

/// Convert the refusal to start a queue.
pub fn start(py: Python<'_>, error: &StartError) -> PyErr {
    match error {
        StartError::NoSuchQueue { .. } => raise(py, Exception::NoSuchQueue, &chain(error)),
        StartError::Config(cause) => config(py, cause),
        StartError::Running { .. } | StartError::Closed => PyValueError::new_err(chain(error)),
        StartError::Io(_) => raise(py, Exception::VirtmeshError, &chain(error)),
    }
}
