use std::path::PathBuf;

use schemars::JsonSchema;
use stage_signal::TlsFiles;

use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["cert", "key", "ca"];

/// The node's certificate: PEM files, from the folder of this file. They are read again when they
/// change.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, then those between it and the authority. Its first DNS name is the node's
    /// name.
    #[schemars(with = "String")]
    pub cert: PathBuf,
    /// Its private key.
    #[schemars(with = "String")]
    pub key: PathBuf,
    /// The authorities whose certificates are let in.
    #[schemars(with = "String")]
    pub ca: PathBuf,
}

impl Tls {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let section = Section::open(field, KEYS, reader)?;
        let mut file =
            |key| section.required(key, reader).and_then(|field| read_file(&field, reader));
        let (cert, key, ca) = (file("cert"), file("key"), file("ca"));
        Some(Self { cert: cert?, key: key?, ca: ca? })
    }

    /// The files as the links take them.
    #[must_use]
    pub fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.cert.clone(), key: self.key.clone(), ca: self.ca.clone() }
    }
}

/// A file that is there now. The node reads it later and may still find it gone.
fn read_file(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path = reader.folder.join(field.text(reader)?);
    if path.is_file() {
        return Some(path);
    }
    let kind = ProblemKind::FileMissing { key: field.path.clone(), path };
    let help = "`stage-node cert init` and `stage-node cert node NAME` make such files";
    reader.record(Problem::at(field.span(), kind).help(help));
    None
}
