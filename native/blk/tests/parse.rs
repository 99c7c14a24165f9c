//! Each rule by which a chain is parsed into a request or refused.

mod common;

use common::{BASE, FEATURES, guest_ram, header, range};
use virtmesh_blk::parse::{MalformedChain, RangeLimits, RequestLimits};
use virtmesh_blk::request::{Operation, Range, Request, RequestType, Status};
use virtmesh_blk::spec::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtmesh_ring::{Chain, Segment};

const MEMORY: u64 = 1 << 20;
/// Where the readable bytes are, and the writable ones.
const OUTPUT: u64 = BASE;
const INPUT: u64 = BASE + MEMORY / 2;

const RANGE_LIMITS: RangeLimits = RangeLimits {
    max_sectors: 64,
    max_seg: 2,
};
const LIMITS: RequestLimits = RequestLimits {
    features: FEATURES,
    capacity: 100,
    read_only: false,
    seg_max: 4,
    size_max: 4096,
    discard: RANGE_LIMITS,
    write_zeroes: RANGE_LIMITS,
};

/// Lay bytes out from `address` on, in segments of the given lengths.
fn segments(address: u64, lengths: &[u32]) -> Vec<Segment> {
    lengths
        .iter()
        .scan(address, |next, &len| {
            let addr = *next;
            *next += u64::from(len);
            Some(Segment { addr, len })
        })
        .collect()
}

fn chain(readable: &[u32], writable: &[u32]) -> Chain {
    Chain {
        head: 5,
        readable: segments(OUTPUT, readable).into(),
        writable: segments(INPUT, writable).into(),
    }
}

/// Parse `output` followed by `input` writable bytes and a status byte.
fn parse_with(output: &[u8], input: u32, limits: &RequestLimits) -> Request {
    let ram = guest_ram(MEMORY);
    ram.write(OUTPUT, output).unwrap();
    let readable = u32::try_from(output.len()).unwrap();
    Request::parse(&chain(&[readable], &[input + 1]), &ram, limits).unwrap()
}

fn parse(kind: u32, sector: u64, output: &[u8], input: u32) -> Operation {
    operation_with(kind, sector, output, input, &LIMITS)
}

fn operation_with(
    kind: u32,
    sector: u64,
    output: &[u8],
    input: u32,
    limits: &RequestLimits,
) -> Operation {
    let output = [&header(kind, sector), output].concat();
    parse_with(&output, input, limits).operation
}

const IOERR: Operation = Operation::Refuse(Status::IoErr);
const UNSUPP: Operation = Operation::Refuse(Status::Unsupp);

#[test]
fn a_read_is_of_whole_sectors_inside_the_capacity() {
    let cases = [
        (0, 512, Operation::Read { offset: 0 }),
        (99, 512, Operation::Read { offset: 99 * 512 }),
        (100, 0, Operation::Read { offset: 51_200 }),
        (99, 1024, IOERR),
        (100, 512, IOERR),
        (101, 0, IOERR),
        (0, 511, IOERR),
        (u64::MAX, 512, IOERR),
        (u64::MAX / 512, 1024, IOERR),
        (1 << 55, 512, IOERR),
    ];
    for (sector, length, expected) in cases {
        let actual = parse(VIRTIO_BLK_T_IN, sector, &[], length);
        assert_eq!(actual, expected, "sector {sector}, {length} bytes");
    }
}

#[test]
fn a_write_is_of_whole_sectors_inside_the_capacity() {
    let cases = [
        (0, 512, Operation::Write { offset: 0 }),
        (99, 1024, IOERR),
        (0, 100, IOERR),
        (u64::MAX, 512, IOERR),
    ];
    for (sector, length, expected) in cases {
        let actual = parse(VIRTIO_BLK_T_OUT, sector, &vec![0; length], 0);
        assert_eq!(actual, expected, "sector {sector}, {length} bytes");
    }
}

#[test]
fn data_in_the_wrong_direction_is_an_error() {
    let actual = [
        parse(VIRTIO_BLK_T_IN, 0, &[0; 512], 512),
        parse(VIRTIO_BLK_T_OUT, 0, &[0; 512], 512),
        parse(VIRTIO_BLK_T_GET_ID, 0, &[0; 1], 20),
        parse(VIRTIO_BLK_T_DISCARD, 0, &range(0, 1, 0), 1),
        parse(VIRTIO_BLK_T_WRITE_ZEROES, 0, &range(0, 1, 0), 1),
    ];
    assert_eq!(actual, [IOERR, IOERR, IOERR, IOERR, IOERR]);
}

