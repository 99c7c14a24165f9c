//! Numbers that are wrong in few enough ways to get far.

use arbitrary::{Result, Unstructured};
use virtmesh_ring::Segment;

use crate::guest::{BASE, SIZE};

/// Mostly below `end`, at times any.
pub fn index(input: &mut Unstructured<'_>, end: u16) -> Result<u16> {
    if input.ratio(7, 8)? {
        input.int_in_range(0..=end.saturating_sub(1))
    } else {
        input.arbitrary()
    }
}

/// Mostly in memory, at times at its end, at times anywhere.
pub fn address(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=15_u8)? {
        0 => input.arbitrary()?,
        1 => BASE + SIZE - u64::from(input.arbitrary::<u8>()?),
        2 => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        _ => BASE + u64::from(input.arbitrary::<u16>()?),
    })
}

/// Mostly short, at times a multiple of 16 (a table), at times any.
pub fn length(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match input.int_in_range(0..=9_u8)? {
        0 => input.arbitrary()?,
        1..=3 => 16 * u32::from(input.arbitrary::<u8>()? % 16),
        _ => u32::from(input.arbitrary::<u16>()? % 600),
    })
}

/// Segments inside of memory, as a ring hands them on.
pub fn segments(input: &mut Unstructured<'_>, most: usize) -> Result<Vec<Segment>> {
    let count = input.int_in_range(0..=most)?;
    (0..count)
        .map(|_| {
            let offset = u64::from(input.arbitrary::<u16>()?);
            let longest = u32::try_from(SIZE - offset).unwrap_or(u32::MAX);
            let len = length(input)?.min(longest);
            Ok(Segment {
                addr: BASE + offset,
                len,
            })
        })
        .collect()
}
