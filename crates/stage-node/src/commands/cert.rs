use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use stage_signal::{Tls, TlsFiles};
use time::OffsetDateTime;

use super::Failure;
use crate::cli::{CertCommand, CertInitArgs, CertNodeArgs};

/// How far clocks may be behind the one of the authority.
const SKEW: Duration = Duration::from_secs(300);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where a node of this machine is reached.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes certificates.
///
/// # Errors
/// [`Failure::Failed`] if files cannot be written, an authority is there already or is not there.
pub fn cert(command: &CertCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        CertCommand::Init(args) => init(args, out),
        CertCommand::Node(args) => node(args, out),
    }
}

fn init(args: &CertInitArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (cert, secret) = (args.dir.join("ca.pem"), args.dir.join("ca.key"));
    if let Some(there) = [&cert, &secret].into_iter().find(|path| path.exists()) {
        return Err(Failure::Failed(format!(
            "{} is there already: its certificates would no longer count; move it away first",
            there.display()
        )));
    }
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    let key = KeyPair::generate().map_err(|error| unmade(&error))?;
    let mut params = authority(&key);
    (params.not_before, params.not_after) = validity(args.days);
    let authority = params.self_signed(&key).map_err(|error| unmade(&error))?;
    write(&secret, &key.serialize_pem(), Secret::Yes)?;
    write(&cert, &authority.pem(), Secret::No)?;
    writeln!(out, "{}: give it to every node and client", cert.display())?;
    writeln!(out, "{}: keep it secret; it makes certificates", secret.display())?;
    Ok(())
}

fn node(args: &CertNodeArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let path = |end: &str| args.dir.join(format!("{}.{end}", args.name));
    let files = TlsFiles { cert: path("pem"), key: path("key"), ca: args.dir.join("ca.pem") };
    let secret = args.dir.join("ca.key");
    let pem = fs::read_to_string(&secret).map_err(|error| {
        let hint = "`stage-node cert init` makes an authority";
        Failure::Failed(format!("cannot read {}: {error}; {hint}", secret.display()))
    })?;
    let authority_key = KeyPair::from_pem(&pem).map_err(|error| failed(&secret, &error))?;
    let issuer = Issuer::new(authority(&authority_key), authority_key);
    let key = KeyPair::generate().map_err(|error| unmade(&error))?;
    let certificate = params(args).and_then(|params| params.signed_by(&key, &issuer));
    let certificate = certificate.map_err(|error| unmade(&error))?;
    write(&files.key, &key.serialize_pem(), Secret::Yes)?;
    write(&files.cert, &certificate.pem(), Secret::No)?;
    let (cert, key) = (files.cert.clone(), files.key.clone());
    Tls::load(files).map_err(|error| Failure::Failed(error.to_string()))?;
    writeln!(out, "{}: valid for {} days", cert.display(), args.days)?;
    writeln!(out, "{}: keep it secret", key.display())?;
    Ok(())
}

/// What an authority is made of. All of it follows from the key, so that the key alone can sign;
/// two authorities never have the same name.
fn authority(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let start: String =
        key.der_bytes().iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("STAGE authority {start}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The name comes first: it says who the holder is.
fn params(args: &CertNodeArgs) -> Result<CertificateParams, rcgen::Error> {
    let hosts = args.host.iter().cloned();
    let here = HERE.iter().filter(|_| args.host.is_empty()).map(ToString::to_string);
    let mut names = vec![args.name.clone()];
    names.extend(hosts.chain(here).filter(|host| *host != args.name));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, args.name.as_str());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = validity(args.days);
    Ok(params)
}

fn validity(days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = SystemTime::now();
    (OffsetDateTime::from(now - SKEW), OffsetDateTime::from(now + DAY * days))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    Yes,
    No,
}

/// Writes a file beside its place and moves it there, so that nobody reads half of it.
fn write(path: &Path, text: &str, secret: Secret) -> Result<(), Failure> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = || -> io::Result<()> {
        let mode = if secret == Secret::Yes { 0o600 } else { 0o644 };
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

fn unmade(error: &rcgen::Error) -> Failure {
    Failure::Failed(format!("the certificate cannot be made: {error}"))
}
