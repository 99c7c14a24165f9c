//! `mcycle` and `minstret`: both count retired instructions.

/// A counter that software can write and stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// While it counts: added to the retired instructions. While it is stopped: its value.
    base: u64,
    stopped: bool,
}

impl Counter {
    /// Its value when `retired` instructions have retired.
    #[must_use]
    pub fn read(&self, retired: u64) -> u64 {
        if self.stopped {
            self.base
        } else {
            self.base.wrapping_add(retired)
        }
    }

    /// Write `value`. `retired` counts the writing instruction too, which does not increment it.
    pub fn write(&mut self, value: u64, retired: u64) {
        self.base = if self.stopped {
            value
        } else {
            value.wrapping_sub(retired)
        };
    }

    /// Stop it or let it count (`mcountinhibit`).
    pub fn stop(&mut self, stop: bool, retired: u64) {
        let value = self.read(retired);
        self.stopped = stop;
        self.write(value, retired);
    }
}
