//! Writes that a queue's thread has begun and that the system goes on with: a resize waits for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many there are.
#[derive(Debug, Default)]
pub struct UnderWay(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One of them. It ends when this is dropped.
#[derive(Debug)]
pub struct WriteUnderWay(Arc<Count>);

impl UnderWay {
    /// Begin one.
    pub fn begin(&self) -> WriteUnderWay {
        *self.0.lock() += 1;
        WriteUnderWay(Arc::clone(&self.0))
    }

    /// Wait until there is none.
    pub fn wait(&self) {
        let count = self.0.lock();
        let waited = self.0.ended.wait_while(count, |count| *count > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count -= 1;
        if *count == 0 {
            self.0.ended.notify_all();
        }
    }
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, usize> {
        // Nothing panics while it is held.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
