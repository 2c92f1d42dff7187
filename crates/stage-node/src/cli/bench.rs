use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parsers;
use crate::bench::{Credentials, Load, Place, Plan, Work};
use crate::config::HostPort;

/// `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// A signal to a handler, and its reply.
    #[command(after_help = EXAMPLES)]
    Signal(LoadArgs),
    /// A job that runs on a worker, one at a time per key.
    Submit {
        /// How many and how often.
        #[command(flatten)]
        load: LoadArgs,
        /// How many keys the jobs have; 1: one hot key, 0: no key.
        #[arg(long, default_value_t = 10_000)]
        keys: u64,
    },
    /// A handler that needs a ticket.
    Ticket {
        /// How many and how often.
        #[command(flatten)]
        load: LoadArgs,
        /// How many of them run at once.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print the script of the stage `bench`, which a running node has to carry for --to.
    Script,
}

/// How a node is loaded.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Calls in a second, whether or not those before are done. Default: as fast as it can.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Calls under way at a time, at most.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,
    /// How long, at most an hour.
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = parsers::load_time)]
    pub duration: Duration,
    /// Bytes of the argument of each call, and of its result.
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=16_000_000))]
    pub size: u32,
    /// A running node with the stage `bench`. Default: a node in this process.
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Option<HostPort>,
    /// The own certificate, if the node wants one, with --key and --ca.
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca", "to"])]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The authorities that the node's certificate may be of.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub ca: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  stage-node bench signal                     as fast as one process can
  stage-node bench signal --rate 10000 --for 30s
  stage-node bench submit --keys 1            one hot key
  stage-node bench ticket --limit 4 --json
  stage-node bench script > bench.lua         for --to, carried as the stage bench";

impl BenchCommand {
    /// What is asked for; `None` for the script.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        let (load, work): (_, fn(usize, u64, u32) -> Work) = match self {
            Self::Signal(load) => (load, |size, _, _| Work::Signal { size }),
            Self::Submit { load, .. } => (load, |size, keys, _| Work::Submit { size, keys }),
            Self::Ticket { load, .. } => (load, |size, _, limit| Work::Ticket { size, limit }),
            Self::Script => return None,
        };
        let (keys, limit) = match self {
            Self::Submit { keys, .. } => (*keys, 0),
            Self::Ticket { limit, .. } => (0, *limit),
            Self::Signal(_) | Self::Script => (0, 0),
        };
        Some(Plan {
            work: work(load.size as usize, keys, limit),
            load: Load {
                rate: load.rate.map(f64::from),
                concurrency: load.concurrency as usize,
                duration: load.duration,
            },
            place: load.place(),
            json: load.json,
        })
    }
}

impl LoadArgs {
    fn place(&self) -> Place {
        let credentials = match (&self.cert, &self.key, &self.ca) {
            (Some(cert), Some(key), Some(ca)) => {
                Some(Credentials { cert: cert.clone(), key: key.clone(), ca: ca.clone() })
            }
            _ => None,
        };
        match &self.to {
            Some(address) => Place::There(address.clone(), credentials),
            None => Place::Here,
        }
    }
}
