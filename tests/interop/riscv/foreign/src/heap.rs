//! Memory for the drivers' rings and buffers: addresses are those of the bus.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use linked_list_allocator::LockedHeap;

const SIZE: usize = 4 << 20;
const PAGE: usize = 4096;

#[repr(align(4096))]
struct Space(#[allow(dead_code, reason = "only its address is used")] [u8; SIZE]);

static mut SPACE: Space = Space([0; SIZE]);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Make the heap. Once, before anything is allocated.
pub fn init() {
    // SAFETY: nothing else uses the space.
    unsafe { HEAP.lock().init((&raw mut SPACE).cast(), SIZE) }
}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE, PAGE).expect("few pages")
}

/// Take zeroed pages.
pub fn take(pages: usize) -> NonNull<u8> {
    // SAFETY: the drivers ask for one page at least.
    NonNull::new(unsafe { alloc_zeroed(layout(pages)) }).expect("memory")
}

/// Give pages back.
///
/// # Safety
/// They are from `take`, as many.
pub unsafe fn give(pages: NonNull<u8>, count: usize) {
    // SAFETY: the caller's.
    unsafe { dealloc(pages.as_ptr(), layout(count)) }
}
