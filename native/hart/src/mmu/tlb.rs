//! Translations that are remembered.
//!
//! A TLB is direct-mapped and holds pages of RAM only, so a hit needs no further check. One comparison
//! decides: the tag holds the page's address in bits 63..12 and the generation in bits 11..3, and the
//! key is made of the accessed address, whose misalignment stays in bits 2..0, where a tag has zeros. To
//! forget everything, the generation moves on; the table is cleared once in 511 times.
#![allow(clippy::inline_always)] // on the path of every instruction

/// Entries for one context; a power of two.
pub const ENTRIES: usize = 256;
/// Contexts, which are kept apart so that changing the mode forgets nothing.
pub const CONTEXTS: usize = 4;

const PAGE: u64 = !0xfff;
const STEP: u64 = 1 << 3;
const LAST: u64 = 0xfff & !(STEP - 1);

/// One translation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<T> {
    /// 0 fits no key: a generation is never 0.
    tag: u64,
    /// What the page translates to.
    pub value: T,
}

/// A TLB that gives a `T` for a page.
#[derive(Debug)]
pub struct Tlb<T> {
    entries: Box<[Entry<T>; ENTRIES * CONTEXTS]>,
    /// Current generation, in place: a multiple of 8 below 4096.
    generation: u64,
    /// First entry of the current context.
    context: usize,
}

impl<T: Copy + Default> Default for Tlb<T> {
    fn default() -> Self {
        Self {
            entries: Box::new([Entry::default(); ENTRIES * CONTEXTS]),
            generation: STEP,
            context: 0,
        }
    }
}

impl<T: Copy + Default> Tlb<T> {
    #[inline(always)]
    fn index(context: usize, va: u64) -> usize {
        // The mask proves the bound to the compiler.
        (context + ((va >> 12) as usize & (ENTRIES - 1))) & (ENTRIES * CONTEXTS - 1)
    }

    /// The translation of the page of `va`, if it is known and `va` is a multiple of `width`, which is
    /// 1, 2, 4 or 8.
    #[inline(always)]
    pub fn get(&self, va: u64, width: u64) -> Option<T> {
        let entry = &self.entries[Self::index(self.context, va)];
        let key = (va & (PAGE | (width - 1))) | self.generation;
        (entry.tag == key).then_some(entry.value)
    }

    /// Remember `value` for the page of `va` in the current context.
    pub fn insert(&mut self, va: u64, value: T) {
        let tag = (va & PAGE) | self.generation;
        self.entries[Self::index(self.context, va)] = Entry { tag, value };
    }

    /// Use context `number`.
    #[inline]
    pub fn select(&mut self, number: usize) {
        self.context = number * ENTRIES;
    }

    /// Forget the page of `va` in all contexts.
    pub fn forget(&mut self, va: u64) {
        for context in 0..CONTEXTS {
            self.entries[Self::index(context * ENTRIES, va)].tag = 0;
        }
    }

    /// Forget everything.
    pub fn clear(&mut self) {
        if self.generation == LAST {
            self.entries.fill(Entry::default());
            self.generation = 0;
        }
        self.generation += STEP;
    }
}
