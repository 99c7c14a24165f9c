//! The image: opening, locking, and operations on the file.

mod common;

use std::fs::{self, File};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::thread;

use common::{BASE, guest_ram, image_file, reads_from_page_cache};
use virtmesh_blk::buffer::Buffers;
use virtmesh_blk::{Image, ImageError, ResizeError};
use virtmesh_ring::{GuestRam, Segment};

fn open(path: &Path) -> Result<Image, ImageError> {
    Image::open(path, false, 512)
}

/// Buffers in guest memory with the given content.
fn buffers(ram: &GuestRam, content: &[u8]) -> Buffers {
    ram.write(BASE, content).unwrap();
    let len = content.len().try_into().unwrap();
    let data = [Segment { addr: BASE, len }];
    let mut buffers = Buffers::new(ram, BASE).unwrap();
    buffers.add(data.into_iter(), [].into_iter()).unwrap();
    buffers
}

#[test]
fn a_missing_image_is_named() {
    let failure = open(Path::new("/nowhere/disk.img")).unwrap_err();
    assert!(matches!(failure, ImageError::NotFound { .. }));
    assert_eq!(failure.to_string(), "/nowhere/disk.img: no such image");
}

#[test]
fn what_is_no_image_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let cases = [
        (folder.path(), "a directory"),
        (&pipe, "a named pipe"),
        (&socket, "a socket"),
        (Path::new("/dev/null"), "a character device"),
    ];
    for (path, expected) in cases {
        let failure = open(path).unwrap_err();
        let matched =
            matches!(failure, ImageError::NotAnImage { actual, .. } if actual == expected);
        assert!(matched, "{failure}");
    }
}

#[test]
fn a_size_that_is_no_number_of_blocks_is_refused_with_the_mend() {
    for (size, enlarged) in [(0, 512), (511, 512), (513, 1024)] {
        let file = image_file(&vec![0; size]);
        let failure = open(file.path()).unwrap_err();
        assert!(matches!(failure, ImageError::BadSize { .. }));
        let mend = format!("truncate -s {enlarged} {}", file.path().display());
        assert!(failure.to_string().ends_with(&mend), "{failure}");
    }
    let file = image_file(&[0; 512]);
    assert!(matches!(
        Image::open(file.path(), false, 4096),
        Err(ImageError::BadSize { .. })
    ));
}

#[test]
fn a_writer_locks_everyone_out_and_readers_only_writers() {
    let file = image_file(&[0; 512]);
    let writer = open(file.path()).unwrap();
    assert!(matches!(open(file.path()), Err(ImageError::Locked { .. })));
    assert!(matches!(
        Image::open(file.path(), true, 512),
        Err(ImageError::Locked { .. })
    ));
    drop(writer);
    let _reader = Image::open(file.path(), true, 512).unwrap();
    let _another = Image::open(file.path(), true, 512).unwrap();
    assert!(matches!(open(file.path()), Err(ImageError::Locked { .. })));
}

/// Two that waited so would keep each other out.
#[test]
fn who_waits_for_an_image_locks_nothing_meanwhile() {
    let file = image_file(&[0; 512]);
    let holder = File::open(file.path()).unwrap();
    holder.lock().unwrap();
    // Under way from one process to another, it is in none that can be seen.
    let (sender, _receiver) = UnixDatagram::pair().unwrap();
    send_descriptor(&sender, holder);
    let waiting = thread::spawn({
        let path = file.path().to_owned();
        move || open(&path).map(drop)
    });
    // Byte 101 is locked by who writes, as QEMU does it.
    let mut changes = 0;
    let mut was_locked = false;
    while !waiting.is_finished() {
        let is_locked = is_locked(file.as_file(), 101);
        changes += u32::from(is_locked != was_locked);
        was_locked = is_locked;
    }
    assert!(matches!(
        waiting.join().unwrap(),
        Err(ImageError::Locked { holder: None, .. })
    ));
    assert!(changes > 2, "{changes}");
}

fn send_descriptor(sender: &UnixDatagram, file: File) {
    let mut byte = [0_u8];
    let mut data = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut room = [0_u64; 4];
    // SAFETY: all of its bytes may be 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast();
    // SAFETY: the room is larger than a header and a descriptor, and aligned; everything outlives the call.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header)
            .cast::<i32>()
            .write_unaligned(file.as_raw_fd());
        libc::sendmsg(sender.as_raw_fd(), &raw const message, 0)
    };
    assert_eq!(sent, 1);
    drop(file);
}

fn is_locked(file: &File, byte: libc::off_t) -> bool {
    // SAFETY: all zeroes are a valid flock.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
    lock.l_start = byte;
    lock.l_len = 1;
    // SAFETY: the command takes a flock, which outlives the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    assert_eq!(asked, 0);
    libc::c_int::from(lock.l_type) != libc::F_UNLCK
}

#[test]
fn an_image_without_permission_is_refused_unless_read_only() {
    let file = image_file(&[0; 512]);
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
    // SAFETY: geteuid takes no pointers. The superuser is refused nothing.
    let is_superuser = unsafe { libc::geteuid() } == 0;
    assert!(is_superuser || matches!(open(file.path()), Err(ImageError::Denied { .. })));
    assert!(Image::open(file.path(), true, 512).unwrap().is_read_only());
}

