//! What a service gives up: Landlock, seccomp, dumping.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use virtmesh_sandbox::{Access, FilterError, Rules};

fn parse_access(word: &str) -> PyResult<Access> {
    match word {
        "read" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        "create" => Ok(Access::Create),
        "sockets" => Ok(Access::Sockets),
        _ => Err(PyValueError::new_err(format!("no access: {word}"))),
    }
}

#[pyfunction]
pub fn harden() -> PyResult<()> {
    Ok(virtmesh_sandbox::harden()?)
}

#[pyfunction]
pub fn count_threads() -> PyResult<usize> {
    Ok(virtmesh_sandbox::threads()?)
}

#[pyfunction]
#[pyo3(signature = (paths, *, bind, connect))]
pub fn confine(
    paths: Vec<(PathBuf, String)>,
    bind: Vec<u16>,
    connect: Option<Vec<u16>>,
) -> PyResult<(i32, bool)> {
    let paths = paths
        .into_iter()
        .map(|(path, word)| Ok((path, parse_access(&word)?)))
        .collect::<PyResult<_>>()?;
    let rules = Rules {
        paths,
        bind,
        connect,
    };
    let done =
        virtmesh_sandbox::confine(&rules).map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok((done.abi, done.is_full))
}

#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments are extracted by value"
)]
pub fn filter_system_calls(text: &str, names: Vec<String>) -> PyResult<()> {
    virtmesh_sandbox::filter(text, &names).map_err(|error| match error {
        FilterError::Text(_) | FilterError::Missing(_) => PyValueError::new_err(error.to_string()),
        FilterError::Processor(_) | FilterError::Kernel(_) => PyOSError::new_err(error.to_string()),
    })
}

#[pyfunction]
pub fn check_filter(text: &str, processor: &str) -> PyResult<()> {
    virtmesh_sandbox::compile(text, processor)
        .map(drop)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}
