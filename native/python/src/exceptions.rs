//! The exception classes of `virtmesh_native.errors`.
//!
//! They are looked up once, when the extension module is imported, so that a missing class fails the
//! import of `virtmesh_native` and not the first error.

use std::fmt::Display;

use pyo3::exceptions::{PyException, PyImportError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The module that has the classes.
const MODULE: &str = "virtmesh_native.errors";

/// Define [`Exception`] and the table of its names from one list.
macro_rules! exceptions {
    ($($name:ident,)+) => {
        /// A class of `virtmesh_native.errors`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exception {
            $($name,)+
        }

        /// The name of each class, in the order of [`Exception`].
        const NAMES: [&str; [$(Exception::$name),+].len()] = [$(stringify!($name)),+];
    };
}

exceptions! {
    BadDoorbell,
    BadSize,
    BadStream,
    BlockIOError,
    BlockReadOnly,
    DeviceLost,
    DriverViolation,
    ImageDenied,
    ImageError,
    ImageLocked,
    ImageNotFound,
    MemoryRefused,
    MemoryTooSmall,
    MemoryUnsealed,
    NoSuchQueue,
    NotResizable,
    RegisterError,
    RingCorrupt,
    VirtmeshError,
}

static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

/// Look every class up. Fails if one is missing, is not an exception, or is listed only in Python.
pub fn load(py: Python<'_>) -> PyResult<()> {
    classes(py).map(drop)
}

impl Exception {
    /// Make an exception with a message and facts for programs.
    pub fn make(self, py: Python<'_>, message: &str, facts: &[(&str, &dyn Display)]) -> PyErr {
        let make = || {
            let keywords = PyDict::new(py);
            for (key, value) in facts {
                keywords.set_item(key, value.to_string())?;
            }
            let class = classes(py)?[self as usize].bind(py);
            class.call((message,), Some(&keywords))
        };
        make().map_or_else(|failure| failure, PyErr::from_value)
    }
}

fn classes(py: Python<'_>) -> PyResult<&Vec<Py<PyType>>> {
    CLASSES.get_or_try_init(py, || {
        let module = py.import(MODULE)?;
        let mut listed: Vec<String> = module.getattr("__all__")?.extract()?;
        listed.sort();
        if listed != NAMES {
            return Err(refusal(format!(
                "{MODULE} lists {listed:?}, but the extension module raises {NAMES:?}: install \
                 files of one release"
            )));
        }
        NAMES.iter().map(|name| class(&module, name)).collect()
    })
}

fn class(module: &Bound<'_, PyModule>, name: &str) -> PyResult<Py<PyType>> {
    let missing = || refusal(format!("{MODULE}.{name} is not an exception class"));
    let class = module.getattr(name).map_err(|_| missing())?;
    let class = class.cast_into::<PyType>().map_err(|_| missing())?;
    if !class.is_subclass_of::<PyException>()? {
        return Err(missing());
    }
    Ok(class.unbind())
}

fn refusal(message: String) -> PyErr {
    PyImportError::new_err(message)
}
