use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stage_value::Limits;

use crate::{Etcd, Policy, RetryBudget, Tls};

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Unique among the live nodes of the mesh.
    pub name: Arc<str>,
    /// Nodes with equal groups share a host (`=` addresses reach them).
    pub group: Arc<str>,
    /// Where other nodes reach it, `HOST:PORT`; `None` if it does not listen.
    pub address: Option<String>,
    /// Chosen anew at every start, so that a restart under the same name is seen as one.
    pub incarnation: u64,
}

/// How a node takes part in the mesh.
#[derive(Clone, Debug)]
pub struct Config {
    /// Nodes to dial, `HOST:PORT`. The node's own address may be among them.
    pub peers: Vec<String>,
    /// Names to dial, `HOST:PORT`, each of which stands for all addresses that it resolves to.
    pub names: Vec<String>,
    /// How often they are resolved again, give or take a quarter.
    pub resolve: Duration,
    /// Where nodes are listed and looked for; it needs the feature `etcd`.
    pub etcd: Option<Etcd>,
    /// How large the arguments and results of one message may be.
    pub limits: Limits,
    /// The most bytes of one frame that this node reads.
    pub frame_bytes: usize,
    /// How many messages may wait for one peer before sending fails at once.
    pub outgoing_queue: usize,
    /// How many bytes of messages may wait for one peer; a single message may exceed it.
    pub outgoing_bytes: usize,
    /// How many messages of one peer may be unfinished here.
    pub max_in_flight: u32,
    /// How many signals may be sent a second time.
    pub retries: RetryBudget,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How long a connection may take to say who it is.
    pub hello_timeout: Duration,
    /// How often a connection is probed (HTTP/2 ping).
    pub keep_alive: Duration,
    /// A connection whose probe has no answer for this long is lost.
    pub keep_alive_timeout: Duration,
    /// A peer that has been silent for this long is lost. It should be several heartbeats.
    pub silence: Duration,
    /// How often a node that has nothing to say says so.
    pub heartbeat: Duration,
    /// How often a change of state or load is looked for.
    pub gossip: Duration,
    /// The first wait before a peer is dialled again; it doubles up to `redial_max`.
    pub redial_min: Duration,
    /// The longest wait before a peer is dialled again.
    pub redial_max: Duration,
    /// How long unfinished messages may take when the node stops.
    pub drain: Duration,
    /// The deadline of an outside client's signal that names none.
    pub client_timeout: Duration,
    /// The certificate of this node. With it every connection, either way, is encrypted and both
    /// sides know who the other is; without it none is.
    pub tls: Option<Arc<Tls>>,
    /// How often the files of the certificate, and the certificates of peers, are looked at.
    pub certificate_check: Duration,
    /// Who may do what on this node; `None`: every certificate everything. It needs `tls`.
    pub allow: Option<Policy>,
    /// Sent in the hello; opaque to this crate. [`PeerView`](crate::PeerView) shows the peers'.
    pub metadata: BTreeMap<String, Bytes>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            names: Vec::new(),
            resolve: Duration::from_secs(10),
            etcd: None,
            limits: Limits::DEFAULT,
            frame_bytes: Limits::DEFAULT.bytes + (1 << 20),
            outgoing_queue: 16_384,
            outgoing_bytes: 64 << 20,
            max_in_flight: 8_192,
            retries: RetryBudget::default(),
            max_connections: 1_024,
            hello_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(3),
            silence: Duration::from_secs(15),
            heartbeat: Duration::from_secs(1),
            gossip: Duration::from_millis(100),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(2),
            drain: Duration::from_secs(5),
            client_timeout: Duration::from_secs(30),
            tls: None,
            certificate_check: Duration::from_secs(5),
            allow: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The node has no name.
    #[error("a node needs a name of 1 to {limit} bytes")]
    Name {
        /// The most bytes of a name.
        limit: usize,
    },
    /// A peer's address cannot be dialled.
    #[error("the peer address '{0}' is not HOST:PORT, as in 10.0.0.2:7701 or [::1]:7701")]
    Peer(String),
    /// The certificate is that of another node.
    #[error(
        "the certificate is for '{certificate}' and the node's name is '{node}': they must be the same"
    )]
    Certificate {
        /// Whose certificate it is.
        certificate: Arc<str>,
        /// The node's name.
        node: Arc<str>,
    },
    /// The way to etcd cannot work.
    #[error("etcd: {0}")]
    Etcd(&'static str),
    /// There are rules for certificates and there is none.
    #[error("`allow` needs `tls`: without certificates nobody is known")]
    Unknowable,
    /// A setting is too small to work.
    #[error("{setting} is too small: give it {least}")]
    TooSmall {
        /// The field of [`Config`].
        setting: &'static str,
        /// What it needs.
        least: &'static str,
    },
}

