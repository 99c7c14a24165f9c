//! Counters of a board, written by the thread that runs it, read by any.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Add to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Replace it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Define the counters and the list of their names from one table.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// The counters.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: Counter,)+
        }

        impl Stats {
            /// Names and values.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Instructions that the hart retired.
    instructions,
    /// Steps of the hart: instructions that retired, and those that trapped.
    steps,
    /// Accesses to slots.
    mmio_accesses,
    /// Time in these, in ns.
    mmio_ns,
    /// Accesses of slots that the device refused.
    mmio_refused,
    /// Writes to `QueueNotify` that signalled an eventfd.
    notifications,
    /// Requests that only asked for the line.
    line_requests,
    /// Time asleep in WFI, in ns.
    wfi_ns,
    /// Time in `run`, in ns.
    run_ns,
    /// Claims that found an interrupt.
    interrupts,
    /// Those whose line had fallen again: the guest finds nothing to do.
    spurious,
    /// Accesses to addresses where nothing is.
    holes,
    /// Address of the last of these.
    hole_address,
    /// Where the instruction of the last of these is.
    hole_pc,
}
