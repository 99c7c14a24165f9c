//! Objects that live as long as their process, so that no reference to one is counted.
//!
//! A fork shares the memory of its parent until one of the two writes. Python writes a count into
//! each object that it only looks at. From 3.12 on an object whose count has a certain value is
//! immortal (PEP 683): it is counted no more, and its page stays shared.
//!
//! Invariant: only classes and objects of the types that the caller names are made immortal. None
//! of them may be of a type whose end has an effect, as that of a file has.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyList, PyTuple};

/// The count of an immortal object: the lower 32 bits of the field, all set. 3.14 takes any value
/// from 3 << 30 on for one.
const IMMORTAL: u32 = u32::MAX;
/// The first version of Python that has such objects.
const SINCE: (u8, u8) = (3, 12);
/// Attributes of code that are objects of its own: the collector does not traverse code.
const OF_CODE: [&str; 6] = [
    "co_consts",
    "co_names",
    "co_filename",
    "co_name",
    "co_qualname",
    "co_linetable",
];

/// Make objects immortal, and what they refer to, as far as these are classes or of certain types;
/// return how many there were. Before Python 3.12 it does nothing.
#[pyfunction]
pub fn make_immortal(roots: &Bound<'_, PyList>, types: &Bound<'_, PyTuple>) -> PyResult<usize> {
    let version = roots.py().version_info();
    if (version.major, version.minor) < SINCE || cfg!(not(target_pointer_width = "64")) {
        return Ok(0);
    }
    let types: HashSet<*mut PyObject> = types.iter().map(|one| one.as_ptr()).collect();
    // The list of roots is the caller's, and ends.
    let mut seen = HashSet::from([roots.as_ptr()]);
    let mut waiting: Vec<*mut PyObject> = roots.iter().map(|one| one.as_ptr()).collect();
    let mut made = 0;
    while let Some(object) = waiting.pop() {
        let count = count_of(object);
        // SAFETY: `object` is referred to by a root that the list keeps, the interpreter lock is
        // held, and nothing that runs here lets go of an object. Its count is its first field.
        let (kind, is_immortal) = unsafe { (ffi::Py_TYPE(object), count.read() >> 31 == 1) };
        if is_immortal {
            continue; // what it refers to was made so with it, or is among the roots
        }
        // SAFETY: a type is alive while an object of it is.
        let flags = unsafe { ffi::PyType_GetFlags(kind) };
        let is_class = flags & ffi::Py_TPFLAGS_TYPE_SUBCLASS != 0;
        if is_class || types.contains(&kind.cast()) {
            // SAFETY: as above; nobody else has the interpreter lock.
            unsafe { count.write(IMMORTAL) };
            made += 1;
        } else if !seen.insert(object) {
            continue;
        }
        // SAFETY: as above. The reference is borrowed, and given up before the next round.
        let borrowed = unsafe { Borrowed::from_ptr(roots.py(), object) };
        if let Ok(code) = borrowed.cast::<PyCode>() {
            for name in OF_CODE {
                waiting.push(code.getattr(name)?.as_ptr()); // the code keeps it
            }
        } else if flags & ffi::Py_TPFLAGS_HAVE_GC != 0 && (!is_class || is_heap_type(object)) {
            traverse(object, kind, &mut waiting);
        }
    }
    Ok(made)
}

/// Where the lower 32 bits of the count of an object are. It is the first field, of 64 bits, in all
/// versions that have immortal objects (`PyObject_HEAD` is part of the stable ABI).
fn count_of(object: *mut PyObject) -> *mut u32 {
    object
        .cast::<u32>()
        .wrapping_add(usize::from(cfg!(target_endian = "big")))
}

/// Say whether a class was made at run time: the others are not the collector's.
fn is_heap_type(class: *mut PyObject) -> bool {
    // SAFETY: the caller has found that it is a class.
    let flags = unsafe { ffi::PyType_GetFlags(class.cast()) };
    flags & ffi::Py_TPFLAGS_HEAPTYPE != 0
}

/// Note what an object refers to, as the collector would find it.
fn traverse(object: *mut PyObject, kind: *mut ffi::PyTypeObject, found: &mut Vec<*mut PyObject>) {
    // SAFETY: the slot of this number is a `traverseproc` or null, for static types too (3.10).
    let slot = unsafe { ffi::PyType_GetSlot(kind, ffi::Py_tp_traverse) };
    if slot.is_null() {
        return;
    }
    // SAFETY: see above.
    let slot = unsafe { std::mem::transmute::<*mut c_void, ffi::traverseproc>(slot) };
    // SAFETY: the object is alive, of this type and the collector's; `note` takes such a vector.
    unsafe { slot(object, note, std::ptr::from_mut(found).cast()) };
}

/// Take one object that another refers to.
extern "C" fn note(object: *mut PyObject, found: *mut c_void) -> c_int {
    // SAFETY: `traverse` hands over its vector, which nobody else uses meanwhile.
    unsafe { &mut *found.cast::<Vec<*mut PyObject>>() }.push(object);
    0
}
