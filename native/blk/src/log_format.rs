//! The format of a log of writes: that of dm-log-writes, with fields of our own.

/// `WRITE_LOG_MAGIC`
const MAGIC: u64 = 0x006A_7366_7773_6872;
/// `WRITE_LOG_VERSION`
const VERSION: u64 = 1;
/// Bytes of a sector of the log, and what its sector numbers count.
pub const SECTOR: usize = 512;
/// Flags of an entry.
pub const FLUSH: u64 = 1 << 0;
pub const DISCARD: u64 = 1 << 2;
pub const MARK: u64 = 1 << 3;
/// Where our own fields stand in a sector, and what they begin with.
const EXTRA: usize = 448;
const EXTRA_MAGIC: &[u8; 8] = b"virtmesh";
/// Our own flags: zeroes without data; some of it was written, and the request failed; a mark that a flush
/// has ended; a mark that a service began to record.
pub const ZEROES: u64 = 1 << 0;
pub const FAILED: u64 = 1 << 1;
pub const FLUSHED: u64 = 1 << 2;
pub const OPENED: u64 = 1 << 3;
/// No clock comes near it in practice; a log that says so is no log.
const CLOCK_MAX: u64 = 1 << 62;

/// `struct log_write_entry`, and our own fields.
#[derive(Debug, Default)]
pub struct Entry<'text> {
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    /// Flags of the format.
    pub flags: u64,
    /// Our own flags.
    pub extra: u64,
    /// When it was submitted.
    pub submitted: u64,
    /// The text of a mark.
    pub text: &'text str,
}

impl Entry<'_> {
    /// The sector that describes it.
    pub fn encode(&self, ended: u64) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, self.sector);
        put(&mut sector, 8, self.sectors);
        put(&mut sector, 16, self.flags);
        // The length of a mark alone: other data is as long as its sectors.
        put(&mut sector, 24, self.text.len() as u64);
        sector[32..32 + self.text.len()].copy_from_slice(self.text.as_bytes());
        sector[EXTRA..EXTRA + 8].copy_from_slice(EXTRA_MAGIC);
        put(&mut sector, EXTRA + 8, self.submitted);
        put(&mut sector, EXTRA + 16, ended);
        put(&mut sector, EXTRA + 24, self.extra);
        sector
    }
}

/// `struct log_write_super`, and our own fields.
pub fn first_sector(capacity: u64, print: u64, block_size: u32) -> [u8; SECTOR] {
    let mut first = [0; SECTOR];
    put(&mut first, 0, MAGIC);
    put(&mut first, 8, VERSION);
    first[24..28].copy_from_slice(&512_u32.to_le_bytes());
    first[EXTRA..EXTRA + 8].copy_from_slice(EXTRA_MAGIC);
    put(&mut first, EXTRA + 8, capacity);
    put(&mut first, EXTRA + 16, print);
    put(&mut first, EXTRA + 24, block_size.into());
    first
}

/// Where a log goes on.
pub struct Place {
    /// Entries that it has.
    pub entries: u64,
    /// Where the next one is written, in bytes.
    pub tail: u64,
    /// The time.
    pub clock: u64,
    /// It lacks a write, which could not be recorded.
    pub is_broken: bool,
}

/// Find where a log of so many bytes goes on, from its first sector. The error is why it is none.
pub fn go_on(first: &[u8; SECTOR], length: u64, capacity: u64) -> Result<Place, String> {
    let is_ours = get(first, 0) == MAGIC
        && get(first, 8) == VERSION
        && first[24..28] == 512_u32.to_le_bytes()
        && first[EXTRA..EXTRA + 8] == *EXTRA_MAGIC;
    if !is_ours {
        return Err("not a log of writes that a disk of virtmesh made".to_owned());
    }
    let recorded = get(first, EXTRA + 8);
    if recorded != capacity {
        return Err(format!(
            "a log of another disk: that had {recorded} bytes, this one has {capacity}"
        ));
    }
    let place = Place {
        entries: get(first, 16),
        tail: get(first, EXTRA + 32),
        clock: get(first, EXTRA + 40),
        is_broken: get(first, EXTRA + 48) != 0,
    };
    let is_whole = (SECTOR as u64..=length).contains(&place.tail)
        && place.tail.is_multiple_of(SECTOR as u64)
        && place.clock < CLOCK_MAX;
    is_whole
        .then_some(place)
        .ok_or_else(|| "a log that was cut off or changed".to_owned())
}

/// Say in the first sector where a log goes on.
pub fn set_place(first: &mut [u8; SECTOR], place: &Place) {
    put(first, 16, place.entries);
    put(first, EXTRA + 32, place.tail);
    put(first, EXTRA + 40, place.clock);
    put(first, EXTRA + 48, place.is_broken.into());
}

fn put(sector: &mut [u8; SECTOR], at: usize, value: u64) {
    sector[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(sector: &[u8; SECTOR], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&sector[at..at + 8]);
    u64::from_le_bytes(bytes)
}
