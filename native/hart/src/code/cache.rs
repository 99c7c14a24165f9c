//! The decoded pages of RAM.
#![allow(clippy::inline_always)] // on the path of every instruction

use std::ptr::NonNull;

use super::page::Page;
use crate::ram::{PAGE_SIZE, Ram};

/// Pages kept; then all are forgotten. One page takes 10 to 30 KiB.
const LIMIT: usize = 4096;

/// Decoded pages.
#[derive(Debug)]
pub struct Cache {
    /// From `Box::leak`, freed by `clear`. Raw, since `execute` points to a page while others are used.
    pages: Vec<NonNull<Page>>,
    /// By page of RAM: index in `pages` and 1, or 0.
    index: Vec<u32>,
    generation: u64,
}

// SAFETY: the pages belong to the cache alone.
unsafe impl Send for Cache {}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Cache {
    /// An empty cache for `ram`.
    #[must_use]
    pub fn new(ram: &Ram) -> Self {
        Self {
            pages: Vec::new(),
            index: vec![0; usize::try_from(ram.size() / PAGE_SIZE).unwrap_or(0)],
            generation: 1,
        }
    }

    /// Page number `index`, as [`find`](Self::find) gave it.
    #[inline(always)]
    pub fn page(&self, index: u32) -> *mut Page {
        self.pages[index as usize].as_ptr()
    }

    fn clear(&mut self) {
        for page in self.pages.drain(..) {
            // SAFETY: it came from `Box::leak` and leaves the list.
            drop(unsafe { Box::from_raw(page.as_ptr()) });
        }
        self.index.fill(0);
    }

    /// Number of the page of RAM at physical `address`, compared with RAM if that is due. The second value
    /// tells that all earlier numbers are void, the third that stores to the page must be noted from now on.
    pub fn find(&mut self, ram: &Ram, address: u64) -> Option<(u32, bool, bool)> {
        let ram_page = ram.page_index(address)?;
        let mut evicted = false;
        if self.index[ram_page] == 0 {
            if self.pages.len() == LIMIT {
                self.clear();
                evicted = true;
            }
            let page = Box::new(Page::new(address & !(PAGE_SIZE - 1)));
            self.pages.push(NonNull::from(Box::leak(page)));
            #[allow(clippy::cast_possible_truncation)] // at most LIMIT
            {
                self.index[ram_page] = self.pages.len() as u32;
            }
        }
        let number = self.index[ram_page] - 1;
        // SAFETY: the page lives as long as it is listed, and nothing else uses it now.
        let page = unsafe { self.pages[number as usize].as_mut() };
        let mut watch = false;
        if page.checked != self.generation {
            let before = page.watched;
            page.check(ram);
            page.checked = self.generation;
            watch = page.watched != 0 && before == 0;
        }
        Some((number, evicted, watch))
    }

    fn page_of(&mut self, ram: &Ram, address: u64) -> Option<&mut Page> {
        let number = self.index[ram.page_index(address)?];
        // SAFETY: as in `find`; `execute` uses its pointer to the page only while no reference lives.
        (number != 0).then(|| unsafe { self.pages[number as usize - 1].as_mut() })
    }

    /// Whether stores to the page of `address` must be noted.
    pub fn is_watched(&mut self, ram: &Ram, address: u64) -> bool {
        self.page_of(ram, address)
            .is_some_and(|page| page.watched != 0)
    }

    /// Note a store of `width` bytes at physical `address`, on one line. True if it hit a decoded line: then
    /// pages are due for comparison.
    pub fn note_store(&mut self, ram: &Ram, address: u64, width: u64) -> bool {
        debug_assert!(address / 64 == (address + width - 1) / 64);
        let Some(page) = self.page_of(ram, address) else {
            return false;
        };
        if page.watched >> (address % PAGE_SIZE / 64) & 1 == 0 {
            return false;
        }
        page.watched = 0;
        self.generation += 1;
        true
    }

    /// Compare each page with RAM before it is executed again.
    pub fn check_all(&mut self) {
        self.generation += 1;
    }
}
