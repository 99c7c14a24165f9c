//! Whether an image can be opened.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use virtmesh_blk::{Image, ImageError};

use crate::errors;

/// Open an image, past the page cache if `bypass_cache`.
///
/// # Errors
/// Every variant of [`ImageError`].
pub fn open_image(
    path: &Path,
    read_only: bool,
    block_size: u32,
    bypass_cache: bool,
) -> Result<Image, ImageError> {
    let image = Image::open(path, read_only, u64::from(block_size))?;
    if bypass_cache {
        image.bypass_cache(path)
    } else {
        Ok(image)
    }
}

#[pyfunction]
#[pyo3(signature = (path, read_only, block_size, *, bypass_cache=false))]
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments are extracted by value"
)]
pub fn try_image(
    py: Python<'_>,
    path: PathBuf,
    read_only: bool,
    block_size: u32,
    bypass_cache: bool,
) -> PyResult<()> {
    py.detach(|| open_image(&path, read_only, block_size, bypass_cache))
        .map(drop)
        .map_err(|error| errors::image(py, &error))
}
