//! A name that stands for many nodes: all addresses that it resolves to.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use super::Target;
use crate::mesh::Shared;

/// The most addresses of one name.
const ADDRESSES: usize = 4096;

/// Resolves a name again and again. A certificate there must name what was resolved, since
/// addresses come and go.
pub(super) async fn watch(shared: Arc<Shared>, name: String) {
    let host = Target::new(&name).host;
    let mut problem = None;
    loop {
        let resolved = timeout(shared.config.resolve, lookup_host(&name)).await;
        let resolved = resolved.map_err(|_| "no answer in time".to_owned());
        match resolved.and_then(|found| found.map_err(|error| error.to_string())) {
            Ok(found) => {
                let target = |address: std::net::SocketAddr| Target {
                    address: address.to_string().into(),
                    host: Arc::clone(&host),
                };
                let found: BTreeSet<_> = found.take(ADDRESSES).map(target).collect();
                shared.directory.set(&name, found);
                problem = None;
            }
            Err(why) if problem.as_ref() != Some(&why) => {
                tracing::warn!(name, why, "a name cannot be resolved; what it last was stays");
                problem = Some(why);
            }
            Err(_) => {}
        }
        // Nodes that started together do not ask together.
        let jitter = 0.75 + fastrand::Rng::new().f64() / 2.0;
        sleep(shared.config.resolve.mul_f64(jitter)).await;
    }
}
