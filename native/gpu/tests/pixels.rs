//! Pixels from guest memory into a resource and from there into a picture, compared with a model that
//! copies pixel by pixel.

use std::fs::File;
use std::os::fd::AsFd;

use proptest::prelude::*;
use virtmesh_gpu::{
    Backing, Cancel, CopyError, Format, MemoryImage, PIXEL, Picture, Piece, Rect, Surface, Wait,
};
use virtmesh_ring::{GuestRam, RegionSpec};

const BASE: u64 = 0x8000_0000;
const RAM: u64 = 1 << 16;

/// Guest memory whose byte at an offset is known.
fn ram() -> GuestRam {
    let file: File = tempfile::tempfile().unwrap();
    file.set_len(RAM).unwrap();
    let spec = RegionSpec {
        fd: file.as_fd(),
        guest_address: BASE,
        size: RAM,
        file_offset: 0,
    };
    let ram = GuestRam::map_unsealed(&[spec]).unwrap();
    let bytes: Vec<u8> = (0..RAM).map(byte).collect();
    ram.write(BASE, &bytes).unwrap();
    ram
}

fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn piece(offset: u64, length: u32) -> Piece {
    Piece {
        address: BASE + offset,
        length,
    }
}

/// The bytes of some pieces, one after the other.
fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let each = pieces.iter().flat_map(|piece| {
        let first = piece.address - BASE;
        first..first + u64::from(piece.length)
    });
    each.map(byte).collect()
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

fn read(picture: &Picture, rect: Rect) -> Vec<u8> {
    let mut seen = Vec::new();
    picture
        .read(rect, |row| seen.extend_from_slice(row))
        .unwrap();
    assert_eq!(seen.len(), picture.bytes_of(rect).unwrap());
    seen
}

fn bgra8() -> Format {
    Format::from_number(1).unwrap()
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let one = (0..RAM - 5000, 0_u32..5000).prop_map(|(offset, length)| piece(offset, length));
    prop::collection::vec(one, 0..20)
}

proptest! {
    /// Whatever the pieces are, a read gives the bytes that they have one after the other, or says that
    /// they end before.
    #[test]
    fn pieces_read_as_one(pieces in pieces(), offset in 0_usize..60_000, length in 0_usize..9000) {
        let expected = bytes_of(&pieces);
        let backing = Backing::new(ram(), pieces).unwrap();
        let mut target = vec![0; length];

        let outcome = backing.read(offset as u64, &mut target);

        prop_assert_eq!(backing.size(), expected.len() as u64);
        let end = offset + length;
        if end <= expected.len() {
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(&target[..], &expected[offset..end]);
        } else {
            let short = matches!(outcome, Err(CopyError::Short { .. }));
            prop_assert!(short);
        }
    }

    /// A transfer changes the pixels of its rectangle, to those of the backing, and no others.
    #[test]
    fn a_transfer_moves_its_rectangle(
        (width, height) in (1_u32..40, 1_u32..40),
        (x, y) in (0_u32..40, 0_u32..40),
        (columns, rows) in (0_u32..42, 0_u32..42),
        offset in 0_usize..2000,
    ) {
        let pieces = [piece(100, 3000), piece(9000, 5), piece(20_001, 6000)];
        let bytes = bytes_of(&pieces);
        let backing = Backing::new(ram(), pieces).unwrap();
        let surface = Surface::new(width, height, bgra8());

        let outcome = surface.transfer(&backing, rect(x, y, columns, rows), offset as u64, &Cancel::default());

        let mut expected = vec![0; width as usize * height as usize * PIXEL];
        let stride = width as usize * PIXEL;
        let inside = columns > 0 && rows > 0 && x + columns <= width && y + rows <= height;
        let end = offset + stride * (rows.max(1) as usize - 1) + columns as usize * PIXEL;
        let covered = inside && end <= bytes.len();
        prop_assert_eq!(outcome.is_ok(), covered);
        if covered {
            for line in 0..rows as usize {
                for at in 0..columns as usize * PIXEL {
                    expected[(y as usize + line) * stride + x as usize * PIXEL + at] =
                        bytes[offset + line * stride + at];
                }
            }
        }
        prop_assert_eq!(surface.to_bgra(), expected);
    }
}