#[test]
fn a_read_only_disk_refuses_what_writes_and_nothing_else() {
    let limits = RequestLimits {
        read_only: true,
        ..LIMITS
    };
    let parse = |kind, output: &[u8], input| operation_with(kind, 0, output, input, &limits);
    assert_eq!(parse(VIRTIO_BLK_T_OUT, &[0; 512], 0), IOERR);
    assert_eq!(parse(VIRTIO_BLK_T_DISCARD, &range(0, 1, 0), 0), IOERR);
    assert_eq!(parse(VIRTIO_BLK_T_WRITE_ZEROES, &range(0, 1, 0), 0), IOERR);
    assert_eq!(
        parse(VIRTIO_BLK_T_IN, &[], 512),
        Operation::Read { offset: 0 }
    );
    assert_eq!(parse(VIRTIO_BLK_T_FLUSH, &[], 0), Operation::Flush);
}

#[test]
fn what_was_not_negotiated_is_unsupported() {
    let cases = [
        (VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_T_FLUSH, vec![]),
        (
            VIRTIO_BLK_F_DISCARD,
            VIRTIO_BLK_T_DISCARD,
            range(0, 1, 0).to_vec(),
        ),
        (
            VIRTIO_BLK_F_WRITE_ZEROES,
            VIRTIO_BLK_T_WRITE_ZEROES,
            range(0, 1, 0).to_vec(),
        ),
    ];
    for (feature, kind, output) in cases {
        let limits = RequestLimits {
            features: FEATURES & !feature,
            ..LIMITS
        };
        assert_eq!(
            operation_with(kind, 0, &output, 0, &limits),
            UNSUPP,
            "type {kind}"
        );
    }
}

#[test]
fn other_types_are_unsupported() {
    // Legacy SCSI and BARRIER, GET_LIFETIME, SECURE_ERASE, ZONE_APPEND, and nonsense (5.2.6).
    for kind in [2, 3, 10, 14, 15, 0x8000_0000, u32::MAX] {
        let request = parse_with(&header(kind, 0), 512, &LIMITS);
        assert_eq!(
            (request.request_type, request.operation),
            (RequestType::Other, UNSUPP),
            "type {kind}"
        );
    }
}

#[test]
fn a_device_id_has_20_bytes() {
    let operations = [19, 20, 21].map(|length| parse(VIRTIO_BLK_T_GET_ID, 0, &[], length));
    assert_eq!(operations, [IOERR, Operation::Identify, IOERR]);
}

#[test]
fn a_flush_may_carry_data_that_is_ignored() {
    assert_eq!(
        parse(VIRTIO_BLK_T_FLUSH, 7, &[1, 2, 3], 5),
        Operation::Flush
    );
}

#[test]
fn more_segments_than_seg_max_are_refused_where_it_is_in_force() {
    let ram = guest_ram(MEMORY);
    ram.write(OUTPUT, &header(VIRTIO_BLK_T_IN, 0)).unwrap();
    let chain = chain(&[16], &[128, 128, 128, 64, 64, 1]);
    let unaware = RequestLimits {
        features: FEATURES & !VIRTIO_BLK_F_SEG_MAX,
        ..LIMITS
    };
    let parse = |limits| Request::parse(&chain, &ram, limits).unwrap().operation;
    assert_eq!(
        [parse(&LIMITS), parse(&unaware)],
        [IOERR, Operation::Read { offset: 0 }]
    );
}

#[test]
fn a_segment_longer_than_size_max_is_refused_where_it_is_in_force() {
    let ram = guest_ram(MEMORY);
    ram.write(OUTPUT, &header(VIRTIO_BLK_T_IN, 0)).unwrap();
    let longest = chain(&[16], &[4096, 1]);
    let longer = chain(&[16], &[4608, 1]);
    let unaware = RequestLimits {
        features: FEATURES & !VIRTIO_BLK_F_SIZE_MAX,
        ..LIMITS
    };
    let parse = |chain, limits| Request::parse(chain, &ram, limits).unwrap().operation;
    let read = Operation::Read { offset: 0 };
    assert_eq!(parse(&longest, &LIMITS), read);
    assert_eq!(parse(&longer, &LIMITS), IOERR);
    assert_eq!(parse(&longer, &unaware), read);
}

#[test]
fn write_zeroes_takes_ranges_and_the_unmap_flag() {
    let output = [range(1, 2, 0), range(90, 10, 1)].concat();
    let expected = [
        Range {
            offset: 512,
            length: 1024,
            unmap: false,
        },
        Range {
            offset: 90 * 512,
            length: 5120,
            unmap: true,
        },
    ];
    let actual = parse(VIRTIO_BLK_T_WRITE_ZEROES, 0, &output, 0);
    assert_eq!(
        actual,
        Operation::WriteZeroes(expected.into_iter().collect())
    );
}

