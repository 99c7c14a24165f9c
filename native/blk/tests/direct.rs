//! Disks past the page cache, by threads and by `io_uring`: what differs from a disk through it.

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use common::{
    BASE, Driver, PATIENCE, PLAIN, Rig, WAYS, Way, await_event, header, image_file, options,
    pattern, range,
};
use virtmesh_blk::spec::{VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES};
use virtmesh_blk::{BlkDevice, Disk, EngineChoice, EngineError, Image, ImageError, RequestType};
use virtmesh_device::Interrupt;
use virtmesh_ring::Segment;

const OK: u8 = 0;
const IOERR: u8 = 1;
const BLOCK: usize = 4096;
/// Where the header of a chain lies that is made by hand: where the driver has no other memory.
const HEAD: u64 = BASE + (3 << 20);

/// A disk for each way past the page cache that this host has.
fn disks(content: &[u8]) -> impl Iterator<Item = (Way, Rig)> {
    let ways = WAYS.into_iter().filter(|way| way.bypass_cache);
    ways.filter_map(move |way| Some((way, Rig::by(way, content, (2, 1))?)))
}

const fn segment(addr: u64, len: u32) -> Segment {
    Segment { addr, len }
}

/// Send a chain that is made by hand: its header lies at [`HEAD`]. Wait for it.
fn ask(driver: &mut Driver, head: [u8; 16], readable: &[Segment], writable: &[Segment]) {
    driver.ram.write(HEAD, &head).unwrap();
    let readable = [&[segment(HEAD, 16)], readable].concat();
    let writable = [writable, &[segment(HEAD + 99, 1)]].concat();
    driver.queue.add(&readable, &writable).unwrap().unwrap();
    driver.kick.signal();
    let mut used = Vec::new();
    while driver.queue.pop_used_batch(1, &mut used).unwrap() == 0 {
        if !driver.queue.enable_interrupts() {
            await_event(&driver.call);
        }
    }
}

/// What lies in guest memory.
fn bytes_of(driver: &Driver, pieces: &[Segment]) -> Vec<u8> {
    let bytes = pieces.iter().map(|piece| {
        let mut bytes = vec![0; piece.len as usize];
        driver.ram.read(piece.addr, &mut bytes).unwrap();
        bytes
    });
    bytes.flatten().collect()
}

fn content_of(rig: &Rig) -> Vec<u8> {
    std::fs::read(rig.file.path()).unwrap()
}

/// The flags say so, and the file is what was written: nobody else's reads see less.
#[test]
fn the_image_is_open_for_direct_io() {
    for (_, rig) in disks(&[1; BLOCK]) {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = links.filter(|link| {
            std::fs::read_link(link.path()).is_ok_and(|path| path == rig.file.path())
        });
        let flags: Vec<_> = open
            .map(|link| {
                let number = link.file_name().into_string().unwrap();
                let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
                let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
                i32::from_str_radix(flags.unwrap().trim(), 8).unwrap()
            })
            .collect();
        let is_direct = |flags: &i32| flags & (libc::O_DIRECT | libc::O_NONBLOCK) == libc::O_DIRECT;
        assert!(flags.iter().any(is_direct), "{flags:?}");
    }
}

/// A driver may put its data anywhere.
#[test]
fn data_that_is_aligned_to_nothing_is_moved_all_the_same() {
    for (way, rig) in disks(&pattern(1 << 20, 1)) {
        let mut driver = rig.with_driver(PLAIN, 4);
        // Three pieces of odd lengths, 1,024 bytes together.
        let pieces = [(4097, 511), (4697, 3), (6097, 510)];
        let pieces = pieces.map(|(place, len)| segment(HEAD + place, len));
        ask(&mut driver, header(VIRTIO_BLK_T_IN, 3), &[], &pieces);
        let read = bytes_of(&driver, &pieces);
        assert_eq!(read, pattern(1 << 20, 1)[1536..2560], "{way:?}");

        ask(&mut driver, header(VIRTIO_BLK_T_OUT, 100), &pieces, &[]);
        assert_eq!(content_of(&rig)[51_200..52_224], read, "{way:?}");
    }
}

