//! Errors, as the exceptions of `virtmesh.errors`.

use std::error::Error;
use std::fmt::Write;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use virtmesh_blk::{ImageError, ResizeError, StartError};
use virtmesh_device::EventfdError;
use virtmesh_ring::{ConfigError, MemoryError, RingError};

/// Make an exception of the class `name` of `virtmesh.errors`.
pub fn raise(py: Python<'_>, name: &str, message: &str) -> PyErr {
    raise_with(py, name, message, &[])
}

/// As [`raise`], with facts for programs.
fn raise_with(py: Python<'_>, name: &str, message: &str, facts: &[(&str, u64)]) -> PyErr {
    let make = || {
        let class = py.import("virtmesh.errors")?.getattr(name)?;
        let keywords = PyDict::new(py);
        for (key, value) in facts {
            keywords.set_item(key, value)?;
        }
        class.call((message,), Some(&keywords))
    };
    make().map_or_else(|failure| failure, PyErr::from_value)
}

/// An error and what caused it, in one line.
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

/// Guest memory that was refused.
pub fn memory(py: Python<'_>, error: &MemoryError) -> PyErr {
    let name = match error {
        MemoryError::Unsealed { .. } => "MemoryUnsealed",
        MemoryError::TooSmall { .. } => "MemoryTooSmall",
        _ => "MemoryRefused",
    };
    raise(py, name, &chain(error))
}

/// A descriptor that is no doorbell.
pub fn eventfd(py: Python<'_>, error: &EventfdError) -> PyErr {
    raise(py, "BadDoorbell", &chain(error))
}

/// A queue that can't be where its driver says.
pub fn config(py: Python<'_>, error: &ConfigError) -> PyErr {
    raise(py, "DriverViolation", &chain(error))
}

/// A broken ring, or a chain that can't be added.
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

/// A ring broken by the other side.
pub fn corrupt(py: Python<'_>, error: &RingError) -> PyErr {
    raise(py, "RingCorrupt", &chain(error))
}

/// An image that can't be used.
pub fn image(py: Python<'_>, error: &ImageError) -> PyErr {
    let message = chain(error);
    match error {
        ImageError::NotFound { .. } => raise(py, "ImageNotFound", &message),
        ImageError::Locked { .. } => raise(py, "ImageLocked", &message),
        ImageError::Denied { .. } => raise(py, "ImageDenied", &message),
        ImageError::BadSize { size, .. } => {
            raise_with(py, "BadSize", &message, &[("size_bytes", *size)])
        }
        ImageError::NotAnImage { .. } | ImageError::Io { .. } => raise(py, "ImageError", &message),
    }
}

/// A disk that did not change its size.
pub fn resize(py: Python<'_>, error: &ResizeError) -> PyErr {
    let message = chain(error);
    match error {
        ResizeError::NotResizable => raise(py, "NotResizable", &message),
        ResizeError::ReadOnly => raise(py, "BlockReadOnly", &message),
        ResizeError::BadSize { size, .. } => {
            raise_with(py, "BadSize", &message, &[("size_bytes", *size)])
        }
        ResizeError::Io(_) => raise(py, "BlockIOError", &message),
    }
}

/// A queue that did not start.
pub fn start(py: Python<'_>, error: &StartError) -> PyErr {
    match error {
        StartError::NoSuchQueue { .. } => raise(py, "NoSuchQueue", &chain(error)),
        StartError::Config(cause) => config(py, cause),
        StartError::Running { .. } | StartError::Closed => PyValueError::new_err(chain(error)),
        StartError::Io(_) => raise(py, "VirtmeshError", &chain(error)),
    }
}