#[test]
fn unknown_flags_are_unsupported_even_where_the_range_is_bad_too() {
    let cases = [
        (VIRTIO_BLK_T_DISCARD, range(0, 1, 1)),
        (VIRTIO_BLK_T_DISCARD, range(0, 1, 2)),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(0, 1, 2)),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(0, 1, 1 << 31)),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(u64::MAX, u32::MAX, 3)),
    ];
    for (kind, output) in cases {
        assert_eq!(
            parse(kind, 0, &output, 0),
            UNSUPP,
            "type {kind}, {output:?}"
        );
    }
}

#[test]
fn ranges_are_held_to_capacity_and_limits() {
    let (good, last) = (range(0, 64, 0), range(99, 1, 0));
    let cases = [
        vec![],
        good[..15].to_vec(),
        [&good[..], &[0]].concat(),
        [good, last, good].concat(),
        range(0, 65, 0).to_vec(),
        range(99, 2, 0).to_vec(),
        range(u64::MAX, 1, 0).to_vec(),
        [good, range(100, 1, 0)].concat(),
    ];
    for output in cases {
        for kind in [VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
            assert_eq!(parse(kind, 0, &output, 0), IOERR, "type {kind}, {output:?}");
        }
    }
    let discard = parse(VIRTIO_BLK_T_DISCARD, 0, &[good, last].concat(), 0);
    assert!(matches!(discard, Operation::Discard(_)));
}

#[test]
fn the_framing_does_not_matter() {
    let ram = guest_ram(MEMORY);
    let output = [&header(VIRTIO_BLK_T_OUT, 3)[..], &[7; 512]].concat();
    ram.write(OUTPUT, &output).unwrap();
    let framings: [&[u32]; 5] = [
        &[528],
        &[16, 512],
        &[1, 15, 512],
        &[4, 4, 8, 500, 12],
        &[20, 508],
    ];
    for framing in framings {
        let limits = RequestLimits {
            seg_max: 2,
            ..LIMITS
        };
        let request = Request::parse(&chain(framing, &[1]), &ram, &limits).unwrap();
        assert_eq!(
            request.operation,
            Operation::Write { offset: 1536 },
            "{framing:?}"
        );
        assert_eq!(request.readable().to_vec(), [7; 512], "{framing:?}");
    }
}

#[test]
fn the_status_is_the_last_writable_byte() {
    let ram = guest_ram(MEMORY);
    ram.write(OUTPUT, &header(VIRTIO_BLK_T_IN, 0)).unwrap();
    ram.write(INPUT, &[0xee; 600]).unwrap();
    let request = Request::parse(&chain(&[16], &[500, 13]), &ram, &LIMITS).unwrap();
    request.writable().fill(&[1; 512]);
    let used = request.complete(Status::Ok);
    let mut bytes = [0; 514];
    ram.read(INPUT, &mut bytes).unwrap();
    assert_eq!(used, (5, 513));
    assert_eq!(
        (&bytes[..512], bytes[512], bytes[513]),
        (&[1; 512][..], 0, 0xee)
    );
}

#[test]
fn a_short_header_is_answered_as_an_error() {
    let ram = guest_ram(MEMORY);
    for readable in [&[][..], &[15], &[8, 7]] {
        let request = Request::parse(&chain(readable, &[1]), &ram, &LIMITS).unwrap();
        assert_eq!(request.operation, IOERR);
        assert!(request.lacks_header());
    }
}

#[test]
fn without_a_status_byte_there_is_no_request() {
    let ram = guest_ram(MEMORY);
    let failure = Request::parse(&chain(&[16], &[]), &ram, &LIMITS).unwrap_err();
    assert!(matches!(failure, MalformedChain::NoStatus { head: 5 }));
}

#[test]
fn the_header_is_copied_once() {
    let ram = guest_ram(MEMORY);
    ram.write(
        OUTPUT,
        &[&header(VIRTIO_BLK_T_WRITE_ZEROES, 0)[..], &range(1, 1, 0)].concat(),
    )
    .unwrap();
    let request = Request::parse(&chain(&[32], &[1]), &ram, &LIMITS).unwrap();
    ram.write(OUTPUT, &[0xff; 32]).unwrap();
    let expected = Range {
        offset: 512,
        length: 512,
        unmap: false,
    };
    assert_eq!(
        request.operation,
        Operation::WriteZeroes([expected].into_iter().collect())
    );
}