/// Few pieces are kept within the request, which moves; many are not.
#[test]
fn data_in_several_aligned_pieces_is_moved_in_order() {
    let content = pattern(1 << 20, 1);
    for (way, rig) in disks(&content) {
        for count in [2, 3, 7] {
            let mut driver = Driver::new(PLAIN, 4);
            rig.start(0, &driver);
            // Backwards in memory, with gaps.
            let pieces: Vec<_> = (1..=count)
                .map(|place| segment(HEAD + (8 - place) * 8192, 1536))
                .collect();
            ask(&mut driver, header(VIRTIO_BLK_T_IN, 6), &[], &pieces);
            let read = bytes_of(&driver, &pieces);
            assert!(read == content[3072..][..read.len()], "{way:?} {count}");
            rig.device.request_stop(0);
            assert!(rig.device.join(0, PATIENCE));
        }
    }
}

#[test]
fn many_requests_are_in_flight_at_once_and_each_has_its_own_data() {
    const COUNT: usize = 200;
    for (way, rig) in disks(&vec![0; COUNT * BLOCK]) {
        let mut driver = rig.with_driver(PLAIN, 32);
        let (mut sent, mut ended) = (0, 0);
        while ended < COUNT {
            while sent < COUNT {
                let data = pattern(BLOCK, u8::try_from(sent).unwrap());
                let sector = (sent * BLOCK / 512) as u64;
                if driver
                    .send(header(VIRTIO_BLK_T_OUT, sector), &data, 0)
                    .is_none()
                {
                    break;
                }
                sent += 1;
            }
            let answers = driver.wait();
            assert!(answers.iter().all(|one| one.status == OK), "{way:?}");
            ended += answers.len();
        }
        let expected: Vec<_> = (0..=u8::MAX)
            .take(COUNT)
            .flat_map(|seed| pattern(BLOCK, seed))
            .collect();
        assert!(content_of(&rig) == expected, "{way:?}");
        assert_eq!(
            rig.device.disk().stats.of(RequestType::Out).ok,
            COUNT as u64
        );
    }
}

#[test]
fn an_image_cut_off_under_the_disk_is_not_grown() {
    for (way, rig) in disks(&[1; 2 * BLOCK]) {
        let mut driver = rig.with_driver(PLAIN, 1);
        rig.file.as_file().set_len(BLOCK as u64).unwrap();
        let inside = driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[2; 512], 0);
        let outside = driver.ask(header(VIRTIO_BLK_T_OUT, 8), &[2; 512], 0);
        let read = driver.ask(header(VIRTIO_BLK_T_IN, 8), &[], 512);
        let zeroes = driver.ask(header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &range(8, 1, 0), 0);
        let statuses = [inside, outside, read, zeroes].map(|answer| answer.status);
        assert_eq!(statuses, [OK, IOERR, IOERR, IOERR], "{way:?}");
        assert_eq!(rig.file.as_file().metadata().unwrap().len(), BLOCK as u64);
        assert_eq!(rig.device.disk().image.truncated(), 3);
    }
}

/// A write that was checked against the old end is over before the image shrinks.
#[test]
fn a_disk_is_resized_while_it_is_written() {
    for (way, rig) in disks(&vec![0; 64 * BLOCK]) {
        let mut driver = rig.with_driver(PLAIN, 8);
        thread::scope(|scope| {
            let image = &rig.device.disk().image;
            let resizing = scope.spawn(|| {
                for round in 0..100 {
                    image
                        .resize((32 + 32 * (round % 2)) * BLOCK as u64)
                        .unwrap();
                }
            });
            while !resizing.is_finished() {
                while driver
                    .send(header(VIRTIO_BLK_T_OUT, 63 * 8), &[7; BLOCK], 0)
                    .is_some()
                {}
                driver.wait();
            }
        });
        rig.device.disk().image.resize(32 * BLOCK as u64).unwrap();
        assert_eq!(content_of(&rig).len(), 32 * BLOCK, "{way:?}");
    }
}

/// A stop, a reset, and then another driver, with requests in flight each time.
#[test]
fn a_queue_stops_once_the_storage_has_ended_what_it_has() {
    for (way, rig) in disks(&vec![5; 64 * BLOCK]) {
        for is_reset in [false, true, false] {
            let mut driver = rig.with_driver(PLAIN, 32);
            while driver
                .send(header(VIRTIO_BLK_T_IN, 8), &[], BLOCK)
                .is_some()
            {}
            rig.device.kick(0);
            if is_reset {
                rig.device.abandon(0);
            } else {
                rig.device.request_stop(0);
            }
            assert!(rig.device.join(0, PATIENCE), "{way:?}");
            assert_eq!(rig.device.in_flight(), 0);
            let data = driver.answers().into_iter().map(|answer| answer.data);
            assert!(data.into_iter().all(|data| data == [5; BLOCK]), "{way:?}");
        }
    }
}

