use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, TlsFiles};

/// The most bytes of one file.
const BYTES: u64 = 1 << 20;

/// What the three files held when they were read.
#[derive(PartialEq, Eq)]
pub(super) struct Material {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

/// Reads the three files, at most 1 MiB of each.
pub(super) fn read(files: &TlsFiles) -> Result<Material, TlsError> {
    Ok(Material { cert: bytes(&files.cert)?, key: bytes(&files.key)?, ca: bytes(&files.ca)? })
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refuse = |source| TlsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(refuse)?.take(BYTES + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > BYTES {
        return Err(content(path, format!("has more than {BYTES} bytes")));
    }
    Ok(bytes)
}

impl Material {
    pub(super) fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.cert, path)
    }

    pub(super) fn authorities(
        &self,
        path: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.ca, path)
    }

    pub(super) fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(path, format!("holds no private key in PEM: {error}")))
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(path, format!("holds no certificates in PEM: {error}")))
}

fn content(path: &Path, problem: String) -> TlsError {
    TlsError::Content { path: path.to_owned(), problem }
}
