//! Why an image can't be used, or not resized; each message says what to do.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Why an image can't be used. The path is in every message.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is none.
    #[error("{}: no such image", .path.display())]
    NotFound {
        /// Path of the image.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("{}: locked by another process: stop the one that uses it", .path.display())]
    Locked {
        /// Path of the image.
        path: PathBuf,
    },
    /// Its permissions refuse.
    #[error("{}: {cause}: {}", .path.display(), hint_denied(*read_only))]
    Denied {
        /// Path of the image.
        path: PathBuf,
        /// True when it was to be opened read-only.
        read_only: bool,
        /// The refusal.
        cause: io::Error,
    },
    /// It is something else.
    #[error("{} is {actual}: give a raw image file or a block device", .path.display())]
    NotAnImage {
        /// Path of the image.
        path: PathBuf,
        /// What it is.
        actual: &'static str,
    },
    /// It has no bytes, or not a whole number of blocks.
    #[error("{}: {size} bytes {}", .path.display(), hint_size(*size, *block_size, .path))]
    BadSize {
        /// Path of the image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Block size in bytes.
        block_size: u64,
    },
    /// The system refused.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// Path of the image.
        path: PathBuf,
        /// The refusal.
        cause: io::Error,
    },
}

/// Why a disk did not change its size.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// A block device node has the size it has.
    #[error("a block device cannot be resized from here")]
    NotResizable,
    /// The image was opened read-only.
    #[error("the image was opened read-only")]
    ReadOnly,
    /// No bytes, or not a whole number of blocks.
    #[error("{size} bytes is not a multiple of {block_size} bytes, or 0")]
    BadSize {
        /// The size in bytes.
        size: u64,
        /// Block size in bytes.
        block_size: u64,
    },
    /// The system refused.
    #[error("the image cannot be resized: {0}")]
    Io(#[from] io::Error),
}

/// Say whether it is a block device node; refuse what is neither that nor a regular file.
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
    format!(
        "is not a multiple of {block_size}, or 0: enlarge it with truncate -s {enlarged} {path}"
    )
}

/// Explain why an image could not be opened or examined.
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
        io::ErrorKind::ResourceBusy => ImageError::Locked { path },
        _ => ImageError::Io { path, cause },
    }
}
