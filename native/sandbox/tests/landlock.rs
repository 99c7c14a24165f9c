//! Landlock holds for the thread that asks: each test confines one of its own.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use tempfile::TempDir;
use virtmesh_sandbox::{Access, Rules, confine, threads};

/// A folder with a file in it.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "text").unwrap();
    folder
}

/// Run a check on a thread that has rules of paths; false where the kernel has no Landlock.
fn confined(paths: &[(&Path, Access)], check: impl FnOnce() + Send) -> bool {
    let rules = Rules {
        paths: paths
            .iter()
            .map(|(path, access)| ((*path).to_owned(), *access))
            .collect(),
        ..Rules::default()
    };
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let is_there = confine(&rules).unwrap().abi > 0;
            if is_there {
                check();
            }
            is_there
        });
        confined.join().unwrap()
    })
}

fn is_denied<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn what_is_not_listed_is_refused() {
    let (ours, others) = (folder(), folder());
    confined(&[(ours.path(), Access::Read)], || {
        assert_eq!(
            fs::read_to_string(ours.path().join("file")).unwrap(),
            "text"
        );
        assert!(is_denied(fs::read(others.path().join("file"))));
        assert!(is_denied(fs::write(ours.path().join("file"), "other")));
        assert!(is_denied(fs::write(ours.path().join("new"), "other")));
        assert!(is_denied(std::process::Command::new("/bin/true").status()));
    });
}

#[test]
fn a_file_may_be_written_without_its_neighbours() {
    let ours = folder();
    let image = ours.path().join("image");
    fs::write(&image, "old").unwrap();
    confined(&[(&image, Access::Write)], || {
        fs::write(&image, "new").unwrap();
        File::options()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(1)
            .unwrap();
        assert!(is_denied(fs::read(ours.path().join("file"))));
        assert!(is_denied(fs::remove_file(&image)));
    });
}

#[test]
fn a_folder_of_sockets_takes_no_files() {
    let ours = folder();
    let path = ours.path().join("socket");
    confined(&[(ours.path(), Access::Sockets)], || {
        drop(UnixListener::bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(is_denied(fs::read(ours.path().join("file"))));
        assert!(is_denied(fs::write(&path, "text")));
        assert!(is_denied(std::os::unix::fs::symlink("/", &path)));
        assert!(is_denied(fs::create_dir(&path)));
    });
}

#[test]
fn files_are_made_in_a_folder_for_that() {
    let ours = folder();
    let path = ours.path().join("log");
    confined(&[(ours.path(), Access::Create)], || {
        fs::write(&path, "text").unwrap();
        assert!(is_denied(fs::read(&path)));
        assert!(is_denied(fs::remove_file(&path)));
    });
}

#[test]
fn paths_that_are_missing_are_left_out() {
    confined(&[(Path::new("/no/such/path"), Access::Read)], || ());
}

#[test]
fn ports_are_those_that_are_listed() {
    let rules = Rules::default();
    thread::spawn(move || {
        // TCP came with the fourth version.
        if confine(&rules).unwrap().abi >= 4 {
            assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
        }
    })
    .join()
    .unwrap();
}

#[test]
fn threads_are_counted() {
    let before = threads().unwrap();
    assert!(before >= 1);
}
