//! Flushes of one file that overlap.
//!
//! The kernel reports lost writes once for each open file. So of two flushes that overlap, one fails, and
//! the other succeeds although its own writes may be the lost ones. And whoever asked for the one that
//! failed may be gone: a reset does not wait for a flush. So a flush that succeeded waits for those that
//! were under way then, and fails if one of them did. That takes hardly longer: the kernel has it wait for
//! the writes of the earlier ones anyway.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::failure::WritesLost;

/// The flushes of one open file.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Flushes that have begun. Each has its number, from 1.
    begun: u64,
    under_way: Vec<u64>,
    /// Set by a failed flush and never cleared: a later one would succeed although data is lost.
    writes_lost: bool,
}

impl Flushes {
    /// Flush by a system call.
    ///
    /// # Errors
    /// Those of the call; after the first one, every flush that ends later fails too.
    pub(crate) fn run(&self, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = self.begin()?;
        let result = call();
        let mut state = self.lock();
        state.under_way.retain(|other| *other != number);
        state.writes_lost |= result.is_err();
        self.ended.notify_all();
        result?;
        let begun = state.begun;
        while !state.writes_lost && state.under_way.iter().any(|other| *other <= begun) {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    fn begin(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.check()?;
        state.begun += 1;
        let number = state.begun;
        state.under_way.push(number);
        Ok(number)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.writes_lost {
            return Err(io::Error::other(WritesLost));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_flush_fails_with_the_one_that_it_overlaps() {
        let flushes = Flushes::default();
        thread::scope(|scope| {
            let ((tell, told), (succeed, succeeded)) = (mpsc::channel(), mpsc::channel());
            let flushes = &flushes;
            let first = scope.spawn(move || {
                flushes.run(|| {
                    tell.send(()).unwrap();
                    succeeded.recv().unwrap();
                    Err(io::Error::from_raw_os_error(libc::EIO))
                })
            });
            told.recv().unwrap();
            let second = scope.spawn(move || {
                flushes.run(|| {
                    succeed.send(()).unwrap();
                    Ok(())
                })
            });
            let failure = first.join().unwrap().unwrap_err();
            assert_eq!(failure.raw_os_error(), Some(libc::EIO));
            let failure = second.join().unwrap().unwrap_err();
            assert!(
                failure.to_string().contains("earlier flush failed"),
                "{failure}"
            );
        });
        flushes
            .run(|| unreachable!("it is known by now"))
            .unwrap_err();
    }

    #[test]
    fn flushes_that_overlap_and_succeed_all_end() {
        let flushes = Flushes::default();
        let (calls, limit) = (std::sync::Barrier::new(4), 4);
        thread::scope(|scope| {
            for _ in 0..limit {
                scope.spawn(|| {
                    let call = || {
                        calls.wait();
                        Ok(())
                    };
                    flushes.run(call).unwrap();
                });
            }
        });
        flushes.run(|| Ok(())).unwrap();
    }
}
