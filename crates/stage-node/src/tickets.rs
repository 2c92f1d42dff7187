//! Who counts the tickets of the service, and this node's part in that.

mod agreement;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use stage_lua::TicketDesk;
use stage_signal::{Mesh, PeerView, Tls};
#[cfg(feature = "etcd")]
use stage_ticket::cluster::{ClusterConfig, ClusterError, Member, Standing};
use stage_ticket::{
    AnyTickets, Connector, RemoteConfig, RemoteConfigError, RemoteTickets, Rules, Server,
    ServerConfig, Status, Tickets,
};

use crate::config::Config;
use agreement::METADATA;
pub(crate) use plan::{Plan, PlanError};

/// Grants of an earlier run of the coordinator may live that long when it starts: it waits for them.
const LONGEST_GRANT: Duration = Duration::from_secs(2);

/// The node's part in counting tickets.
pub(crate) struct Counting {
    desk: TicketDesk,
    claim: agreement::Claim,
    /// What the node does for others, and has to go on with.
    office: Office,
}

/// Who counts.
enum Office {
    /// This node, for itself.
    Alone,
    /// This node, for all.
    Here(Server),
    /// A fixed node.
    Elsewhere,
    /// Whoever is elected; this node may be.
    #[cfg(feature = "etcd")]
    Elected(Box<Member>),
}