/// Numbers at the ends of their range are refused, not added up to something small.
#[test]
fn extreme_numbers_are_refused() {
    let backing = Backing::new(ram(), [piece(0, 65536)]).unwrap();
    let surface = Surface::new(16, 16, bgra8());
    let picture = Picture::new(16, 16);
    let none = Cancel::default();
    for bad in [
        rect(u32::MAX, 0, 1, 1),
        rect(1, u32::MAX, 1, u32::MAX),
        rect(0, 0, u32::MAX, u32::MAX),
        rect(0, 0, 17, 1),
        rect(0, 0, 0, 1),
    ] {
        let outside = |outcome| matches!(outcome, Err(CopyError::Outside { .. }));
        assert!(outside(surface.transfer(&backing, bad, 0, &none)));
        assert!(outside(picture.show(
            &surface,
            (0, 0),
            bad,
            &none,
            Wait::No
        )));
        assert!(outside(picture.read(bad, |_| ())));
    }
    let whole = rect(0, 0, 16, 16);
    let far = surface.transfer(&backing, whole, u64::MAX, &none);
    assert!(matches!(far, Err(CopyError::Short { .. })));
    let (format, width, height) = (bgra8(), 16, 16);
    for (offset, stride) in [(u64::MAX, 64), (0, u32::MAX), (u64::MAX, u32::MAX)] {
        let image = MemoryImage {
            format,
            width,
            height,
            offset,
            stride,
        };
        let short = picture.show_memory(&backing, image, (0, 0), whole, &none, Wait::No);
        assert!(matches!(short, Err(CopyError::Short { .. })));
    }
}

#[test]
fn a_piece_outside_of_memory_is_refused() {
    assert!(Backing::new(ram(), [piece(RAM - 1, 2)]).is_err());
    assert!(Backing::new(ram(), [piece(0, 8), piece(u64::MAX - BASE, u32::MAX)]).is_err());
}

#[test]
fn a_picture_shows_what_was_shown_to_it_only() {
    let backing = Backing::new(ram(), [piece(0, 64)]).unwrap();
    let surface = Surface::new(4, 4, bgra8());
    let none = Cancel::default();
    surface
        .transfer(&backing, rect(0, 0, 4, 4), 0, &none)
        .unwrap();
    let picture = Picture::new(6, 6);
    picture
        .show(&surface, (1, 1), rect(3, 2, 2, 2), &none, Wait::No)
        .unwrap();

    let seen = read(&picture, rect(0, 0, 6, 6));

    let source = bytes_of(&[piece(0, 64)]);
    for (number, pixel) in seen.chunks(PIXEL).enumerate() {
        let (x, y) = (number % 6, number / 6);
        let mut expected = vec![0, 0, 0, 0xFF];
        if (3..5).contains(&x) && (2..4).contains(&y) {
            let at = ((y - 2 + 1) * 4 + (x - 3 + 1)) * PIXEL;
            expected[..3].copy_from_slice(&source[at..at + 3]);
        }
        assert_eq!(pixel, expected, "{x},{y}");
    }
}

#[test]
fn an_image_in_guest_memory_is_shown_without_a_resource() {
    let backing = Backing::new(ram(), [piece(0, 100), piece(500, 400)]).unwrap();
    let image = MemoryImage {
        format: Format::from_number(67).unwrap(),
        width: 5,
        height: 5,
        offset: 8,
        stride: 24,
    };
    let picture = Picture::new(3, 3);
    let none = Cancel::default();

    picture
        .show_memory(&backing, image, (2, 1), rect(0, 0, 3, 3), &none, Wait::No)
        .unwrap();

    let bytes = bytes_of(&[piece(0, 100), piece(500, 400)]);
    let seen = read(&picture, rect(0, 0, 3, 3));
    for (number, pixel) in seen.chunks(PIXEL).enumerate() {
        let at = 8 + (number / 3 + 1) * 24 + (number % 3 + 2) * PIXEL;
        assert_eq!(pixel, [bytes[at + 2], bytes[at + 1], bytes[at], 0xFF]);
    }
}

#[test]
fn an_ended_copy_says_so() {
    let backing = Backing::new(ram(), [piece(0, 65536)]).unwrap();
    let surface = Surface::new(16, 16, bgra8());
    let cancel = Cancel::default();
    cancel.set();

    let whole = rect(0, 0, 16, 16);

    assert_eq!(
        surface.transfer(&backing, whole, 0, &cancel),
        Err(CopyError::Cancelled)
    );
    let shown = Picture::new(16, 16).show(&surface, (0, 0), whole, &cancel, Wait::No);
    assert_eq!(shown, Err(CopyError::Cancelled));
}

/// A flush that may not wait is refused while somebody reads, and nothing of it is copied.
#[test]
fn a_picture_that_is_read_is_busy() {
    let (picture, surface) = (Picture::new(4, 4), Surface::new(4, 4, bgra8()));
    let (whole, none) = (rect(0, 0, 4, 4), Cancel::default());
    let mut rows = 0;
    picture
        .read(whole, |row| {
            let outcome = picture.show(&surface, (0, 0), whole, &none, Wait::No);
            assert_eq!(outcome, Err(CopyError::Busy));
            assert_eq!(row, [0, 0, 0, 255].repeat(4));
            rows += 1;
        })
        .unwrap();
    assert_eq!(rows, 4);
    picture
        .show(&surface, (0, 0), whole, &none, Wait::No)
        .unwrap();
}
