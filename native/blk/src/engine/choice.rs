//! Which engine a disk has.

use std::io;
use std::sync::Arc;

use super::null::NullEngine;
use super::{Engine, SyncEngine};
use crate::image::Image;
use crate::uring::{Unavailable, UringEngine};

/// Which engine is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The one that is quickest here.
    Auto,
    /// A pool of threads, and the threads of queues.
    Threads,
    /// `io_uring`, or none.
    Uring,
    /// One that does nothing.
    Null,
}

/// The engine of a disk.
pub struct Chosen {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// What it is called.
    pub name: &'static str,
    /// Why it is not `io_uring`, where that would be quicker; empty where it would not, or it is.
    pub reason: String,
}

/// A disk has no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no `io_uring` for it.
    #[error("there is no io_uring for this disk")]
    NoUring(#[source] Unavailable),
    /// The system has no threads left.
    #[error("the threads of a disk can't be started")]
    NoThreads(#[from] io::Error),
}

impl EngineChoice {
    /// All, by their names.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("threads", Self::Threads),
        ("io_uring", Self::Uring),
        ("null", Self::Null),
    ];

    /// The choice of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let found = Self::NAMED.into_iter().find(|(one, _)| *one == name);
        found.map(|(_, choice)| choice)
    }

    /// Start an engine of so many threads, for so many queues of so many entries.
    ///
    /// Past the page cache `io_uring` is the quickest; through it, the thread of a queue reads and writes
    /// what is there sooner than it could ask for it.
    ///
    /// # Errors
    /// Every variant of [`EngineError`].
    pub fn start(
        self,
        threads: usize,
        (queues, entries): (usize, u32),
        image: &Image,
    ) -> Result<Chosen, EngineError> {
        if self == Self::Null {
            return Ok(chosen(NullEngine, "null"));
        }
        let pool = Arc::new(SyncEngine::new(threads, queues)?);
        let mut chosen_pool = Chosen {
            engine: Arc::clone(&pool) as Arc<dyn Engine>,
            name: "threads",
            reason: String::new(),
        };
        if self == Self::Threads || (self == Self::Auto && image.direct().is_none()) {
            return Ok(chosen_pool);
        }
        match UringEngine::new(pool, queues, entries, image) {
            Ok(engine) => Ok(chosen(engine, "io_uring")),
            Err(cause) if self == Self::Uring => Err(EngineError::NoUring(cause)),
            Err(cause) => {
                chosen_pool.reason = format!("no io_uring: {cause}");
                Ok(chosen_pool)
            }
        }
    }
}

fn chosen(engine: impl Engine + 'static, name: &'static str) -> Chosen {
    Chosen {
        engine: Arc::new(engine),
        name,
        reason: String::new(),
    }
}
