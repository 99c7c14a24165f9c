//! The micro-ops of one page.
#![allow(clippy::inline_always)] // on the path of every instruction

use crate::decode::op::{Code, Op};
use crate::decode::{decode, length};
use crate::ram::{PAGE_SIZE, Ram};

const LINE: u64 = 64;
const PARCELS: usize = (PAGE_SIZE / 2) as usize;
/// In `map`: nothing is decoded there.
const NONE: u16 = u16::MAX;

/// Decoded instructions of one page, in runs: each run ends with a micro-op behind which execution
/// never falls through ([`Op::ends_run`]).
#[derive(Debug)]
pub struct Page {
    /// Physical address.
    pub address: u64,
    /// Generation of the cache at which the copy was last compared.
    pub checked: u64,
    /// Lines that were decoded, one bit each.
    decoded: u64,
    /// Lines whose change by a store must be noted: `decoded`, or 0 after such a store.
    pub watched: u64,
    ops: Vec<Op>,
    /// Byte offset in the page of each micro-op.
    offsets: Vec<u16>,
    /// Index in `ops` of the instruction at each parcel.
    map: Box<[u16; PARCELS]>,
    /// The decoded lines as they were.
    copy: Box<[u64; (PAGE_SIZE / 8) as usize]>,
    /// The instruction of a page made by [`single`](Self::single).
    single: Option<u32>,
}

impl Page {
    /// The page at physical `address`, nothing decoded.
    #[must_use]
    pub fn new(address: u64) -> Self {
        Self {
            address,
            checked: 0,
            decoded: 0,
            watched: 0,
            ops: Vec::new(),
            offsets: Vec::new(),
            map: Box::new([NONE; PARCELS]),
            copy: Box::new([0; (PAGE_SIZE / 8) as usize]),
            single: None,
        }
    }

    /// A page with the single instruction `raw` of `bytes` bytes at `offset`, to be executed alone.
    #[must_use]
    pub fn single(raw: u32, bytes: u64, offset: u16) -> Self {
        let mut page = Self::new(0);
        page.push(decode(raw, bytes, offset), offset);
        #[allow(clippy::cast_possible_truncation)] // 2 or 4
        page.push(Op::bare(Code::PageEnd, 0), offset + bytes as u16);
        page.map[usize::from(offset / 2) % PARCELS] = 0;
        page.single = Some(raw);
        page
    }

    /// Bits of the decoded instruction at byte `offset`, as `xtval` shows them.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // a parcel is meant
    pub fn raw(&self, offset: u64) -> u32 {
        let parcel = |offset: u64| {
            let double = self.copy[(offset / 8) as usize % self.copy.len()];
            (double >> (offset % 8 * 8)) as u32 & 0xffff
        };
        let low = parcel(offset);
        match self.single {
            Some(raw) => raw,
            None if low & 3 == 3 => low | parcel(offset + 2) << 16,
            None => low,
        }
    }

    /// The micro-ops. The pointer holds until something is decoded or forgotten.
    #[inline(always)]
    pub fn ops(&self) -> *const Op {
        self.ops.as_ptr()
    }

    /// Byte offset of micro-op `index`.
    #[inline]
    pub fn offset(&self, index: usize) -> u64 {
        u64::from(self.offsets[index])
    }

    /// Index of the micro-op at byte `offset`, if it is decoded.
    #[inline(always)]
    pub fn index(&self, offset: u64) -> Option<usize> {
        // The remainder proves the bound to the compiler: offsets are below 4096.
        let index = self.map[(offset / 2) as usize % PARCELS];
        (index != NONE).then_some(usize::from(index))
    }

    /// Index of the micro-op at byte `offset`, which is decoded first if need be.
    pub fn index_or_decode(&mut self, ram: &Ram, offset: u64) -> usize {
        if self.index(offset).is_none() {
            self.decode_run(ram, offset);
        }
        self.index(offset).unwrap_or(0)
    }

    /// Decode from `offset` to the end of the run, or to what is decoded already.
    ///
    /// Each parcel gets one micro-op, and each run one more at most: as many as fit `u16`, since a run
    /// decodes one parcel at least (2048 + 2048 < 65535).
    fn decode_run(&mut self, ram: &Ram, mut offset: u64) {
        loop {
            #[allow(clippy::cast_possible_truncation)] // at most 4096
            let here = offset as u16;
            if offset >= PAGE_SIZE {
                self.push(Op::bare(Code::PageEnd, 0), here);
                return;
            }
            if self.index(offset).is_some() {
                self.push(Op::bare(Code::Goto, i32::from(here)), here);
                return;
            }
            let op = self.decode_at(ram, offset);
            #[allow(clippy::cast_possible_truncation)] // see above
            {
                self.map[(offset / 2) as usize] = self.ops.len() as u16;
            }
            self.push(op, here);
            if op.ends_run() {
                return;
            }
            offset += length(self.parcel(ram, offset));
        }
    }

    fn decode_at(&mut self, ram: &Ram, offset: u64) -> Op {
        #[allow(clippy::cast_possible_truncation)] // below 4096
        let here = offset as u16;
        let low = self.parcel(ram, offset);
        if length(low) == 2 {
            return decode(low.into(), 2, here);
        }
        if offset + 2 >= PAGE_SIZE {
            return Op::bare(Code::Split, 0);
        }
        let high = self.parcel(ram, offset + 2);
        decode(u32::from(low) | u32::from(high) << 16, 4, here)
    }

    fn push(&mut self, op: Op, offset: u16) {
        self.ops.push(op);
        self.offsets.push(offset);
    }

    /// The parcel at `offset`, of the copy. Its line is copied first if nothing of it was decoded.
    #[allow(clippy::cast_possible_truncation)] // a parcel is meant
    fn parcel(&mut self, ram: &Ram, offset: u64) -> u16 {
        let bit = 1 << (offset / LINE);
        if self.decoded & bit == 0 {
            let line = offset / LINE * LINE;
            for at in (line..line + LINE).step_by(8) {
                self.copy[(at / 8) as usize] = ram.load(self.address + at, 8).unwrap_or(0);
            }
            self.decoded |= bit;
            self.watched |= bit;
        }
        (self.copy[(offset / 8) as usize] >> (offset % 8 * 8)) as u16
    }

    /// Compare with RAM, and forget everything if it differs. Watch the decoded lines again.
    pub fn check(&mut self, ram: &Ram) {
        let same = (0..PAGE_SIZE / LINE)
            .filter(|line| self.decoded >> line & 1 != 0)
            .flat_map(|line| (line * LINE..(line + 1) * LINE).step_by(8))
            .all(|at| ram.load(self.address + at, 8) == Some(self.copy[(at / 8) as usize]));
        if !same {
            self.ops.clear();
            self.offsets.clear();
            self.map.fill(NONE);
            self.decoded = 0;
        }
        self.watched = self.decoded;
    }
}
