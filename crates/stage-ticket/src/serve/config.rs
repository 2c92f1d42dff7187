use std::time::Duration;

use crate::{Config, ConfigError, Rules};

/// How a coordinator serves nodes over the network.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its categories and rules. Their `max_grant` is 10 s by default: a coordinator that starts
    /// anew waits that long for grants it does not know to end. Holders that need more extend
    /// again and again.
    pub tickets: Config,
    /// How long grants of an earlier run may still live when this one starts; until then it issues
    /// nothing, and learns what the nodes report. `None` stands for `max_grant`; zero is right only
    /// if nothing ran before. A cluster knows better and does not look at this.
    pub earlier: Option<Duration>,
    /// The most bytes of a frame that is read.
    pub frame_bytes: u32,
    /// The most requests of one node that may wait or hold.
    pub node_requests: u32,
    /// A node that says nothing for longer counts as disconnected.
    pub silence: Duration,
    /// A node that stays disconnected for longer loses its places in the queues. Its grants stay
    /// until they expire.
    pub absence: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let rules = Rules { max_grant: Duration::from_secs(10), ..Rules::default() };
        Self {
            tickets: Config { rules, ..Config::default() },
            earlier: None,
            frame_bytes: 8 << 20,
            node_requests: 1 << 16,
            silence: Duration::from_secs(3),
            absence: Duration::from_secs(10),
        }
    }
}

impl ServerConfig {
    /// Adds a category, see [`Config::category`].
    #[must_use]
    pub fn category(mut self, name: &str, limit: i64) -> Self {
        self.tickets = self.tickets.category(name, limit);
        self
    }

    /// Says that nothing ran before, so that there is nothing to wait for.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.earlier = Some(Duration::ZERO);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.tickets.validated()?;
        let small = self.frame_bytes < MIN_FRAME_BYTES || self.node_requests == 0;
        if small || self.silence < Duration::from_millis(10) {
            return Err(ConfigError::Serving);
        }
        Ok(())
    }
}

/// A frame must hold a name of the longest kind and whatever else comes with it.
const MIN_FRAME_BYTES: u32 = 4096;
