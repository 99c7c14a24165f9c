//! Bytes of Python that are filled while other threads have the GIL.
//!
//! A copy to a vector, and from there to a `bytes` object, would hold the GIL for the second one: tens
//! of milliseconds for a large picture, in which the event loop stands still.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A `bytes` object that nobody else has yet.
pub struct NewBytes {
    object: Py<PyBytes>,
    room: Room,
}

/// Where its content goes.
pub struct Room {
    start: *mut u8,
    length: usize,
    filled: usize,
}

// SAFETY: it is the only way to the content until `NewBytes::finish`, which ends its borrow.
unsafe impl Send for Room {}

impl NewBytes {
    /// Make one of a length. Its memory is not touched.
    ///
    /// # Errors
    /// `MemoryError`, `OverflowError`.
    pub fn new(py: Python<'_>, length: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(length)?;
        // SAFETY: without a source the content is not initialised; it is not read before `finish`. The
        // result is a new reference, or null with an error set.
        let object = unsafe {
            let made = ffi::PyBytes_FromStringAndSize(ptr::null(), size);
            Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked::<PyBytes>()
        };
        // SAFETY: it is a bytes object.
        let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
        let (object, filled) = (object.unbind(), 0);
        let room = Room {
            start,
            length,
            filled,
        };
        Ok(Self { object, room })
    }

    /// Where the content goes.
    pub fn room(&mut self) -> &mut Room {
        &mut self.room
    }

    /// Give the object away.
    ///
    /// # Panics
    /// If some of its bytes were not put.
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        assert_eq!(self.room.filled, self.room.length, "bytes are missing");
        self.object.into_bound(py)
    }
}

impl Room {
    /// Append bytes.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len(); // No overflow: both are lengths of objects in memory.
        assert!(end <= self.length, "there is no room for the bytes");
        // SAFETY: `filled..end` is inside of the object, which lives as long as the borrow of `NewBytes`;
        // `bytes` can't overlap it, since nobody else has a reference to it.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.filled), bytes.len());
        }
        self.filled = end;
    }
}
