//! Whether an image can be opened.

use std::path::PathBuf;

use pyo3::prelude::*;
use virtmesh_blk::Image;

use crate::errors;

#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments are extracted by value"
)]
pub fn try_image(py: Python<'_>, path: PathBuf, read_only: bool, block_size: u32) -> PyResult<()> {
    py.detach(|| Image::open(&path, read_only, u64::from(block_size)))
        .map(drop)
        .map_err(|error| errors::image(py, &error))
}
