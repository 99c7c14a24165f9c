//! Formats of pixels (5.7.6.8, `enum virtio_gpu_formats`). A name gives the bytes in the order of
//! memory, so that `B8G8R8A8` has blue first.

use crate::PIXEL;

/// A format: where each colour is in a pixel of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Positions of blue, green and red.
    colours: [usize; 3],
    /// Position of alpha, or of the byte without meaning.
    fourth: usize,
    /// The fourth byte is alpha.
    alpha: bool,
}

const fn format(colours: [usize; 3], fourth: usize, alpha: bool) -> Format {
    Format {
        colours,
        fourth,
        alpha,
    }
}

/// The formats, by number.
const FORMATS: [(u32, &str, Format); 8] = [
    (1, "B8G8R8A8_UNORM", format([0, 1, 2], 3, true)),
    (2, "B8G8R8X8_UNORM", format([0, 1, 2], 3, false)),
    (3, "A8R8G8B8_UNORM", format([3, 2, 1], 0, true)),
    (4, "X8R8G8B8_UNORM", format([3, 2, 1], 0, false)),
    (67, "R8G8B8A8_UNORM", format([2, 1, 0], 3, true)),
    (68, "X8B8G8R8_UNORM", format([1, 2, 3], 0, false)),
    (121, "A8B8G8R8_UNORM", format([1, 2, 3], 0, true)),
    (134, "R8G8B8X8_UNORM", format([2, 1, 0], 3, false)),
];

/// The number and the name of each format, for comparison with other tables.
pub fn named() -> impl Iterator<Item = (u32, &'static str)> {
    FORMATS.iter().map(|(number, name, _)| (*number, *name))
}

impl Format {
    /// The format of a number of the specification.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        FORMATS
            .iter()
            .find(|(known, _, _)| *known == number)
            .map(|(_, _, format)| *format)
    }

    /// True if its pixels have an alpha.
    #[must_use]
    pub fn has_alpha(self) -> bool {
        self.alpha
    }

    /// Write pixels as blue, green, red and alpha. Without `alpha`, and in formats that have none, it
    /// is 255. Pixels that one side lacks are left out.
    pub fn to_bgra(self, source: &[u8], target: &mut [u8], alpha: bool) {
        let opaque = if alpha && self.alpha { 0 } else { 0xFF };
        let [blue, green, red] = self.colours;
        let pixels = source.chunks_exact(PIXEL);
        for (from, to) in pixels.zip(target.chunks_exact_mut(PIXEL)) {
            to[0] = from[blue];
            to[1] = from[green];
            to[2] = from[red];
            to[3] = from[self.fourth] | opaque;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name spells where each byte is, so the table is compared with what it says.
    #[test]
    fn a_name_gives_the_order_of_the_bytes() {
        for (number, name) in named() {
            let order: Vec<char> = name
                .chars()
                .filter(char::is_ascii_alphabetic)
                .take(4)
                .collect();
            let value = |colour| match colour {
                'B' => 1,
                'G' => 2,
                'R' => 3,
                _ => 4,
            };
            let pixel: Vec<u8> = order.iter().copied().map(value).collect();
            let found = Format::from_number(number).unwrap();
            let mut bgra = [0; 4];

            found.to_bgra(&pixel, &mut bgra, true);

            let alpha = if order.contains(&'A') { 4 } else { 0xFF };
            assert_eq!(bgra, [1, 2, 3, alpha], "{name}");
            assert_eq!(found.has_alpha(), order.contains(&'A'), "{name}");
        }
    }

    #[test]
    fn a_picture_is_opaque_whatever_the_alpha() {
        let mut bgra = [0; 4];

        Format::from_number(1)
            .unwrap()
            .to_bgra(&[1, 2, 3, 4], &mut bgra, false);

        assert_eq!(bgra, [1, 2, 3, 0xFF]);
    }

    #[test]
    fn other_numbers_are_no_formats() {
        for number in [0, 5, 66, 69, 120, 122, 135, u32::MAX] {
            assert_eq!(Format::from_number(number), None);
        }
    }
}
