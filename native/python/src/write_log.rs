//! The log of what changes a disk.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use virtmesh_blk::Image;

use crate::errors;
use crate::exceptions::Exception;

/// The write log of a disk.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct WriteLog {
    /// The log.
    pub inner: Arc<virtmesh_blk::WriteLog>,
}

#[pymethods]
impl WriteLog {
    // All of these wait for whoever writes to the log, and its storage may hang.

    #[getter]
    fn entries(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.inner.entries())
    }

    #[getter]
    fn trouble(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.inner.trouble())
    }

    fn mark(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        py.detach(|| self.inner.mark(text)).map_err(|error| {
            let message = format!("the mark is not recorded: {error}");
            errors::storage(py, &message, &error)
        })
    }
}

/// Open a log, if there is to be one.
pub fn open_log(
    py: Python<'_>,
    path: Option<PathBuf>,
    image: &Image,
    block_size: u32,
) -> PyResult<Option<Arc<virtmesh_blk::WriteLog>>> {
    path.map(|path| {
        py.detach(|| virtmesh_blk::WriteLog::open(&path, image, block_size))
            .map(Arc::new)
            .map_err(|error| errors::raise(py, Exception::ImageError, &error.to_string()))
    })
    .transpose()
}
