//! Who may come in: bearer tokens, what each may signal, and how often.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::bucket::Bucket;

/// Who shows a token.
#[derive(Clone)]
pub struct Client {
    /// Its name in the log.
    pub name: String,
    /// What it shows as bearer token. `None`: everybody who shows none is this client, except
    /// pages in browsers.
    pub token: Option<String>,
    /// The stages that it may signal; `None`: all of them.
    pub stages: Option<BTreeSet<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client {{ name: {:?}, token: .., stages: {:?} }}", self.name, self.stages)
    }
}

/// A client that has been let in.
pub(crate) struct Known {
    pub(crate) client: Client,
    bucket: Mutex<Bucket>,
}

impl Known {
    /// Whether it may signal a stage.
    pub(crate) fn may_signal(&self, stage: &str) -> bool {
        self.client.stages.as_ref().is_none_or(|stages| stages.contains(stage))
    }

    /// Takes one of its signals of this second, or says how long to wait.
    pub(crate) fn take(&self, now: Duration) -> Result<(), Duration> {
        self.bucket.lock().take(now)
    }
}

/// All clients; a fixed number, so what is kept of each is bounded.
pub(crate) struct Clients(Vec<Arc<Known>>);

impl Clients {
    pub(crate) fn new(clients: Vec<Client>, rate: u32) -> Self {
        let known = |client| Arc::new(Known { client, bucket: Mutex::new(Bucket::new(rate)) });
        Self(clients.into_iter().map(known).collect())
    }

    /// Who shows this. O(clients), in a time that does not tell how much of a token is right.
    pub(crate) fn find(&self, shown: Option<&str>) -> Option<Arc<Known>> {
        let fits = |known: &Known| match (known.client.token.as_deref(), shown) {
            (Some(token), Some(shown)) => is_same(token, shown),
            (None, None) => true,
            _ => false,
        };
        // All are compared, so that the place in the list does not show either.
        self.0
            .iter()
            .fold(None, |found, known| if fits(known) { Some(Arc::clone(known)) } else { found })
    }
}

fn is_same(secret: &str, shown: &str) -> bool {
    let differences = shown.bytes().zip(secret.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    shown.len() == secret.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, token: Option<&str>) -> Client {
        Client { name: name.into(), token: token.map(String::from), stages: None }
    }

    #[test]
    fn only_the_whole_token_is_the_client() {
        let clients = Clients::new(vec![client("a", Some("secret-a")), client("b", Some("b"))], 1);
        let name = |shown| clients.find(shown).map(|known| known.client.name.clone());
        assert_eq!(name(Some("secret-a")).as_deref(), Some("a"));
        assert_eq!(name(Some("b")).as_deref(), Some("b"));
        for shown in [Some("secret-"), Some("secret-aa"), Some(""), None] {
            assert_eq!(name(shown), None, "{shown:?}");
        }
    }

    #[test]
    fn each_client_has_a_rate_of_its_own() {
        let clients = Clients::new(vec![client("a", Some("a")), client("b", Some("b"))], 1);
        let (a, b) = (clients.find(Some("a")).unwrap(), clients.find(Some("b")).unwrap());
        assert!(a.take(Duration::ZERO).is_ok() && a.take(Duration::ZERO).is_err());
        assert!(b.take(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        assert!(!format!("{:?}", client("a", Some("secret"))).contains("secret"));
    }
}
