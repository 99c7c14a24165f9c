//! Writes that the thread of a queue executes itself.

mod common;

use std::collections::BTreeMap;

use common::{Answer, Driver, Rig, Shape, header, pattern};
use virtmesh_blk::spec::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};

const BLOCK: usize = 4096;
const BLOCKS: usize = 64;
/// More than are published together.
const DEPTH: usize = 48;
const SHAPE: Shape = Shape {
    size: 256,
    event_idx: true,
    indirect: true,
    packed: false,
};

fn sector(block: usize) -> u64 {
    (block * BLOCK / 512) as u64
}

/// Send a request for each block at once; returns the answers by block.
fn all_at_once(driver: &mut Driver, kind: u32, data: impl Fn(usize) -> Vec<u8>) -> Vec<Answer> {
    let mut tokens = BTreeMap::new();
    let mut answers: Vec<Option<Answer>> = (0..DEPTH).map(|_| None).collect();
    for block in 0..DEPTH {
        let output = data(block);
        let input = if output.is_empty() { BLOCK } else { 0 };
        let token = driver.send(header(kind, sector(block)), &output, input);
        tokens.insert(token.unwrap(), block);
    }
    while answers.iter().any(Option::is_none) {
        for answer in driver.wait() {
            let block = tokens[&answer.token];
            assert!(answers[block].replace(answer).is_none(), "{block} twice");
        }
    }
    answers.into_iter().flatten().collect()
}

#[test]
fn many_writes_at_once_are_all_there() {
    for packed in [false, true] {
        let rig = Rig::new(&vec![0; BLOCK * BLOCKS], 1);
        let mut driver = rig.with_driver(Shape { packed, ..SHAPE }, 64);
        for round in 0..20_u8 {
            let data = |block: usize| pattern(BLOCK, round ^ u8::try_from(block).unwrap());
            for answer in all_at_once(&mut driver, VIRTIO_BLK_T_OUT, data) {
                assert_eq!(answer.status, VIRTIO_BLK_S_OK);
            }
            let read = all_at_once(&mut driver, VIRTIO_BLK_T_IN, |_| Vec::new());
            for (block, answer) in read.into_iter().enumerate() {
                assert_eq!(answer.data, data(block), "{block} in round {round}");
            }
        }
        assert_eq!(rig.device.in_flight(), 0);
    }
}

#[test]
fn writes_that_come_together_do_not_grow_an_image_that_is_cut_off() {
    let rig = Rig::new(&vec![1; BLOCK * BLOCKS], 1);
    let mut driver = rig.with_driver(SHAPE, 64);
    let half = DEPTH / 2;
    let length = (half * BLOCK) as u64;
    rig.file.as_file().set_len(length).unwrap();
    let answers = all_at_once(&mut driver, VIRTIO_BLK_T_OUT, |_| vec![2; BLOCK]);
    for (block, answer) in answers.into_iter().enumerate() {
        let expected = if block < half {
            VIRTIO_BLK_S_OK
        } else {
            VIRTIO_BLK_S_IOERR
        };
        assert_eq!(answer.status, expected, "{block}");
    }
    assert_eq!(rig.file.as_file().metadata().unwrap().len(), length);
    assert_eq!(rig.device.disk().image.truncated(), half as u64);
}
