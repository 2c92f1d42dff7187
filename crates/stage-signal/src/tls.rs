//! Mutual TLS between nodes: who a peer is, read from its certificate, and certificates that
//! change under a running node.
//!
//! TLS 1.3 only, with ring; both sides show a certificate of the same authorities. The identity
//! of a certificate is the first DNS name among its subject alternative names. Sessions are not
//! resumed: a resumed one would not look at the certificate again.

mod certificate;
mod channel;
mod files;
mod watch;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::dial::chain;
use certificate::identity_of;
pub(crate) use certificate::{Certified, Role};
use files::{Material, read};
pub(crate) use watch::watch;

/// What gRPC is called in the handshake.
const PROTOCOL: &[u8] = b"h2";

/// The PEM files of a node or of an outside client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, followed by those between it and the authority.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities whose certificates are believed.
    pub ca: PathBuf,
}

/// A certificate that a node or client shows, and the authorities that it believes.
pub struct Tls {
    files: TlsFiles,
    state: ArcSwap<State>,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A reloaded certificate is for somebody else.
    #[error("the new certificate is for '{new}', this node is '{present}'")]
    Renamed {
        /// The identity at the start.
        present: Arc<str>,
        /// The identity now.
        new: Arc<str>,
    },
}

/// All that is made of one reading of the files.
struct State {
    material: Material,
    identity: Arc<str>,
    own: Vec<CertificateDer<'static>>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    callers: Arc<dyn ClientCertVerifier>,
    answerers: Arc<WebPkiServerVerifier>,
}

impl Tls {
    /// Reads the files and checks that they belong together and are valid now.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let state = State::build(read(&files)?, &files)?;
        Ok(Self { files, state: ArcSwap::from_pointee(state) })
    }

    /// Who this certificate says that its holder is.
    #[must_use]
    pub fn identity(&self) -> Arc<str> {
        Arc::clone(&self.state.load().identity)
    }

    /// Reads the files again. True if they have changed; connections made from now on use them.
    /// Blocks on the file system.
    ///
    /// # Errors
    /// [`TlsError`] if the new files cannot be used; the former ones stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let material = read(&self.files)?;
        let present = self.state.load();
        if material == present.material {
            return Ok(false);
        }
        let state = State::build(material, &self.files)?;
        if state.identity != present.identity {
            let (present, new) = (Arc::clone(&present.identity), state.identity);
            return Err(TlsError::Renamed { present, new });
        }
        self.state.store(Arc::new(state));
        Ok(true)
    }

    /// Whether the own certificate is still valid after this time.
    pub(crate) fn is_valid_in(&self, time: Duration) -> bool {
        let state = self.state.load();
        let then =
            UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + time);
        state.verify(&state.own, Role::Dialler, then).is_ok()
    }

    /// Whether a peer's certificate is one that would be accepted now.
    pub(crate) fn check(&self, peer: &Certified) -> Result<(), String> {
        let verified = self.state.load().verify(&peer.chain, peer.role, UnixTime::now());
        verified.map_err(|error| chain(&error))
    }

    /// The handshake with whoever connected, who must show a certificate.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(server::TlsStream<TcpStream>, Certified), String> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.state.load().server));
        let stream = acceptor.accept(stream).await.map_err(|error| chain(&error))?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(PROTOCOL) {
            return Err("it does not ask for HTTP/2 (ALPN h2)".into());
        }
        let peer = Certified::new(session.peer_certificates(), Role::Dialler)?;
        Ok((stream, peer))
    }

    /// The handshake with whoever listens at a host, which its certificate must name.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<(client::TlsStream<TcpStream>, Certified), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| chain(&error))?;
        let connector = TlsConnector::from(Arc::clone(&self.state.load().client));
        let stream = connector.connect(name, stream).await.map_err(|error| chain(&error))?;
        let peer = Certified::new(stream.get_ref().1.peer_certificates(), Role::Listener)?;
        Ok((stream, peer))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl State {
    fn build(material: Material, files: &TlsFiles) -> Result<Self, TlsError> {
        let wrong =
            |path: &PathBuf, problem: String| TlsError::Content { path: path.clone(), problem };
        let (own, key) = (material.chain(&files.cert)?, material.key(&files.key)?);
        let first = own.first().ok_or_else(|| wrong(&files.cert, "holds no certificate".into()))?;
        let identity = identity_of(first).map_err(|problem| wrong(&files.cert, problem))?;
        let roots = Arc::new(roots(&material, files)?);
        let no_ca = |error| wrong(&files.ca, format!("holds no usable authority: {error}"));
        let provider = Arc::new(ring::default_provider());
        let callers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(no_ca)?;
        let answerers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(no_ca)?;
        let unusable =
            |error: rustls::Error| wrong(&files.cert, format!("cannot be used: {error}"));
        let mut server = versions(ServerConfig::builder_with_provider(provider.clone()))
            .map_err(unusable)?
            .with_client_cert_verifier(callers.clone())
            .with_single_cert(own.clone(), key.clone_key())
            .map_err(unusable)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = versions(ClientConfig::builder_with_provider(provider))
            .map_err(unusable)?
            .with_webpki_verifier(answerers.clone())
            .with_client_auth_cert(own.clone(), key)
            .map_err(unusable)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        let (server, client) = (Arc::new(server), Arc::new(client));
        let state = Self { material, identity, own, server, client, callers, answerers };
        state.verify(&state.own, Role::Dialler, UnixTime::now()).map_err(unusable)?;
        Ok(state)
    }

    /// Checks a chain as the handshake does.
    fn verify(
        &self,
        certificates: &[CertificateDer<'static>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        use rustls::client::danger::ServerCertVerifier as _;
        let Some((first, between)) = certificates.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        match role {
            Role::Dialler => self.callers.verify_client_cert(first, between, now).map(drop),
            Role::Listener => {
                // The host was checked when it was dialled; what may change is the rest.
                let name = identity_of(first).map_err(rustls::Error::General)?;
                let name = ServerName::try_from(&*name)
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
                self.answerers.verify_server_cert(first, between, &name, &[], now).map(drop)
            }
        }
    }
}

fn roots(material: &Material, files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in material.authorities(&files.ca)? {
        roots.add(authority).map_err(|error| TlsError::Content {
            path: files.ca.clone(),
            problem: format!("holds a certificate that is no authority: {error}"),
        })?;
    }
    Ok(roots)
}

fn versions<Side: rustls::ConfigSide>(
    builder: rustls::ConfigBuilder<Side, rustls::WantsVersions>,
) -> Result<rustls::ConfigBuilder<Side, rustls::WantsVerifier>, rustls::Error> {
    builder.with_protocol_versions(&[&rustls::version::TLS13])
}
