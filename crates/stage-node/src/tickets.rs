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
    ServerConfig, Shards, Status, Tickets,
};
use tokio::sync::watch;

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
                (connect(name, coordinator, Shards::ONE, tls)?, Office::Elsewhere)
            }
            Plan::Fixed { coordinator, here: true, .. } => {
                let server = Server::new(served(config))?;
                mesh.also_serve(|routes| routes.add_service(server.service()));
                (connect(name, coordinator, Shards::ONE, tls)?, Office::Here(server))
            }
            #[cfg(feature = "etcd")]
            Plan::Elected { endpoints, prefix, address, shards } => {
                let mut cluster = ClusterConfig::new(endpoints, address);
                cluster.prefix = format!("{prefix}/ticket");
                cluster.server = served(config);
                cluster.shards = *shards;
                if let Some(etcd) = &config.etcd {
                    cluster.authority = etcd.authority;
                }
                let member = Member::start(cluster)?;
                mesh.also_serve(|routes| routes.add_service(member.service()));
                (connect(name, address, *shards, tls)?, Office::Elected(Box::new(member)))
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
        let statuses = tickets.statuses();
        let count = statuses.len();
        let shards = (1..).zip(statuses).map(|(at, status)| watch_shard((at, count), status));
        futures_util::future::join_all(shards).await;
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

    /// Who counts now, for people: one for each shard of the categories.
    pub(crate) fn coordinators(&self) -> Vec<Coordinator> {
        let AnyTickets::Remote(tickets) = self.desk.tickets() else {
            return vec![Coordinator { is_here: true, address: None, epoch: None, why: None }];
        };
        let trouble = self.desk.trouble().map(|trouble| trouble.to_string());
        let coordinator = |(shard, status): (usize, watch::Receiver<Status>)| {
            let (address, epoch, why) = match status.borrow().clone() {
                Status::Attached { address, epoch } => (Some(address), Some(epoch), None),
                Status::Connecting { why } => (None, None, why),
                _ => (None, None, None),
            };
            let (is_here, why) = (self.is_here(shard), trouble.clone().or(why));
            Coordinator { is_here, address, epoch, why }
        };
        tickets.statuses().into_iter().enumerate().map(coordinator).collect()
    }

    fn is_here(&self, shard: usize) -> bool {
        match &self.office {
            // There is one shard then.
            Office::Alone | Office::Here(_) => shard == 0,
            Office::Elsewhere => false,
            #[cfg(feature = "etcd")]
            Office::Elected(member) => {
                let leads = |standing: &watch::Receiver<Standing>| {
                    matches!(&*standing.borrow(), Standing::Leading { .. })
                };
                member.standings().get(shard).is_some_and(leads)
            }
        }
    }

    /// How the nodes come to agree on who counts.
    pub(crate) fn rule(&self) -> String {
        self.claim.to_string()
    }
}

/// Says in the log when a shard has a coordinator and when it has none.
async fn watch_shard((at, count): (usize, usize), mut status: watch::Receiver<Status>) {
    // With one shard there is nothing to tell apart.
    let shard = (count > 1).then(|| format!("{at} of {count}"));
    let mut attached = None;
    loop {
        let now = status.borrow_and_update().clone();
        match now {
            Status::Attached { address, epoch } => {
                tracing::info!(coordinator = %address, epoch, shard, "tickets are counted there");
                attached = Some(address);
            }
            Status::Connecting { why: Some(why) } => {
                if let Some(address) = attached.take() {
                    tracing::warn!(
                        coordinator = %address, why, shard, "no ticket coordinator; requests wait"
                    );
                }
            }
            _ => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Who counts tickets now.
pub(crate) struct Coordinator {
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
    shards: Shards,
    tls: Option<&Arc<Tls>>,
) -> Result<AnyTickets, RemoteConfigError> {
    let mut config = RemoteConfig::new([address]);
    name.clone_into(&mut config.name);
    config.shards = shards;
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
