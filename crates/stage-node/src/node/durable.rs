//! Shared variables that outlive the process: read back before the scripts start, saved while they run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stage_snapshot::{Checkpoint, Periodic, Store};
use stage_value::{Limits, Value, wire};

use super::start::StartError;
use crate::config::Snapshot;

/// How large a saved variable may be.
///
/// A node must start with whatever it has saved, and `#limits` hold for what is sent at once: entry by entry a variable
/// grows past them, and they may have been lowered since. The file's size bounds it; the depth, twice the most that
/// `#limits` takes, only keeps the stack of whoever walks it from running out.
const SAVED: Limits = Limits { depth: 1024, nodes: usize::MAX, bytes: usize::MAX };

/// Puts what was saved into the store. A torn newest file is told of, and the one before used.
pub(super) fn restore(snapshot: &Snapshot, store: &Store<Value>) -> Result<(), StartError> {
    let Some(restored) = Checkpoint::new(&snapshot.file).load()? else {
        tracing::info!(file = %snapshot.file.display(), "no saved variables yet");
        return Ok(());
    };
    if let Some(refused) = &restored.refused {
        tracing::error!(%refused, "the saved variables are those of the save before");
    }
    let mut values = Vec::new();
    for (name, bytes) in restored.entries {
        let value = decoded(&snapshot.file, &name, bytes)?;
        values.push((name, value));
    }
    let names = values.len();
    let put = store.transaction(|tx| {
        values.iter().for_each(|(name, value)| tx.set(name, value.clone()));
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(_) = put;
    tracing::info!(names, version = restored.version, "saved variables are back");
    Ok(())
}

fn decoded(file: &Path, name: &str, bytes: Vec<u8>) -> Result<Value, StartError> {
    let refuse = |reason: String| StartError::Variable {
        name: name.to_owned(),
        file: PathBuf::from(file),
        reason,
    };
    let mut values =
        wire::decode(&bytes.into(), &SAVED).map_err(|error| refuse(error.to_string()))?;
    match (values.pop(), values.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(refuse("it is not one value".to_owned())),
    }
}

/// Saves now and then, and when the result is dropped.
pub(super) fn keep(snapshot: &Snapshot, store: Arc<Store<Value>>) -> std::io::Result<Periodic> {
    let names = snapshot.names.clone();
    let chosen =
        move |name: &str| names.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
    let encode = |value: &Value| wire::encode(std::slice::from_ref(value)).to_vec();
    let checkpoint = Checkpoint::new(&snapshot.file);
    Periodic::start(store, checkpoint, chosen, snapshot.every, encode, |saved| match saved {
        Ok(version) => tracing::debug!(version, "the shared variables are saved"),
        Err(error) => tracing::error!(%error, "the shared variables are not saved"),
    })
}
