use std::net::SocketAddr;

use stage_value::Id;

use super::node::is_loopback;
use super::{Admin, Config, LogFormat, admin, node};

/// What the command line says, which wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The node's name.
    pub name: Option<Id>,
    /// Where other nodes connect.
    pub listen: Option<SocketAddr>,
    /// Where the operator's surface listens; turns it on.
    pub admin: Option<SocketAddr>,
    /// How log lines are written.
    pub log_format: Option<LogFormat>,
}

/// An override that the rest of the configuration does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The listener would be open to other machines.
    #[error(
        "--listen {address}: {}; listen on 127.0.0.1, or give the node \"tls\" (or \
         \"insecure\": true) in \"#node\" of the configuration",
        node::EXPOSED
    )]
    Listen {
        /// The address.
        address: SocketAddr,
    },
    /// The operator's surface would be open to other machines.
    #[error(
        "--admin {address}: {}; listen on 127.0.0.1, or set a \"token\" in \"#admin\" of the \
         configuration",
        admin::EXPOSED
    )]
    Admin {
        /// The address.
        address: SocketAddr,
    },
}

impl Config {
    /// This configuration with what the command line says.
    ///
    /// # Errors
    /// [`Refused`] if an address would be open to other machines and the configuration does not
    /// allow it.
    pub fn overridden(mut self, overrides: &Overrides) -> Result<Self, Refused> {
        if let Some(name) = &overrides.name {
            self.node.name = name.clone();
        }
        if let Some(format) = overrides.log_format {
            self.log.format = format;
        }
        if let Some(address) = overrides.listen {
            if !is_loopback(address) && !self.node.insecure && self.node.tls.is_none() {
                return Err(Refused::Listen { address });
            }
            self.node.listen = Some(address);
            self.cluster.retain(|peer| peer.to_string() != address.to_string());
        }
        if let Some(address) = overrides.admin {
            let token = self.admin.take().and_then(|admin| admin.token);
            if !is_loopback(address) && token.is_none() {
                return Err(Refused::Admin { address });
            }
            self.admin = Some(Admin { token, ..Admin::at(address) });
        }
        Ok(self)
    }
}
