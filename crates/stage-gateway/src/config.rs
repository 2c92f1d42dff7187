//! What a gateway lets through.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Client;

/// Who may come in, and what the gateway does not exceed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may come in; nobody else does.
    pub clients: Vec<Client>,
    /// Signals of one client per second, and at once after a quiet second.
    pub rate: u32,
    /// Bytes of a body, and of a frame of a session.
    pub body_bytes: usize,
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// Requests at a time that have not ended; more are refused.
    pub in_flight: usize,
    /// Signals of one session that have not ended (it is not read from meanwhile), and signals to it that wait.
    pub session_in_flight: usize,
    /// How long a client may take for the head of a request, and for its body.
    pub read_timeout: Duration,
    /// How long a session may take to read a frame, before it is ended.
    pub write_timeout: Duration,
    /// The longest that a client may wait for a signal.
    pub longest: Duration,
    /// How often a session is asked whether its client is there.
    pub ping: Duration,
    /// How long a session may be silent, answers to pings included, before it is ended.
    pub silence: Duration,
    /// Web pages of other origins that may come in, such as `https://game.example`; none by default. If there are any,
    /// pages of further origins may not, whatever token they have.
    pub origins: BTreeSet<String>,
}

impl Default for Config {
    /// Nobody comes in; each client may send 100 signals per second, of 1 MiB at most.
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            rate: 100,
            body_bytes: 1 << 20,
            connections: 1024,
            in_flight: 1024,
            session_in_flight: 256,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
            longest: Duration::from_secs(30),
            ping: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            origins: BTreeSet::new(),
        }
    }
}
