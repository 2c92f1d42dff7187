use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stage_lua::{Output, Runtime, Script};
use stage_signal::client::{Client, ClientError};
use stage_signal::{Destination, Failure as Refusal, Mesh, Outgoing, Reason, Tls, TlsFiles};
use stage_value::{Id, MessageId, Value};

use super::load::Call;
use super::{BenchError, Plan, SCRIPT};
use crate::config::{Config, HostPort};
use crate::node::embedded;

/// What each call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A signal and its reply, with so many bytes both ways.
    Signal {
        /// Bytes.
        size: usize,
    },
    /// A job on a worker, by one of so many keys, and its end.
    Submit {
        /// Bytes that each job takes and gives.
        size: usize,
        /// How many keys there are; 0: no key, so all at once.
        keys: u64,
    },
    /// A handler that needs a ticket, from asking for it to the handler's end.
    Ticket {
        /// Bytes that each takes and gives.
        size: usize,
        /// How many run at once.
        limit: u32,
    },
}

/// Where the node is.
#[derive(Debug)]
pub enum Place {
    /// In this process, made for the load.
    Here,
    /// A running one.
    There(HostPort, Option<Credentials>),
}

/// What a client shows to a node that wants certificates.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The own certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that the node's certificate may be of.
    pub ca: PathBuf,
}

/// How long a call may take.
const LONGEST: Duration = Duration::from_secs(5);

/// The node and what it is called with. Cloning gives the same.
#[derive(Clone)]
pub(super) struct Target {
    way: Way,
    work: Work,
    body: Value,
}

#[derive(Clone)]
enum Way {
    /// The runtime is here for as long as the mesh is called.
    Mesh {
        mesh: Mesh,
        _runtime: Arc<Runtime>,
    },
    Client(Box<Client>),
}

/// Opens what the calls go to.
///
/// # Errors
/// If there is no such node, or the embedded one does not start.
pub(super) async fn open(plan: &Plan) -> Result<Target, BenchError> {
    let size = match plan.work {
        Work::Signal { size } | Work::Submit { size, .. } | Work::Ticket { size, .. } => size,
    };
    let way = match &plan.place {
        Place::Here => open_here().await?,
        Place::There(address, credentials) => open_there(address, credentials.as_ref()).await?,
    };
    let target = Target { way, work: plan.work, body: Value::from("x".repeat(size).as_str()) };
    if let Work::Ticket { limit, .. } = plan.work {
        target.ask("limit", vec![Value::Int(i64::from(limit))]).await.map_err(failed)?;
    }
    Ok(target)
}

async fn open_here() -> Result<Way, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Failed(error.to_string());
    let config = Config::for_load();
    let (mesh, runtime) =
        embedded(&config, Output::new(std::io::stderr())).map_err(|error| failed(&error))?;
    let script = Script::of_text("bench.lua", SCRIPT);
    let stage = stage().map_err(|error| failed(&error))?;
    runtime.start_stage(&stage, &script, 1).await.map_err(|error| failed(&error))?;
    Ok(Way::Mesh { mesh, _runtime: Arc::new(runtime) })
}

async fn open_there(address: &HostPort, shown: Option<&Credentials>) -> Result<Way, BenchError> {
    let address = address.to_string();
    let connected = match shown {
        None => Client::connect(&address).await,
        Some(Credentials { cert, key, ca }) => {
            let files = TlsFiles { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
            Client::connect_tls(&address, &Arc::new(Tls::load(files)?)).await
        }
    };
    let client = connected.map_err(|error| {
        BenchError::Failed(format!(
            "no node answers at {address}: {error}; --to HOST:PORT names another"
        ))
    })?;
    Ok(Way::Client(Box::new(client)))
}

fn stage() -> Result<Id, impl std::fmt::Display> {
    "bench".parse::<Id>()
}

impl Target {
    /// Whether the node can be called at all.
    pub(super) async fn try_once(&self) -> Result<(), BenchError> {
        self.call(&mut fastrand::Rng::with_seed(1)).await.map_err(failed)
    }

    async fn ask(
        &self,
        message: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, (&'static str, String)> {
        match &self.way {
            Way::Mesh { mesh, .. } => {
                ask_mesh(mesh, message, args).await.map_err(|refusal| of_refusal(&refusal))
            }
            Way::Client(client) => {
                let asked = Instant::now();
                let answer = client.signal(&format!("bench:{message}"), args, LONGEST).await;
                answer.map_err(|error| match error {
                    ClientError::Failed(refusal) => of_refusal(&refusal),
                    // A node that answers nobody does not tell of the deadline either.
                    silence if asked.elapsed() >= LONGEST => {
                        (Reason::Deadline.as_str(), silence.to_string())
                    }
                    other => ("unreachable", other.to_string()),
                })
            }
        }
    }
}

impl Call for Target {
    async fn call(&self, random: &mut fastrand::Rng) -> Result<(), (&'static str, String)> {
        let body = self.body.clone();
        let results = match self.work {
            Work::Signal { .. } => self.ask("signal", vec![body]).await?,
            Work::Submit { keys, .. } => {
                let key = if keys == 0 {
                    0
                } else {
                    random.i64(1..=i64::try_from(keys).unwrap_or(i64::MAX))
                };
                self.ask("submit", vec![Value::Int(key), body]).await?
            }
            Work::Ticket { .. } => self.ask("ticket", vec![body]).await?,
        };
        match results.as_slice() {
            [Value::Bool(false), why] => {
                Err(("refused", why.as_str().unwrap_or_default().to_owned()))
            }
            _ => Ok(()),
        }
    }
}

async fn ask_mesh(mesh: &Mesh, message: &str, args: Vec<Value>) -> Result<Vec<Value>, Refusal> {
    let unknown = |error: String| Refusal::new(Reason::Malformed, error);
    let stage = stage().map_err(|error| unknown(error.to_string()))?;
    let message: MessageId =
        message.parse().map_err(|error: stage_value::AddressError| unknown(error.to_string()))?;
    let mut outcomes = mesh.send(Outgoing {
        destination: Destination::Local(stage),
        message,
        args,
        origin_stage: "bench".into(),
        wants_results: true,
        idempotent: false,
        timeout: Some(LONGEST),
        trace: None,
    });
    let ended = outcomes.next().await;
    ended.unwrap_or_else(|| Err(unknown("no end was told".to_owned())))
}

fn of_refusal(refusal: &Refusal) -> (&'static str, String) {
    (refusal.reason.as_str(), refusal.to_string())
}

/// Why a node cannot be loaded.
fn failed((reason, why): (&'static str, String)) -> BenchError {
    BenchError::Failed(match reason {
        "no_stage" | "no_handler" => format!(
            "the node does not carry the stage bench: write its script by `stage-node bench script > bench.lua` and \
             carry it by {{ \"stage\": \"bench\", \"script\": \"bench.lua\" }} ({why})"
        ),
        _ => why,
    })
}
