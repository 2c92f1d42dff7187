use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// A peer's certificate, as the handshake left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certified {
    /// Who it says the peer is.
    pub(crate) identity: Arc<str>,
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
    pub(crate) role: Role,
}

/// On which side of a connection a certificate was shown: it may be good for one of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// By the side that dialled.
    Dialler,
    /// By the side that listened.
    Listener,
}

impl Certified {
    pub(crate) fn new(
        chain: Option<&[CertificateDer<'static>]>,
        role: Role,
    ) -> Result<Self, String> {
        let first = chain.and_then(<[_]>::first).ok_or("it showed no certificate")?;
        let identity =
            identity_of(first).map_err(|problem| format!("its certificate {problem}"))?;
        Ok(Self { identity, chain: chain.unwrap_or_default().into(), role })
    }
}

/// The first DNS name among a certificate's subject alternative names, wildcards left out.
pub(crate) fn identity_of(certificate: &CertificateDer<'_>) -> Result<Arc<str>, String> {
    let parsed = EndEntityCert::try_from(certificate)
        .map_err(|error| format!("is no certificate that can be read: {error}"))?;
    let mut names = parsed.valid_dns_names().filter(|name| !name.starts_with("*."));
    let name = names.next().ok_or("names nobody: it has no DNS name (subject alternative name)")?;
    Ok(Arc::from(name))
}
