//! A request of a disk in any framing: what comes out is inside the capacity, or it is refused.

use arbitrary::{Result, Unstructured};
use virtmesh_blk::RangeLimits;
use virtmesh_blk::parse::RequestLimits;
use virtmesh_blk::request::{Operation, Request, Status};
use virtmesh_ring::Chain;

use crate::guest;
use crate::input::{length, segments};

/// Parse a request, and complete it as failed.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = guest::cleared(0);
    let limits = RequestLimits {
        features: if input.arbitrary()? {
            u64::MAX
        } else {
            input.arbitrary()?
        },
        capacity: u64::from(input.arbitrary::<u16>()?),
        read_only: input.ratio(1, 8)?,
        seg_max: u32::from(input.arbitrary::<u8>()?),
        size_max: length(input)?,
        discard: ranges(input)?,
        write_zeroes: ranges(input)?,
    };
    let chain = Chain {
        head: input.arbitrary()?,
        readable: segments(input, 6)?.into(),
        writable: segments(input, 6)?.into(),
    };
    // The header, and ranges behind it, wherever the framing puts them.
    let mut bytes = vec![0; 16];
    let kind = input.int_in_range(0..=15_u32)?;
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&sector(input)?.to_le_bytes());
    for _ in 0..input.int_in_range(0..=3_u8)? {
        bytes.extend_from_slice(&sector(input)?.to_le_bytes());
        bytes.extend_from_slice(&length(input)?.to_le_bytes());
        bytes.extend_from_slice(&u32::from(input.arbitrary::<u8>()? % 4).to_le_bytes());
    }
    let mut rest = &bytes[..];
    for segment in &chain.readable {
        let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
        ram.write(segment.addr, now).expect("it is inside");
        rest = later;
    }
    let Ok(request) = Request::parse(&chain, &ram, &limits) else {
        return Ok(());
    };
    let capacity = limits.capacity * 512;
    for (offset, length) in touched(&request) {
        assert!(
            offset
                .checked_add(length)
                .is_some_and(|end| end <= capacity)
        );
    }
    assert_eq!(request.complete(Status::IoErr).0, chain.head);
    Ok(())
}

/// Mostly on the disk, at times at the end of the numbers.
fn sector(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=7_u8)? {
        0 => input.arbitrary()?,
        1 => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        _ => u64::from(input.arbitrary::<u16>()?),
    })
}

fn ranges(input: &mut Unstructured<'_>) -> Result<RangeLimits> {
    Ok(RangeLimits {
        max_sectors: input.arbitrary()?,
        max_seg: u32::from(input.arbitrary::<u8>()? % 8),
    })
}

/// Every range a request acts on, as (offset, length).
fn touched(request: &Request) -> Vec<(u64, u64)> {
    match &request.operation {
        Operation::Read { offset } => vec![(*offset, request.writable().len())],
        Operation::Write { offset } => vec![(*offset, request.readable().len())],
        Operation::Discard(ranges) | Operation::WriteZeroes(ranges) => ranges
            .iter()
            .map(|range| (range.offset, range.length))
            .collect(),
        Operation::Flush | Operation::Identify | Operation::Refuse(_) => vec![],
    }
}