#[test]
fn reads_and_writes_are_at_their_offset() {
    let file = image_file(&[1; 4096]);
    let ram = guest_ram(1 << 20);
    let image = open(file.path()).unwrap();
    image
        .write(&buffers(&ram, &[2; 512]).readable(), 1024, None)
        .unwrap();
    let target = buffers(&ram, &[0; 1024]);
    image.read(&target.readable(), 512).unwrap();
    assert_eq!(target.readable().to_vec(), [[1; 512], [2; 512]].concat());
    assert_eq!(fs::metadata(file.path()).unwrap().len(), 4096);
}

#[test]
fn an_image_cut_off_is_not_grown_and_counted() {
    let file = image_file(&[1; 4096]);
    let ram = guest_ram(1 << 20);
    let image = open(file.path()).unwrap();
    file.as_file().set_len(1024).unwrap();
    assert!(
        image
            .write(&buffers(&ram, &[2; 512]).readable(), 1024, None)
            .is_err()
    );
    assert!(image.write_zeroes(1024, 512, true).is_err());
    assert!(image.discard(1024, 512).is_err());
    assert!(
        image
            .read(&buffers(&ram, &[0; 512]).readable(), 1024)
            .is_err()
    );
    assert_eq!(fs::metadata(file.path()).unwrap().len(), 1024);
    assert_eq!(image.truncated(), 4);
}

#[test]
fn discarding_and_unmapping_give_storage_back() {
    let file = image_file(&vec![1; 4 << 20]);
    file.as_file().sync_all().unwrap();
    let image = open(file.path()).unwrap();
    let full = image.allocated().unwrap();
    image.discard(0, 1 << 20).unwrap();
    let discarded = image.allocated().unwrap();
    image.write_zeroes(1 << 20, 1 << 20, true).unwrap();
    let unmapped = image.allocated().unwrap();
    image.write_zeroes(2 << 20, 1 << 20, false).unwrap();
    let kept = image.allocated().unwrap();
    assert_eq!((full - discarded, discarded - unmapped), (1 << 20, 1 << 20));
    assert!(kept >= unmapped);
    let content = fs::read(file.path()).unwrap();
    assert!(content[..3 << 20].iter().all(|&byte| byte == 0));
    assert!(content[3 << 20..].iter().all(|&byte| byte == 1));
}

#[test]
fn zeroes_are_written_by_hand_where_the_file_system_does_not_zero_ranges() {
    // tmpfs has no FALLOC_FL_ZERO_RANGE.
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::write(file.path(), vec![1; 1 << 20]).unwrap();
    let image = open(file.path()).unwrap();
    image.write_zeroes(512, 300 << 10, false).unwrap();
    let content = fs::read(file.path()).unwrap();
    let end = 512 + (300 << 10);
    assert!(content[512..end].iter().all(|&byte| byte == 0));
    assert_eq!((content[511], content[end], content.len()), (1, 1, 1 << 20));
}

#[test]
fn a_range_of_nothing_is_done_at_once() {
    let file = image_file(&[1; 512]);
    let image = open(file.path()).unwrap();
    image.discard(512, 0).unwrap();
    image.write_zeroes(0, 0, true).unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), [1; 512]);
}

#[test]
fn a_resize_changes_file_and_capacity_and_keeps_it_sparse() {
    let file = image_file(&[1; 512]);
    let image = open(file.path()).unwrap();
    image.resize(1 << 30).unwrap();
    assert_eq!(
        (image.capacity(), fs::metadata(file.path()).unwrap().len()),
        (1 << 30, 1 << 30)
    );
    assert!(fs::metadata(file.path()).unwrap().blocks() * 512 < 1 << 20);
    image.resize(1024).unwrap();
    assert_eq!(
        (image.capacity(), fs::metadata(file.path()).unwrap().len()),
        (1024, 1024)
    );
}

#[test]
fn a_resize_that_makes_no_sense_is_refused() {
    let file = image_file(&[1; 4096]);
    let image = Image::open(file.path(), false, 4096).unwrap();
    for size in [0, 512, 4097, u64::MAX] {
        assert!(
            matches!(image.resize(size), Err(ResizeError::BadSize { .. })),
            "{size}"
        );
    }
    assert!(matches!(image.resize(1 << 63), Err(ResizeError::Io(_))));
    assert_eq!(image.capacity(), 4096);
    drop(image);
    let image = Image::open(file.path(), true, 512).unwrap();
    assert!(matches!(image.resize(8192), Err(ResizeError::ReadOnly)));
}

#[test]
fn what_is_in_the_page_cache_is_read_without_waiting() {
    let file = image_file(&[7; 4096]);
    let ram = guest_ram(1 << 20);
    let image = open(file.path()).unwrap();
    let target = buffers(&ram, &[0; 4096]);
    if !reads_from_page_cache() {
        // Nothing is known to be there, so every read is one that may wait.
        assert!(!image.read_cached(&target.readable(), 0));
        return;
    }
    assert!(image.read_cached(&target.readable(), 0));
    assert_eq!(target.readable().to_vec(), [7; 4096]);
    // Never a part: the caller would have to go on from there.
    assert!(!image.read_cached(&target.readable(), 512));
}

#[test]
fn a_symbolic_link_is_followed() {
    let file = image_file(&[7; 512]);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("disk.img");
    std::os::unix::fs::symlink(file.path(), &link).unwrap();
    assert_eq!(open(&link).unwrap().capacity(), 512);
    assert!(File::open(&link).is_ok());
}
