//! The pixels of virtio-gpu.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use virtmesh_gpu::{CopyError, Format, MemoryImage, Piece, Rect, Wait};

use crate::errors;
use crate::memory::GuestMemory;
use crate::new_bytes::NewBytes;

/// Largest width and height, in pixels: what the device allows is less.
const SIDE_MAX: u32 = 1 << 16;
/// Largest number of pixels.
const PIXELS_MAX: u64 = 1 << 30;
/// Bytes of `struct virtio_gpu_mem_entry`.
const ENTRY: usize = 16;

/// A rectangle: x, y, width, height.
type Place = (u32, u32, u32, u32);

fn rect((x, y, width, height): Place) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

fn refused(error: CopyError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The outcome of a copy that can be ended: true if it is complete.
fn finished(outcome: Result<(), CopyError>) -> PyResult<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(CopyError::Cancelled) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

/// The outcome of one that may not wait as well: nothing if somebody else uses the pixels.
fn finished_or_busy(outcome: Result<(), CopyError>) -> PyResult<Option<bool>> {
    match outcome {
        Err(CopyError::Busy) => Ok(None),
        other => finished(other).map(Some),
    }
}

fn patience(wait: bool) -> Wait {
    if wait { Wait::Yes } else { Wait::No }
}

fn format_of(number: u32) -> PyResult<Format> {
    Format::from_number(number)
        .ok_or_else(|| PyValueError::new_err(format!("{number} is no format of pixels")))
}

fn check_size(width: u32, height: u32) -> PyResult<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || width > SIDE_MAX || height > SIDE_MAX || pixels > PIXELS_MAX {
        let message = format!("{width}x{height} is no size of an image");
        return Err(PyValueError::new_err(message));
    }
    Ok(())
}

/// Ends copies.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct CopyCancel {
    inner: Arc<virtmesh_gpu::Cancel>,
}

#[pymethods]
impl CopyCancel {
    #[new]
    fn new() -> Self {
        Self {
            inner: Arc::default(),
        }
    }

    fn set(&self) {
        self.inner.set();
    }
}

/// Guest memory behind a resource.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Backing {
    inner: virtmesh_gpu::Backing,
}

#[pymethods]
impl Backing {
    #[new]
    fn new(py: Python<'_>, memory: &GuestMemory, entries: &[u8]) -> PyResult<Self> {
        if !entries.len().is_multiple_of(ENTRY) {
            let message = format!("{} bytes are no whole number of entries", entries.len());
            return Err(PyValueError::new_err(message));
        }
        let pieces = entries.chunks_exact(ENTRY).map(|entry| {
            let number = |from: usize, to: usize| {
                let bytes = entry[from..to].iter().rev();
                bytes.fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
            };
            let address = number(0, 8);
            let length = u32::try_from(number(8, 12)).expect("four bytes are a u32");
            Piece { address, length }
        });
        virtmesh_gpu::Backing::new(memory.ram.clone(), pieces)
            .map(|inner| Self { inner })
            .map_err(|error| errors::memory(py, &error))
    }

    #[getter]
    fn size(&self) -> u64 {
        self.inner.size()
    }
}

/// A 2D resource.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Surface {
    inner: virtmesh_gpu::Surface,
}

#[pymethods]
impl Surface {
    #[new]
    fn new(width: u32, height: u32, format: u32) -> PyResult<Self> {
        check_size(width, height)?;
        let format = format_of(format)?;
        Ok(Self {
            inner: virtmesh_gpu::Surface::new(width, height, format),
        })
    }

    fn transfer(
        &self,
        py: Python<'_>,
        backing: &Backing,
        place: Place,
        offset: u64,
        cancel: &CopyCancel,
    ) -> PyResult<bool> {
        let (backing, cancel) = (&backing.inner, &cancel.inner);
        finished(py.detach(|| self.inner.transfer(backing, rect(place), offset, cancel)))
    }

    fn to_bgra<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.inner.to_bgra()))
    }
}

/// What a scanout shows.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Picture {
    inner: virtmesh_gpu::Picture,
    #[pyo3(get)]
    width: u32,
    #[pyo3(get)]
    height: u32,
}

#[pymethods]
impl Picture {
    #[new]
    fn new(py: Python<'_>, width: u32, height: u32) -> PyResult<Self> {
        check_size(width, height)?;
        Ok(Self {
            inner: py.detach(|| virtmesh_gpu::Picture::new(width, height)),
            width,
            height,
        })
    }

    #[pyo3(signature = (surface, source, place, cancel, *, wait))]
    #[allow(clippy::too_many_arguments)] // What a flush has.
    fn show(
        &self,
        py: Python<'_>,
        surface: &Surface,
        source: (u32, u32),
        place: Place,
        cancel: &CopyCancel,
        wait: bool,
    ) -> PyResult<Option<bool>> {
        let (surface, cancel, wait) = (&surface.inner, &cancel.inner, patience(wait));
        let place = rect(place);
        finished_or_busy(py.detach(|| self.inner.show(surface, source, place, cancel, wait)))
    }

    /// `image` is format, width, height, offset, stride.
    #[pyo3(signature = (backing, image, source, place, cancel, *, wait))]
    #[allow(clippy::too_many_arguments)] // As above.
    fn show_memory(
        &self,
        py: Python<'_>,
        backing: &Backing,
        image: (u32, u32, u32, u64, u32),
        source: (u32, u32),
        place: Place,
        cancel: &CopyCancel,
        wait: bool,
    ) -> PyResult<Option<bool>> {
        let (number, width, height, offset, stride) = image;
        let image = MemoryImage {
            format: format_of(number)?,
            width,
            height,
            offset,
            stride,
        };
        let (backing, cancel, wait) = (&backing.inner, &cancel.inner, patience(wait));
        let place = rect(place);
        finished_or_busy(py.detach(|| {
            self.inner
                .show_memory(backing, image, source, place, cancel, wait)
        }))
    }

    fn read<'py>(&self, py: Python<'py>, place: Place) -> PyResult<Bound<'py, PyBytes>> {
        let place = rect(place);
        let mut bytes = NewBytes::new(py, self.inner.bytes_of(place).map_err(refused)?)?;
        let room = bytes.room();
        py.detach(|| self.inner.read(place, |row| room.put(row)))
            .map_err(refused)?;
        Ok(bytes.finish(py))
    }
}
