use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};

use crate::config::{Config, HostPort};

/// Who counts the tickets, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// This node, for itself: it knows of no others.
    Alone,
    /// Always the same node.
    Fixed {
        /// Where it listens.
        coordinator: String,
        /// It is this one.
        here: bool,
        /// The addresses of which it is the lowest; `None` if it was named.
        of: Option<Vec<String>>,
    },
    /// Whoever is elected through etcd.
    #[cfg(feature = "etcd")]
    Elected {
        /// The members of etcd.
        endpoints: Vec<String>,
        /// Where the service's keys are.
        prefix: String,
        /// Where this node is reached.
        address: String,
        /// Over how many of them the counting is spread.
        shards: stage_ticket::Shards,
    },
}

/// It is not clear who counts tickets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The others cannot reach this node at the address it listens at.
    #[error(
        "#node.listen {listen} is no address that others can reach this node at, and tickets are \
         counted by one node for all: add #node.advertise{or}"
    )]
    Unreachable {
        /// Where it listens.
        listen: SocketAddr,
        /// What would do as well.
        or: &'static str,
    },
    /// The program was built without it.
    #[error("#etcd: this stage-node was built without it; build it with `--features etcd`")]
    NoEtcd,
    /// An elected node must be reached.
    #[error("#etcd: a node that others cannot reach cannot count their tickets: add #node.listen")]
    Deaf,
}

impl Plan {
    /// Who counts, if this node's listener is at `bound`.
    pub(crate) fn of(config: &Config, bound: Option<SocketAddr>) -> Result<Self, PlanError> {
        #[cfg(not(feature = "etcd"))]
        if config.etcd.is_some() {
            return Err(PlanError::NoEtcd);
        }
        #[cfg(feature = "etcd")]
        if let Some(etcd) = &config.etcd {
            return Ok(Self::Elected {
                endpoints: etcd.endpoints.iter().map(ToString::to_string).collect(),
                prefix: etcd.prefix.clone(),
                address: reached_at(config, bound, "")?.ok_or(PlanError::Deaf)?.to_string(),
                shards: etcd.ticket_shards,
            });
        }
        if let Some(named) = &config.node.ticket_coordinator {
            let here = bound.is_some_and(|bound| is_here(config, named, bound));
            return Ok(Self::Fixed { coordinator: named.to_string(), here, of: None });
        }
        if config.cluster.is_empty() {
            return Ok(Self::Alone);
        }
        let own = reached_at(config, bound, " or #node.ticket_coordinator")?;
        let mut all: Vec<_> = config.cluster.iter().chain(&own).cloned().collect();
        all.sort();
        let coordinator = all[0].clone();
        Ok(Self::Fixed {
            here: own.as_ref() == Some(&coordinator),
            coordinator: coordinator.to_string(),
            of: Some(all.iter().map(ToString::to_string).collect()),
        })
    }
}

/// Where the others reach this node; `None` if they cannot.
fn reached_at(
    config: &Config,
    bound: Option<SocketAddr>,
    or: &'static str,
) -> Result<Option<HostPort>, PlanError> {
    if let Some(advertised) = &config.node.advertise {
        return Ok(Some(advertised.clone()));
    }
    let Some(listen) = bound else { return Ok(None) };
    if listen.ip().is_unspecified() {
        return Err(PlanError::Unreachable { listen, or });
    }
    Ok(listen.to_string().parse().ok())
}

/// Whether an address that was named is this node's own.
fn is_here(config: &Config, named: &HostPort, bound: SocketAddr) -> bool {
    if config.node.advertise.as_ref() == Some(named) {
        return true;
    }
    if named.port() != bound.port() {
        return false;
    }
    let Ok(resolved) = (named.host(), named.port()).to_socket_addrs() else { return false };
    resolved.map(|address| address.ip()).any(|ip| {
        ip == bound.ip() || bound.ip().is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(sections: &str, bound: &str) -> Result<Plan, PlanError> {
        let text = format!(r##"{{ {sections} "#startup": [] }}"##);
        let config = Config::parse(&text, Path::new("stage.json")).unwrap();
        Plan::of(&config, bound.parse().ok())
    }

    fn fixed(coordinator: &str, here: bool, of: Option<&[&str]>) -> Result<Plan, PlanError> {
        let of = of.map(|of| of.iter().map(ToString::to_string).collect());
        Ok(Plan::Fixed { coordinator: coordinator.into(), here, of })
    }

    #[test]
    fn a_node_that_knows_no_others_counts_for_itself() {
        assert_eq!(plan("", "127.0.0.1:7701"), Ok(Plan::Alone));
        assert_eq!(plan("", ""), Ok(Plan::Alone));
    }

    #[test]
    fn of_a_list_the_lowest_address_counts_whoever_asks() {
        let sections =
            r##""#node": { "listen": "127.0.0.1:10000" }, "#cluster": ["127.0.0.1:9000"],"##;
        let all = ["127.0.0.1:9000", "127.0.0.1:10000"];
        assert_eq!(plan(sections, "127.0.0.1:10000"), fixed(all[0], false, Some(&all)));
        let sections =
            r##""#node": { "listen": "127.0.0.1:9000" }, "#cluster": ["127.0.0.1:10000"],"##;
        assert_eq!(plan(sections, "127.0.0.1:9000"), fixed(all[0], true, Some(&all)));
    }

    #[test]
    fn a_node_that_nobody_reaches_leaves_counting_to_the_list() {
        let sections = r##""#cluster": ["b:1", "a:1"],"##;
        assert_eq!(plan(sections, ""), fixed("a:1", false, Some(&["a:1", "b:1"])));
    }

    #[test]
    fn a_named_node_counts_and_knows_itself() {
        let sections =
            r##""#node": { "ticket_coordinator": "localhost:7702" }, "#cluster": ["a:1"],"##;
        assert_eq!(plan(sections, "127.0.0.1:7702"), fixed("localhost:7702", true, None));
        assert_eq!(plan(sections, "0.0.0.0:7702"), fixed("localhost:7702", true, None));
        assert_eq!(plan(sections, "127.0.0.1:7701"), fixed("localhost:7702", false, None));
    }

    #[test]
    fn a_node_that_listens_everywhere_has_to_say_where_it_is() {
        let sections = r##""#node": { "insecure": true }, "#cluster": ["a:1"],"##;
        let error = plan(sections, "0.0.0.0:7701").unwrap_err().to_string();
        assert!(error.contains("#node.advertise or #node.ticket_coordinator"), "{error}");
        let sections = r##""#node": { "advertise": "0.example:7701" }, "#cluster": ["a:1"],"##;
        let all: &[&str] = &["0.example:7701", "a:1"];
        assert_eq!(plan(sections, "0.0.0.0:7701"), fixed(all[0], true, Some(all)));
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn an_elected_node_must_be_reached() {
        let etcd = r##""#etcd": { "endpoints": ["127.0.0.1:2379"], "prefix": "/game/" },"##;
        assert_eq!(plan(etcd, ""), Err(PlanError::Deaf));
        let elected = Plan::Elected {
            endpoints: vec!["127.0.0.1:2379".into()],
            prefix: "/game".into(),
            address: "127.0.0.1:7701".into(),
            shards: stage_ticket::Shards::ONE,
        };
        assert_eq!(plan(etcd, "127.0.0.1:7701"), Ok(elected));
    }
}
