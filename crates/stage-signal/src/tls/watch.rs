//! Certificates over time: new files are taken up, and links end whose certificate no longer counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::Tls;
use crate::mesh::Shared;

/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// Looks at the files and at the peers' certificates for as long as the node runs.
///
/// The files are compared by content: a renewal by link or by rename is seen like one in place.
pub(crate) async fn watch(shared: Arc<Shared>, tls: Arc<Tls>) {
    let mut ticks = interval(shared.config.certificate_check);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut of_files, mut of_time) = (String::new(), String::new());
    loop {
        ticks.tick().await;
        let files = Arc::clone(&tls);
        let Ok(reloaded) = spawn_blocking(move || files.reload()).await else { return };
        let unused = reloaded.as_ref().err();
        let unused = unused.map(|error| format!("the former certificate stays in use: {error}"));
        say(&mut of_files, unused.as_deref().unwrap_or_default());
        if reloaded.is_ok_and(|is_new| is_new) {
            tracing::info!(identity = %tls.identity(), "a new certificate is in use");
        }
        say(&mut of_time, time_left(&tls));
        end_stale(&shared, &tls);
    }
}

/// Warns of something once, until there is something else or nothing to warn of.
fn say(said: &mut String, what: &str) {
    if said != what {
        what.clone_into(said);
        if !what.is_empty() {
            tracing::warn!("{what}");
        }
    }
}

fn time_left(tls: &Tls) -> &'static str {
    if !tls.is_valid_in(Duration::ZERO) {
        "this node's certificate has expired: nobody can be linked"
    } else if !tls.is_valid_in(SOON) {
        "this node's certificate expires within a day"
    } else {
        ""
    }
}

fn end_stale(shared: &Shared, tls: &Tls) {
    for link in shared.peers.all() {
        let Some(certified) = &link.certified else { continue };
        if let Err(why) = tls.check(certified) {
            shared.lose(&link, &format!("its certificate no longer counts: {why}"));
        }
    }
}
