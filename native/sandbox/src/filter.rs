//! Seccomp: which system calls a process may make from now on.

use seccompiler::{BpfMap, TargetArch, apply_filter_all_threads, compile_from_json};
use thiserror::Error;

/// Why no filter is in force.
#[derive(Debug, Error)]
pub enum FilterError {
    /// The numbers of system calls are not known for this processor.
    #[error("no table of system calls for {0}")]
    Processor(String),
    /// The text is no filter: such as a system call that is unknown.
    #[error("no filter: {0}")]
    Text(seccompiler::Error),
    /// The text lacks a filter that was named.
    #[error("no filter of the name {0}")]
    Missing(String),
    /// The kernel takes none, or a container forbids it.
    #[error("the kernel takes no filter: {0}")]
    Kernel(seccompiler::Error),
}

/// Translate filters, in the JSON form of the crate seccompiler, for a processor such as `x86_64`.
///
/// # Errors
/// [`FilterError::Processor`], [`FilterError::Text`].
pub fn compile(text: &str, processor: &str) -> Result<BpfMap, FilterError> {
    let target = TargetArch::try_from(processor)
        .map_err(|_| FilterError::Processor(processor.to_owned()))?;
    compile_from_json(text.as_bytes(), target).map_err(FilterError::Text)
}

/// Put the filters with these names in force, in this order, for all threads of this process.
///
/// The strictest answer counts; between two error numbers, that of the later filter.
///
/// # Errors
/// [`FilterError`]. Filters before the one that failed stay in force.
pub fn filter(text: &str, names: &[String]) -> Result<(), FilterError> {
    let programs = compile(text, std::env::consts::ARCH)?;
    for name in names {
        let program = programs
            .get(name)
            .ok_or_else(|| FilterError::Missing(name.clone()))?;
        apply_filter_all_threads(program).map_err(FilterError::Kernel)?;
    }
    Ok(())
}
