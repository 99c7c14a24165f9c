//! Processors: how many this process may use, and how often others take one from a thread.

use std::mem::MaybeUninit;
use std::thread::available_parallelism;

/// Between two looks at where this process may run, which anybody may change, in nanoseconds.
const LOOK_NS: u64 = 100_000_000;

/// Whether this process may use more than one processor, as it was a short time ago.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    /// False where a quota of the control group gives this process one at most.
    quota_allows: bool,
    are_many: bool,
    look_at_ns: u64,
}

impl Processors {
    /// Look at the limits of this process. The quota is read now only: a sandbox may hide it later.
    pub(crate) fn new() -> Self {
        let allowed = allowed();
        // The smaller one of quota and affinity; both count whole processors.
        let usable = available_parallelism().map_or(allowed, Into::into);
        Self {
            quota_allows: usable >= 2 || usable == allowed,
            are_many: false,
            look_at_ns: 0,
        }
    }

    /// True if this process may use more than one. `now_ns`: the time.
    pub(crate) fn are_many(&mut self, now_ns: u64) -> bool {
        if now_ns >= self.look_at_ns {
            self.look_at_ns = now_ns + LOOK_NS;
            self.are_many = self.quota_allows && allowed() >= 2;
        }
        self.are_many
    }
}

/// How often the calling thread was taken off its processor while it could have gone on; 0 if the system
/// does not tell.
pub(crate) fn preemptions() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is valid for a write.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: all zeroes is a valid value, and the call may have filled it.
    let usage = unsafe { usage.assume_init() };
    u64::try_from(usage.ru_nivcsw).unwrap_or(0)
}

/// Processors on which the calling thread may run; 1 if the system does not tell.
fn allowed() -> usize {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is valid for its size. 0 is the calling thread.
    let told =
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if told != 0 {
        return 1;
    }
    // SAFETY: all zeroes is a valid set, and the call has filled it.
    let count = unsafe { libc::CPU_COUNT(set.assume_init_ref()) };
    usize::try_from(count).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pin the calling thread to the first processors on which it may run.
    fn pin(count: usize) {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: the sets are valid for their size.
        unsafe {
            libc::sched_getaffinity(0, size, set.as_mut_ptr());
            let all = set.assume_init();
            let mut some: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
            let allowed = (0..libc::CPU_SETSIZE as usize).filter(|one| libc::CPU_ISSET(*one, &all));
            allowed
                .take(count)
                .for_each(|one| libc::CPU_SET(one, &mut some));
            assert_eq!(libc::sched_setaffinity(0, size, &raw const some), 0);
        }
    }

    #[test]
    fn a_thread_on_one_processor_has_nobody_beside_it_and_that_is_looked_at_again() {
        let before = allowed();
        let mut processors = Processors::new();
        let many = processors.are_many(1);
        std::thread::spawn(move || {
            pin(1);
            assert_eq!(processors.are_many(LOOK_NS), many);
            assert!(!processors.are_many(LOOK_NS + 1));
        })
        .join()
        .unwrap();
        assert!(before >= 2 || !many);
    }
}
