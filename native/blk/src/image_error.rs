//! Errors of opening and resizing an image. Each message says what to do.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// An image was not opened. The path is in every message.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image does not exist.
    #[error("{}: no such image", .path.display())]
    NotFound {
        /// Path of the image.
        path: PathBuf,
    },
    /// Another process uses the image.
    #[error("{}: {}: stop it, or use a copy of the image", .path.display(), hint_holder(.holder.as_deref()))]
    Locked {
        /// Path of the image.
        path: PathBuf,
        /// Name and pid of the process, if they can be known.
        holder: Option<String>,
    },
    /// The image can't be locked.
    #[error(
        "{}: the file system can't lock it ({cause}), so nothing would keep other programs out: put the image on one that can",
        .path.display()
    )]
    NotLockable {
        /// Path of the image.
        path: PathBuf,
        /// The error of the system call.
        cause: io::Error,
    },
    /// The permissions do not allow it.
    #[error("{}: {cause}: {}", .path.display(), hint_denied(*read_only))]
    Denied {
        /// Path of the image.
        path: PathBuf,
        /// True when it was to be opened read-only.
        read_only: bool,
        /// The error of the system call.
        cause: io::Error,
    },
    /// It is neither a regular file nor a block device.
    #[error("{} is {actual}: give a raw image file or a block device", .path.display())]
    NotAnImage {
        /// Path of the image.
        path: PathBuf,
        /// What it is.
        actual: &'static str,
    },
    /// Its size is 0 or not a multiple of the block size.
    #[error("{}: {size} bytes {}", .path.display(), hint_size(*size, *block_size, .path))]
    BadSize {
        /// Path of the image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Block size in bytes.
        block_size: u64,
    },
    /// The file system has no direct I/O.
    #[error(
        "{}: it can't be read past the page cache ({cause}): put the image on a file system that can, or leave --cache out",
        .path.display()
    )]
    NoDirectIo {
        /// Path of the image.
        path: PathBuf,
        /// The error of the system call.
        cause: io::Error,
    },
    /// A system call failed.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// Path of the image.
        path: PathBuf,
        /// The error of the system call.
        cause: io::Error,
    },
}

/// A disk was not resized.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// The size of a block device node can't be changed.
    #[error("the image is a block device, which cannot be resized here: resize the device itself")]
    NotResizable,
    /// The image was opened read-only.
    #[error("the image was opened read-only: open it writable to resize it")]
    ReadOnly,
    /// The size is 0 or not a multiple of the block size.
    #[error(
        "{size} bytes is 0 or not a multiple of the block size: give a multiple of {block_size}"
    )]
    BadSize {
        /// The size in bytes.
        size: u64,
        /// Block size in bytes.
        block_size: u64,
    },
    /// A system call failed.
    #[error("the image cannot be resized")]
    Io(#[from] io::Error),
}

/// True for a block device node, false for a regular file. Anything else is refused.
pub(crate) fn check_type(path: &Path, metadata: &fs::Metadata) -> Result<bool, ImageError> {
    let kind = metadata.file_type();
    let actual = if kind.is_file() || kind.is_block_device() {
        return Ok(kind.is_block_device());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a character device"
    };
    Err(ImageError::NotAnImage {
        path: path.into(),
        actual,
    })
}

fn hint_holder(holder: Option<&str>) -> String {
    holder.map_or_else(
        || "in use by another process (lslocks, run as root, names it)".to_owned(),
        |holder| format!("in use by {holder}"),
    )
}

fn hint_denied(read_only: bool) -> &'static str {
    if read_only {
        "let the service read it"
    } else {
        "let the service write it, or use it read-only"
    }
}

fn hint_size(size: u64, block_size: u64, path: &Path) -> String {
    let enlarged = size.max(1).div_ceil(block_size).saturating_mul(block_size);
    let path = path.display();
    format!("is 0 or not a multiple of {block_size}: enlarge it with truncate -s {enlarged} {path}")
}

/// Convert an error of opening or examining an image.
pub(crate) fn explain_open(path: &Path, read_only: bool, cause: io::Error) -> ImageError {
    let path = path.to_owned();
    match cause.kind() {
        io::ErrorKind::NotFound => ImageError::NotFound { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ImageError::Denied {
            path,
            read_only,
            cause,
        },
        // A block device that is mounted, opened with O_EXCL.
        io::ErrorKind::ResourceBusy => ImageError::Locked {
            path,
            holder: Some("the system (it is mounted, or part of another device)".to_owned()),
        },
        _ => ImageError::Io { path, cause },
    }
}
