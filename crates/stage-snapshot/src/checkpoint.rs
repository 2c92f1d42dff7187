use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::Snapshot;

/// The first bytes of a checkpoint: what it is, and of which format.
const MAGIC: &[u8; 8] = b"STGSNAP1";
const CHECKSUM: usize = blake3::OUT_LEN;

/// Larger files are refused before memory is asked for.
const MAX_BYTES: u64 = 1 << 30;

/// A file that holds one version of chosen names, and beside it the one before.
///
/// A save writes a new file, `FILE.new`, and syncs it; then it names the old one `FILE.last` as well, and renames the new one
/// to `FILE`. So at every moment there is a complete `FILE`, except on a file system without hard links: there the old one
/// is renamed, and between the two only `FILE.last` is there. While it saves it holds a lock on `FILE.lock`, which stays there:
/// who saves to the same file meanwhile is refused. On a file system without locks nobody is.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
}

/// What a checkpoint gave back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The number that the version had in the store that was saved.
    pub version: u64,
    /// The encoded value of each name.
    pub entries: BTreeMap<String, Vec<u8>>,
    /// Why the newest file was not used, if this is the one before.
    pub refused: Option<LoadError>,
}

/// A checkpoint could not be saved; the ones before are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The file system refused.
    #[error("cannot write the checkpoint {path}: {source}; check the folder's space and rights")]
    Io {
        /// The checkpoint's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another save of the same file is going on, in this process or another one.
    #[error(
        "the checkpoint {path} is being saved by somebody else; let each process save to a file of its own"
    )]
    Busy {
        /// The checkpoint's file.
        path: PathBuf,
    },
    /// The values are too large together.
    #[error("the checkpoint {path} would exceed {MAX_BYTES} bytes; choose fewer names")]
    TooLarge {
        /// The checkpoint's file.
        path: PathBuf,
    },
    /// The choice of names or the encoding of a value panicked.
    #[error("the values for the checkpoint {path} could not be encoded: that panicked")]
    Panicked {
        /// The checkpoint's file.
        path: PathBuf,
    },
}

/// A file that is no complete checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file system refused.
    #[error("cannot read the checkpoint {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not there, and the one before is.
    #[error(
        "the checkpoint {path} is missing, but not the one before it; restore a copy, or remove both"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is torn, changed, too large, or no checkpoint at all.
    #[error("the checkpoint {path} is torn or corrupt: {reason}; remove it or restore a copy")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Checkpoint {
    /// A checkpoint at a path. Touches no file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the values of the names that are `chosen` in a snapshot, and returns when they are on the
    /// disk.
    ///
    /// A newest file that is corrupt is kept as `FILE.corrupt` and never displaces a good one.
    /// Only one save of a file runs at a time, and another one meanwhile is [refused](SaveError::Busy). O(names + bytes).
    ///
    /// # Errors
    /// [`SaveError`]; what was saved before is still there.
    pub fn save<V>(
        &self,
        snapshot: &Snapshot<V>,
        chosen: impl Fn(&str) -> bool,
        encode: impl Fn(&V) -> Vec<u8>,
    ) -> Result<(), SaveError> {
        let failed = |source| SaveError::Io { path: self.path.clone(), source };
        // Before the rest, so that who began later never loses to who began earlier.
        let lock = match self.lock() {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                return Err(SaveError::Busy { path: self.path.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        };
        let chosen: BTreeMap<&str, Vec<u8>> = snapshot
            .iter()
            .filter(|(name, _)| chosen(name))
            .map(|(name, value)| (name, encode(value)))
            .collect();
        let bytes = encoded(snapshot.number(), &chosen);
        if bytes.len() as u64 > MAX_BYTES {
            return Err(SaveError::TooLarge { path: self.path.clone() });
        }
        self.replace(&bytes).map_err(failed)?;
        drop(lock);
        Ok(())
    }

    /// Reads the newest complete file; `None` if nothing was ever saved. O(bytes).
    ///
    /// # Errors
    /// [`LoadError`] of the newest file if neither it nor the one before is complete.
    pub fn load(&self) -> Result<Option<Restored>, LoadError> {
        let refused = match read(&self.path) {
            Ok(Some(restored)) => return Ok(Some(restored)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match (read(&self.beside("last")), refused) {
            (Ok(Some(restored)), refused) => {
                let missing = || LoadError::Missing { path: self.path.clone() };
                Ok(Some(Restored { refused: Some(refused.unwrap_or_else(missing)), ..restored }))
            }
            (_, Some(error)) | (Err(error), None) => Err(error),
            (Ok(None), None) => Ok(None),
        }
    }

    /// Held until the file that comes back is closed, also by a kill.
    fn lock(&self) -> Result<File, TryLockError> {
        // A file of its own, since the others change their names; never removed, or two could hold one each.
        let path = self.beside("lock");
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = open.map_err(TryLockError::Error)?;
        match file.try_lock() {
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            locked => locked?,
        }
        Ok(file)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.beside("new");
        let mut file = File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match read(&self.path) {
            Ok(None) => {}
            Ok(Some(_)) => self.keep_as("last")?,
            Err(LoadError::Io { source, .. }) => return Err(source),
            Err(_) => self.keep_as("corrupt")?,
        }
        fs::rename(&fresh, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // The renames themselves last only once their folder is synced.
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Gives the file a second name, or another one where it cannot have two.
    fn keep_as(&self, suffix: &str) -> io::Result<()> {
        let (link, kept) = (self.beside("link"), self.beside(suffix));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::hard_link(&self.path, &link) {
            Ok(()) => fs::rename(link, kept),
            Err(_) => fs::rename(&self.path, kept),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }
}

/// Magic, version, count, then name and value each with its length, all little-endian; a
/// BLAKE3 hash of all that at the end.
fn encoded(version: u64, entries: &BTreeMap<&str, Vec<u8>>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (name, value) in entries {
        for part in [name.as_bytes(), value] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
    }
    let checksum = blake3::hash(&bytes);
    bytes.extend(checksum.as_bytes());
    bytes
}

/// A file that does not exist is no error.
fn read(path: &Path) -> Result<Option<Restored>, LoadError> {
    let failed = |source| LoadError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    decoded(&bytes).map(Some).map_err(|reason| LoadError::Corrupt { path: path.to_owned(), reason })
}

fn decoded(bytes: &[u8]) -> Result<Restored, &'static str> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("larger than any checkpoint");
    }
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or("too short")?;
    let mut rest = body.strip_prefix(MAGIC).ok_or("no checkpoint of this format")?;
    if blake3::hash(body) != *checksum {
        return Err("its checksum does not match");
    }
    let version = number(&mut rest)?;
    let count = number(&mut rest)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let name = str::from_utf8(part(&mut rest)?).map_err(|_| "a name is not UTF-8")?;
        let value = part(&mut rest)?;
        entries.insert(name.to_owned(), value.to_vec());
    }
    Ok(Restored { version, entries, refused: None })
}

fn number(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let (number, after) = rest.split_first_chunk().ok_or("an entry is cut off")?;
    *rest = after;
    Ok(u64::from_le_bytes(*number))
}

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(number(rest)?).map_err(|_| "a length is absurd")?;
    let (part, after) = rest.split_at_checked(length).ok_or("an entry is cut off")?;
    *rest = after;
    Ok(part)
}