/// What speaks against counting as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketsError {
    /// The categories do not fit.
    #[error("#ticket: {0}")]
    Categories(#[from] stage_ticket::ConfigError),
    /// The coordinator's address is none.
    #[error("#node.ticket_coordinator: {0}")]
    Address(#[from] RemoteConfigError),
    /// The node cannot take part in an election.
    #[cfg(feature = "etcd")]
    #[error("#etcd: {0}")]
    Election(#[from] ClusterError),
    /// It is not clear who counts.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Counting {
    /// What the links' hello says of it.
    pub(crate) fn metadata(plan: &Plan) -> (String, bytes::Bytes) {
        (METADATA.to_owned(), agreement::Claim::of(plan).to_string().into())
    }

    /// Takes up the node's part. What others call is added to the mesh.
    pub(crate) fn start(
        config: &Config,
        plan: &Plan,
        mesh: &Mesh,
        tls: Option<&Arc<Tls>>,
    ) -> Result<Self, TicketsError> {
        let name = config.node.name.as_str();
        let (tickets, office): (AnyTickets, _) = match plan {
            Plan::Alone => (Tickets::new(categories(config))?.into(), Office::Alone),
            Plan::Fixed { coordinator, here: false, .. } => {
                (connect(name, coordinator, tls)?, Office::Elsewhere)
            }
            Plan::Fixed { coordinator, here: true, .. } => {
                let server = Server::new(served(config))?;
                mesh.also_serve(|routes| routes.add_service(server.service()));
                (connect(name, coordinator, tls)?, Office::Here(server))
            }
            #[cfg(feature = "etcd")]
            Plan::Elected { endpoints, prefix, address } => {
                let mut cluster = ClusterConfig::new(endpoints, address);
                cluster.prefix = format!("{prefix}/ticket");
                cluster.server = served(config);
                if let Some(etcd) = &config.etcd {
                    cluster.authority = etcd.authority;
                }
                let member = Member::start(cluster)?;
                mesh.also_serve(|routes| routes.add_service(member.service()));
                (connect(name, address, tls)?, Office::Elected(Box::new(member)))
            }
        };
        Ok(Self { desk: TicketDesk::new(tickets), claim: agreement::Claim::of(plan), office })
    }

    pub(crate) fn desk(&self) -> &TicketDesk {
        &self.desk
    }

    /// Compares with what the peers say; as long as one of them has another coordinator, no request is made.
    pub(crate) fn compare(&self, own: &str, peers: &[PeerView]) {
        let said =
            peers.iter().filter_map(|peer| Some((&*peer.name, &**peer.metadata.get(METADATA)?)));
        let trouble = agreement::trouble(own, &self.claim, said);
        if self.desk.trouble().as_deref() == trouble.as_deref() {
            return;
        }
        match &trouble {
            Some(why) => tracing::error!("no tickets: {why}"),
            None => tracing::info!("the nodes agree on who counts tickets"),
        }
        self.desk.set_trouble(trouble.map(Into::into));
    }

    /// Says in the log when there is a coordinator and when there is none, until the node stops.
    pub(crate) async fn watch(&self) {
        let AnyTickets::Remote(tickets) = self.desk.tickets() else {
            return std::future::pending().await;
        };
        let mut status = tickets.status();
        let mut attached = None;
        loop {
            let now = status.borrow_and_update().clone();
            match now {
                Status::Attached { address, epoch } => {
                    tracing::info!(coordinator = %address, epoch, "tickets are counted there");
                    attached = Some(address);
                }
                Status::Connecting { why: Some(why) } => {
                    if let Some(address) = attached.take() {
                        tracing::warn!(coordinator = %address, why, "no ticket coordinator; requests wait");
                    }
                }
                _ => {}
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes leave: of its coordinator, and of counting for others, which another node may go on with.
    pub(crate) async fn leave(&self) {
        if let AnyTickets::Remote(tickets) = self.desk.tickets() {
            tickets.leave().await;
        }
        match &self.office {
            Office::Alone | Office::Elsewhere => {}
            Office::Here(server) => server.close(),
            #[cfg(feature = "etcd")]
            Office::Elected(member) => member.retire().await,
        }
    }

    /// Who counts now, for people.
    pub(crate) fn coordinator(&self) -> Coordinator {
        let status = match self.desk.tickets() {
            AnyTickets::Local(_) => None,
            AnyTickets::Remote(tickets) => Some(tickets.status().borrow().clone()),
        };
        let is_here = match &self.office {
            Office::Alone | Office::Here(_) => true,
            Office::Elsewhere => false,
            #[cfg(feature = "etcd")]
            Office::Elected(member) => {
                matches!(&*member.standing().borrow(), Standing::Leading { .. })
            }
        };
        let (address, epoch, why) = match status {
            None => (None, None, None),
            Some(Status::Attached { address, epoch }) => (Some(address), Some(epoch), None),
            Some(Status::Connecting { why }) => (None, None, why),
            Some(_) => (None, None, None),
        };
        let why = self.desk.trouble().map(|trouble| trouble.to_string()).or(why);
        Coordinator { rule: self.claim.to_string(), is_here, address, epoch, why }
    }
}

/// Who counts tickets now.
pub(crate) struct Coordinator {
    /// How the nodes come to agree on it.
    pub(crate) rule: String,
    /// This node does.
    pub(crate) is_here: bool,
    /// Where it is, if it is connected.
    pub(crate) address: Option<String>,
    /// The epoch of its grants.
    pub(crate) epoch: Option<u64>,
    /// Why there are no tickets now.
    pub(crate) why: Option<String>,
}

fn connect(
    name: &str,
    address: &str,
    tls: Option<&Arc<Tls>>,
) -> Result<AnyTickets, RemoteConfigError> {
    let mut config = RemoteConfig::new([address]);
    name.clone_into(&mut config.name);
    config.connector = tls.map(|tls| {
        let tls = Arc::clone(tls);
        Connector::new(move |endpoint, address| {
            let tls = Arc::clone(&tls);
            async move { tls.channel(&endpoint, &address).await }
        })
    });
    Ok(RemoteTickets::connect(config)?.into())
}

/// With a list of categories there are no others; without one, the first use makes a category.
fn categories(config: &Config) -> stage_ticket::Config {
    let Some(listed) = &config.tickets else { return stage_ticket::Config::default() };
    let all = listed.iter().fold(stage_ticket::Config::default(), |config, (name, limit)| {
        config.category(name.as_str(), i64::from(*limit))
    });
    all.only_listed()
}

fn served(config: &Config) -> ServerConfig {
    let mut tickets = categories(config);
    tickets.rules = Rules { max_grant: LONGEST_GRANT, ..tickets.rules };
    ServerConfig { tickets, ..ServerConfig::default() }
}