/// The most bytes of a node's name, group or address.
pub(crate) const NAME_BYTES: usize = 256;

impl Config {
    /// Checks that the settings can work.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot.
    pub fn check(&self, identity: &Identity) -> Result<(), ConfigError> {
        if identity.name.is_empty() || identity.name.len() > NAME_BYTES {
            return Err(ConfigError::Name { limit: NAME_BYTES });
        }
        if let Some(peer) =
            self.peers.iter().chain(&self.names).find(|peer| !is_host_and_port(peer))
        {
            return Err(ConfigError::Peer(peer.clone()));
        }
        if let Some(etcd) = &self.etcd {
            etcd.check()?;
        }
        if self.allow.is_some() && self.tls.is_none() {
            return Err(ConfigError::Unknowable);
        }
        if let Some(certificate) = self.tls.as_ref().map(|tls| tls.identity())
            && *certificate != *identity.name
        {
            let node = Arc::clone(&identity.name);
            return Err(ConfigError::Certificate { certificate, node });
        }
        let smallest = [
            ("frame_bytes", self.frame_bytes >= 64 << 10, "at least 65536 bytes"),
            ("outgoing_queue", self.outgoing_queue > 0, "at least 1 message"),
            ("max_in_flight", self.max_in_flight > 0, "at least 1 message"),
            ("max_connections", self.max_connections > 0, "at least 1 connection"),
            ("hello_timeout", !self.hello_timeout.is_zero(), "at least 1 ms"),
            ("keep_alive", !self.keep_alive.is_zero(), "at least 1 ms"),
            ("keep_alive_timeout", !self.keep_alive_timeout.is_zero(), "at least 1 ms"),
            ("heartbeat", !self.heartbeat.is_zero(), "at least 1 ms"),
            ("gossip", !self.gossip.is_zero(), "at least 1 ms"),
            ("resolve", !self.resolve.is_zero(), "at least 1 ms"),
            ("certificate_check", !self.certificate_check.is_zero(), "at least 1 ms"),
            ("redial_min", !self.redial_min.is_zero(), "at least 1 ms"),
            ("redial_max", self.redial_max >= self.redial_min, "at least redial_min"),
            ("silence", self.silence > self.heartbeat, "more than the heartbeat"),
        ];
        match smallest.into_iter().find(|(_, fine, _)| !fine) {
            Some((setting, _, least)) => Err(ConfigError::TooSmall { setting, least }),
            None => Ok(()),
        }
    }
}

pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity { name: name.into(), group: "host".into(), address: None, incarnation: 1 }
    }

    #[test]
    fn the_default_settings_work() {
        assert_eq!(Config::default().check(&identity("a")), Ok(()));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let peers = |peer: &str| Config { peers: vec![peer.into()], ..Config::default() };
        for good in ["127.0.0.1:7701", "[::1]:7701", "node-2.example:1"] {
            assert_eq!(peers(good).check(&identity("a")), Ok(()), "{good}");
        }
        for bad in ["", "localhost", "localhost:", ":7701", "a:0", "a:70000", "::1:77", "a b:1"] {
            let error = peers(bad).check(&identity("a")).unwrap_err();
            assert_eq!(error, ConfigError::Peer(bad.into()));
        }
        let quiet = Config { silence: Duration::from_secs(1), ..Config::default() };
        assert_eq!(
            quiet.check(&identity("a")).unwrap_err().to_string(),
            "silence is too small: give it more than the heartbeat"
        );
        assert!(Config::default().check(&identity("")).is_err());
    }
}