/// Reads of it are as they were, and it is not the image that is at fault.
#[test]
fn what_the_storage_does_not_do_whole_is_done_again_by_a_thread() {
    for (_, rig) in disks(&[1; 2 * BLOCK]) {
        let mut driver = rig.with_driver(PLAIN, 1);
        // Cut off in the middle of what is read, and put back: the ring reads it short in between.
        rig.file.as_file().set_len(BLOCK as u64).unwrap();
        assert_eq!(
            driver
                .ask(header(VIRTIO_BLK_T_IN, 0), &[], 2 * BLOCK)
                .status,
            IOERR
        );
        rig.file
            .as_file()
            .write_all_at(&[1; BLOCK], BLOCK as u64)
            .unwrap();
        let answer = driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 2 * BLOCK);
        assert_eq!((answer.status, answer.data), (OK, vec![1; 2 * BLOCK]));
    }
}

#[test]
fn an_image_without_direct_io_is_refused_with_the_remedy() {
    let file = image_file(&[0; BLOCK]);
    let image = Image::open(file.path(), false, 512).unwrap();
    match image.bypass_cache(file.path()) {
        Ok(image) => assert!(image.direct().is_some()),
        Err(failure) => {
            assert!(
                matches!(failure, ImageError::NoDirectIo { .. }),
                "{failure}"
            );
            assert!(
                failure.to_string().contains("leave --cache out"),
                "{failure}"
            );
        }
    }
}

#[test]
fn an_engine_that_is_asked_for_and_not_there_is_an_error() {
    let file = image_file(&[0; BLOCK]);
    let image = Image::open(file.path(), false, 512).unwrap();
    let failure = EngineChoice::Uring.start(1, (1, 64), &image).err().unwrap();
    assert!(matches!(failure, EngineError::NoUring(_)));
    let chosen = EngineChoice::Auto.start(1, (1, 64), &image).unwrap();
    assert_eq!((chosen.name, chosen.reason.as_str()), ("threads", ""));
}

/// The lock of readers would not keep the next service waiting for the reads of a killed one.
#[test]
fn an_image_that_others_may_read_too_has_no_ring() {
    let file = image_file(&[0; BLOCK]);
    let image = Image::open(file.path(), true, 512).unwrap();
    // Not where the file system of temporary files has no direct I/O.
    let Ok(image) = image.bypass_cache(file.path()) else {
        return;
    };
    let chosen = EngineChoice::Auto.start(1, (1, 64), &image).unwrap();
    assert_eq!(
        (chosen.name, chosen.reason.as_str()),
        ("threads", "no io_uring: the image is read-only")
    );
}

/// It answers whatever is asked, and touches neither the image nor the data.
#[test]
fn an_engine_that_does_nothing_says_that_all_is_done() {
    let file = image_file(&[9; BLOCK]);
    let image = Image::open(file.path(), false, 512).unwrap();
    let engine = EngineChoice::Null.start(1, (1, 64), &image).unwrap().engine;
    let device = BlkDevice::new(Disk::new(image, options()).unwrap(), engine);
    let mut driver = Driver::new(PLAIN, 4);
    let interrupt = Arc::new(Interrupt::new().unwrap());
    let call = std::os::fd::AsFd::as_fd(&driver.call).as_raw_fd();
    interrupt.set_call(0, Some(call)).unwrap();
    device
        .start_queue(0, &driver.ram, driver.config, interrupt, None)
        .unwrap();
    driver
        .send(header(VIRTIO_BLK_T_OUT, 0), &[1; BLOCK], 0)
        .unwrap();
    driver.send(header(VIRTIO_BLK_T_IN, 9), &[], 512).unwrap();
    device.kick(0);
    let mut statuses = Vec::new();
    while statuses.len() < 2 {
        statuses.extend(driver.wait().iter().map(|one| one.status));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [OK, IOERR]);
    assert_eq!(std::fs::read(file.path()).unwrap(), [9; BLOCK]);
}
