//! Copies of pixels with any rectangle, offset and stride: each is made whole, or refused.

use arbitrary::{Result, Unstructured};
use virtmesh_gpu::picture::MemoryImage;
use virtmesh_gpu::{Backing, Cancel, Format, Picture, Piece, Rect, Surface, Wait};

use crate::guest;
use crate::input::{address, length};

/// Transfer, show and read, in any order.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = guest::cleared(0);
    let format = format(input)?;
    let (width, height) = (side(input)?, side(input)?);
    let surface = Surface::new(width, height, format);
    let (columns, rows) = (side(input)?, side(input)?);
    let picture = Picture::new(columns, rows);
    let pieces: Vec<_> = (0..input.int_in_range(0..=6_u8)?)
        .map(|_| {
            Ok(Piece {
                address: address(input)?,
                length: length(input)?,
            })
        })
        .collect::<Result<_>>()?;
    let Ok(backing) = Backing::new(ram, pieces) else {
        return Ok(());
    };
    let cancel = Cancel::default();
    for _ in 0..input.int_in_range(1..=8_u8)? {
        let rect = rect(input)?;
        match input.int_in_range(0..=4_u8)? {
            0 => {
                let offset = offset(input)?;
                let _ = surface.transfer(&backing, rect, offset, &cancel);
            }
            1 => {
                let place = (side(input)?, side(input)?);
                let _ = picture.show(&surface, place, rect, &cancel, wait(input)?);
            }
            2 => {
                let image = MemoryImage {
                    format: self::format(input)?,
                    width: input.arbitrary()?,
                    height: side(input)?,
                    offset: offset(input)?,
                    stride: input.arbitrary()?,
                };
                let place = (side(input)?, side(input)?);
                let wait = wait(input)?;
                let _ = picture.show_memory(&backing, image, place, rect, &cancel, wait);
            }
            3 => {
                let mut seen = 0;
                let bytes = picture.bytes_of(rect);
                let read = picture.read(rect, |row| seen += row.len());
                assert_eq!(bytes.is_ok(), read.is_ok());
                assert!(bytes.is_err() || bytes == Ok(seen));
            }
            _ => {
                let copy = surface.to_bgra();
                assert_eq!(copy.len(), width as usize * height as usize * 4);
            }
        }
    }
    Ok(())
}

fn side(input: &mut Unstructured<'_>) -> Result<u32> {
    input.int_in_range(0..=48)
}

fn wait(input: &mut Unstructured<'_>) -> Result<Wait> {
    Ok(if input.arbitrary()? {
        Wait::Yes
    } else {
        Wait::No
    })
}

fn format(input: &mut Unstructured<'_>) -> Result<Format> {
    let numbers: Vec<u32> = virtmesh_gpu::format::named()
        .map(|(number, _)| number)
        .collect();
    Ok(Format::from_number(*input.choose(&numbers)?).expect("it is in the table"))
}

/// Mostly small, at times at the end of the numbers.
fn offset(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=7_u8)? {
        0 => input.arbitrary()?,
        1 => u64::MAX - u64::from(input.arbitrary::<u8>()?),
        _ => u64::from(input.arbitrary::<u16>()?) % 2048,
    })
}

fn rect(input: &mut Unstructured<'_>) -> Result<Rect> {
    let mut number = || match input.int_in_range(0..=7_u8)? {
        0 => input.arbitrary(),
        _ => side(input),
    };
    Ok(Rect {
        x: number()?,
        y: number()?,
        width: number()?,
        height: number()?,
    })
}
