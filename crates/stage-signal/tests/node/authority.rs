//! A certificate authority of a test, and the files of those whom it knows.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use stage_signal::{Tls, TlsFiles};
use tempfile::TempDir;

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {count}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes the files of somebody, valid for the next centuries.
    pub(crate) fn files(&self, name: &str) -> TlsFiles {
        self.write(name, &self.params(name))
    }

    pub(crate) fn expired(&self, name: &str) -> TlsFiles {
        let mut params = self.params(name);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.write(name, &params)
    }

    /// Writes the files of somebody who is reached at these hosts.
    pub(crate) fn files_for(&self, name: &str, hosts: &[&str]) -> TlsFiles {
        let names: Vec<String> = [&[name], hosts].concat().into_iter().map(String::from).collect();
        self.write(name, &CertificateParams::new(names).unwrap())
    }

    pub(crate) fn tls(&self, name: &str) -> Arc<Tls> {
        Arc::new(Tls::load(self.files(name)).unwrap())
    }

    fn params(&self, name: &str) -> CertificateParams {
        CertificateParams::new([name.to_owned(), "localhost".into(), "127.0.0.1".into()]).unwrap()
    }

    fn write(&self, name: &str, params: &CertificateParams) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let path = |what: &str| self.folder.path().join(format!("{name}.{what}"));
        let files = TlsFiles { cert: path("pem"), key: path("key"), ca: path("ca") };
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::write(&files.ca, self.issuer.pem()).unwrap();
        files
    }
}
