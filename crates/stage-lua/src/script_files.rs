use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::script::{ReadError, Script};

/// The most files that the scripts of a process are made of.
const FILES: usize = 4096;

/// The files of all scripts and modules: each version is read once, for all VMs.
pub(crate) struct ScriptFiles {
    files: Mutex<HashMap<PathBuf, Followed>>,
    /// Counts the looks that found a change.
    changes: watch::Sender<u64>,
}

/// A version of a file; a later one has a higher number.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) script: Script,
    pub(crate) number: u64,
}

/// A file of which no more is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the scripts of this node are made of {FILES} files, which is the most")]
    TooMany,
}

struct Followed {
    version: Version,
    /// What the file looked like when it was read; unknown if somebody else has read it.
    read: Option<Stamp>,
    /// What it looked like last, if it has changed since.
    changing: Option<Stamp>,
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Which file has the name, since a new one may be moved there.
    inode: (u64, u64),
    bytes: u64,
    /// When it was written, moved or otherwise altered: seconds and nanoseconds.
    changed: (i64, i64),
}

impl Default for ScriptFiles {
    fn default() -> Self {
        Self { files: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl ScriptFiles {
    /// The version of a file that all VMs have; reads it if nobody has.
    ///
    /// # Errors
    /// If it cannot be read, or is one too many.
    pub(crate) fn open(&self, path: &Path) -> Result<Version, FileError> {
        let mut files = self.lock();
        if let Some(file) = files.get(path) {
            return Ok(file.version.clone());
        }
        if files.len() >= FILES {
            return Err(FileError::TooMany);
        }
        let read = stamp(path).ok();
        let version = Version { script: Script::read(path)?, number: 1 };
        let file = Followed { version: version.clone(), read, changing: None };
        files.insert(path.to_owned(), file);
        Ok(version)
    }

    /// Follows the file of a script that was read before; the number of its version.
    pub(crate) fn adopt(&self, path: &Path, script: &Script) -> u64 {
        let mut files = self.lock();
        let version = Version { script: script.clone(), number: 1 };
        let file = || Followed { version, read: None, changing: None };
        files.entry(path.to_owned()).or_insert_with(file).version.number
    }

    /// The version of a file that was opened.
    pub(crate) fn version(&self, path: &Path) -> Option<Version> {
        self.lock().get(path).map(|file| file.version.clone())
    }

    /// Tells of each look that finds a change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at all files once, and reads those that have changed and are quiet since the last look.
    ///
    /// One that is gone, or cannot be read, stays as it was.
    pub(crate) fn look(&self) {
        let paths: Vec<_> = self.lock().keys().cloned().collect();
        let mut found = false;
        for path in paths {
            let Ok(now) = stamp(&path) else { continue };
            if !self.lock().get_mut(&path).is_some_and(|file| file.is_settled(now)) {
                continue;
            }
            let read = Script::read(path.as_path());
            if let Some(file) = self.lock().get_mut(&path) {
                found |= file.take(now, read);
            }
        }
        if found {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Followed>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    /// Whether it has changed and looks as it did at the last look: who writes it has finished.
    fn is_settled(&mut self, now: Stamp) -> bool {
        if self.read == Some(now) {
            self.changing = None;
            return false;
        }
        self.changing.replace(now) == Some(now)
    }

    /// Takes what was read; whether the text is another one.
    fn take(&mut self, now: Stamp, read: Result<Script, ReadError>) -> bool {
        (self.read, self.changing) = (Some(now), None);
        match read {
            Ok(script) if script.text == self.version.script.text => false,
            Ok(script) => {
                self.version = Version { script, number: self.version.number + 1 };
                true
            }
            Err(error) => {
                tracing::error!("{error}; the version before is used on");
                false
            }
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    let changed = (found.ctime(), found.ctime_nsec());
    Ok(Stamp { inode: (found.dev(), found.ino()), bytes: found.len(), changed })
}

/// Looks at the files for ever, so often.
pub(crate) async fn follow(files: std::sync::Arc<ScriptFiles>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let files = std::sync::Arc::clone(&files);
        if tokio::task::spawn_blocking(move || files.look()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: &ScriptFiles, path: &Path) -> (u64, String) {
        let version = files.version(path).unwrap();
        (version.number, String::from_utf8(version.script.text.to_vec()).unwrap())
    }

    #[test]
    fn a_change_is_taken_when_it_is_the_same_in_two_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lua");
        fs::write(&path, "one").unwrap();
        let files = ScriptFiles::default();
        let changes = files.subscribe();
        files.open(&path).unwrap();
        files.look();
        assert_eq!(text(&files, &path), (1, "one".into()));

        fs::write(&path, "half of tw").unwrap();
        files.look();
        fs::write(&path, "two, whole").unwrap();
        files.look();
        assert!(!changes.has_changed().unwrap(), "it was still being written");
        files.look();
        assert_eq!(text(&files, &path), (2, "two, whole".into()));
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn a_file_that_is_gone_or_unreadable_or_written_anew_with_the_same_text_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lua");
        fs::write(&path, "one").unwrap();
        let files = ScriptFiles::default();
        files.open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            files.look();
        }
        assert_eq!(text(&files, &path).0, 1);
        fs::write(&path, "one").unwrap();
        for _ in 0..3 {
            files.look();
        }
        assert_eq!(text(&files, &path).0, 1);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        for _ in 0..3 {
            files.look();
        }
        assert_eq!(text(&files, &path), (1, "one".into()));
    }

    #[test]
    fn a_script_that_changed_after_it_was_read_elsewhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lua");
        fs::write(&path, "one").unwrap();
        let script = Script::read(path.as_path()).unwrap();
        fs::write(&path, "two").unwrap();
        let files = ScriptFiles::default();
        assert_eq!(files.adopt(&path, &script), 1);
        files.look();
        files.look();
        assert_eq!(text(&files, &path), (2, "two".into()));
    }

    #[test]
    fn files_are_bounded_in_number() {
        let files = ScriptFiles::default();
        for number in 0..FILES {
            files.adopt(Path::new(&number.to_string()), &Script::of_text("a", "b"));
        }
        assert!(matches!(files.open(Path::new("/dev/null")), Err(FileError::TooMany)));
    }
}
