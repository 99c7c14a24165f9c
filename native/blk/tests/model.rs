//! Sequences of requests, compared with a plain byte array.

mod common;

use common::{Answer, Driver, PLAIN, Rig, Shape, WAYS, Way, header, pattern, range};
use proptest::prelude::*;
use virtmesh_blk::RequestType;
use virtmesh_blk::spec::{
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};

const OK: u8 = 0;
const IOERR: u8 = 1;

#[test]
fn queues_work_side_by_side() {
    WAYS.into_iter().for_each(work_side_by_side);
}

fn work_side_by_side(way: Way) {
    const QUEUES: usize = 4;
    const SHARE: usize = 256 << 10;
    let Some(rig) = Rig::by(way, &vec![0; QUEUES * SHARE], (3, QUEUES)) else {
        return;
    };
    std::thread::scope(|scope| {
        for (index, seed) in (0..QUEUES).zip(1..) {
            let rig = &rig;
            scope.spawn(move || {
                let mut driver = Driver::new(PLAIN, 8);
                rig.start(index, &driver);
                let share = pattern(SHARE, seed);
                let first = (index * SHARE / 512) as u64;
                write_all(&mut driver, first, &share);
                assert!(read_all(&mut driver, first, SHARE) == share);
            });
        }
    });
    let expected: Vec<_> = (1..)
        .take(QUEUES)
        .flat_map(|seed| pattern(SHARE, seed))
        .collect();
    assert!(std::fs::read(rig.file.path()).unwrap() == expected);
    let stats = rig.device.disk().stats.of(RequestType::Out);
    assert_eq!((stats.bytes, stats.io_errors), ((QUEUES * SHARE) as u64, 0));
}

/// Write data from a sector on, by requests of 1 to 40 sectors, as many at once as there is room.
fn write_all(driver: &mut Driver, first: u64, data: &[u8]) {
    let (mut sector, mut rest, mut left) = (first, data, 0);
    for sectors in (1..=40).cycle() {
        let (now, later) = rest.split_at(rest.len().min(sectors * 512));
        while !now.is_empty()
            && driver
                .send(header(VIRTIO_BLK_T_OUT, sector), now, 0)
                .is_none()
        {
            left -= expect_ok(&driver.wait());
        }
        left += usize::from(!now.is_empty());
        sector += (now.len() / 512) as u64;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    while left > 0 {
        left -= expect_ok(&driver.wait());
    }
}

fn expect_ok(answers: &[Answer]) -> usize {
    assert!(answers.iter().all(|answer| answer.status == OK));
    answers.len()
}

/// Read a range, one request after the other.
fn read_all(driver: &mut Driver, first: u64, length: usize) -> Vec<u8> {
    const CHUNK: usize = 32 << 10;
    (first..)
        .step_by(CHUNK / 512)
        .take(length / CHUNK)
        .flat_map(|sector| driver.ask(header(VIRTIO_BLK_T_IN, sector), &[], CHUNK).data)
        .collect()
}

/// One step of a random program, in sectors.
#[derive(Debug, Clone)]
enum Step {
    Read(u16, u16),
    Write(u16, u16, u8),
    Zero(u16, u16, bool),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let (place, count) = (0..256_u16, 0..64_u16);
    prop_oneof![
        (place.clone(), count.clone()).prop_map(|(at, count)| Step::Read(at, count)),
        (place.clone(), count.clone(), any::<u8>())
            .prop_map(|(at, count, seed)| Step::Write(at, count, seed)),
        (place, count, any::<bool>()).prop_map(|(at, count, unmap)| Step::Zero(at, count, unmap)),
        Just(Step::Flush),
    ]
}

/// The bytes of sectors.
fn bytes(at: u16, count: u16) -> std::ops::Range<usize> {
    let start = usize::from(at) * 512;
    start..start + usize::from(count) * 512
}

/// Do a step to a plain vector; returns what a disk has to answer.
fn model(disk: &mut [u8], step: &Step) -> (u8, Vec<u8>) {
    let done = match *step {
        Step::Read(at, count) => {
            let data = disk.get(bytes(at, count)).map(<[u8]>::to_vec);
            return data.map_or_else(|| (IOERR, vec![]), |data| (OK, data));
        }
        Step::Write(at, count, seed) => disk
            .get_mut(bytes(at, count))
            .map(|target| target.copy_from_slice(&pattern(target.len(), seed))),
        Step::Zero(at, count, _) => disk.get_mut(bytes(at, count)).map(|target| target.fill(0)),
        Step::Flush => Some(()),
    };
    (if done.is_some() { OK } else { IOERR }, vec![])
}

/// Do a step to a disk.
fn ask(driver: &mut Driver, step: &Step) -> (u8, Vec<u8>) {
    let answer = match *step {
        Step::Read(at, count) => driver.ask(
            header(VIRTIO_BLK_T_IN, at.into()),
            &[],
            usize::from(count) * 512,
        ),
        Step::Write(at, count, seed) => {
            let data = pattern(usize::from(count) * 512, seed);
            driver.ask(header(VIRTIO_BLK_T_OUT, at.into()), &data, 0)
        }
        Step::Zero(at, count, unmap) => {
            let segment = range(at.into(), count.into(), unmap.into());
            driver.ask(header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &segment, 0)
        }
        Step::Flush => driver.ask(header(VIRTIO_BLK_T_FLUSH, 0), &[], 0),
    };
    (answer.status, answer.data)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Any program leaves disk and answers as a plain vector would.
    #[test]
    fn a_disk_behaves_as_a_vector(
        steps in prop::collection::vec(step(), 1..60),
        (size, packed) in prop::sample::select(vec![
            (4_u16, false), (16, false), (128, false), (4, true), (13, true), (128, true),
        ]),
        event_idx: bool,
        indirect: bool,
        threads in 1..4_usize,
        write_back: bool,
        way in prop::sample::select(WAYS.to_vec()),
    ) {
        let mut expected = pattern(256 * 512, 3);
        let rig = Rig::by(way, &expected, (threads, 1));
        prop_assume!(rig.is_some());
        let rig = rig.unwrap();
        rig.device.disk().set_write_back(write_back);
        let mut driver = rig.with_driver(Shape { size, event_idx, indirect, packed }, 4);
        for step in steps {
            prop_assert!(ask(&mut driver, &step) == model(&mut expected, &step), "{step:?}");
        }
        prop_assert!(std::fs::read(rig.file.path()).unwrap() == expected);
    }
}
