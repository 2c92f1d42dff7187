//! Two nodes that took different ones for the coordinator would give out the same permits twice.

use std::fmt;

use super::Plan;

/// Under this key the links' hello says whom a node takes for the coordinator.
pub(crate) const METADATA: &str = "tickets";

/// Whom a node takes for the coordinator, and why: `CHOICE` or `CHOICE; REASON` as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    choice: String,
    reason: Option<String>,
}

impl Claim {
    pub(crate) fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Alone => Self { choice: "each node counts its own".into(), reason: None },
            Plan::Fixed { coordinator, of, .. } => Self {
                choice: format!("coordinator {coordinator}"),
                reason: Some(match of {
                    Some(all) => format!("the lowest of {}", all.join(", ")),
                    None => "by name".into(),
                }),
            },
            #[cfg(feature = "etcd")]
            Plan::Elected { prefix, shards, .. } => {
                let elected = format!("elected through etcd under {prefix}");
                let choice = match shards.count() {
                    1 => elected,
                    count => format!("{elected} in {count} shards"),
                };
                Self { choice, reason: None }
            }
        }
    }

    fn read(text: &str) -> Self {
        match text.split_once("; ") {
            Some((choice, reason)) => Self { choice: choice.into(), reason: Some(reason.into()) },
            None => Self { choice: text.into(), reason: None },
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}; {reason}", self.choice),
            None => f.write_str(&self.choice),
        }
    }
}

/// Why no ticket may be asked for, if a live peer takes another node for the coordinator.
///
/// `peers` are their names and what each said in its hello.
pub(super) fn trouble<'a>(
    own: &str,
    claim: &Claim,
    peers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Option<String> {
    let mut said = peers.map(|(name, said)| (name, Claim::read(&String::from_utf8_lossy(said))));
    let (peer, other) = said.find(|(_, other)| other.choice != claim.choice)?;
    Some(format!(
        "node {own} has \"{claim}\", node {peer} has \"{other}\"; give all nodes the same #cluster, \
         #node.ticket_coordinator or #etcd"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(coordinator: &str, of: Option<&[&str]>) -> Claim {
        let of = of.map(|of| of.iter().map(ToString::to_string).collect());
        Claim::of(&Plan::Fixed { coordinator: coordinator.into(), here: false, of })
    }

    fn among(own: &Claim, peers: &[(&str, Claim)]) -> Option<String> {
        let said: Vec<_> = peers.iter().map(|(name, claim)| (*name, claim.to_string())).collect();
        trouble("a", own, said.iter().map(|(name, said)| (*name, said.as_bytes())))
    }

    #[test]
    fn a_claim_survives_the_way_to_a_peer() {
        for claim in
            [claim("a:1", Some(&["a:1", "b:1"])), claim("a:1", None), Claim::of(&Plan::Alone)]
        {
            assert_eq!(Claim::read(&claim.to_string()), claim);
        }
    }

    #[test]
    fn nodes_with_one_coordinator_agree_however_they_came_to_it() {
        let peers = [("b", claim("a:1", Some(&["a:1", "b:1"]))), ("c", claim("a:1", None))];
        assert_eq!(among(&claim("a:1", Some(&["a:1", "c:1"])), &peers), None);
        assert_eq!(among(&claim("a:1", None), &[]), None);
    }

    #[test]
    fn a_disagreement_shows_both_sides() {
        let peers = [("b", claim("b:1", Some(&["b:1", "c:1"])))];
        let trouble = among(&claim("a:1", Some(&["a:1", "b:1"])), &peers).unwrap();
        assert!(trouble.contains("node a has \"coordinator a:1; the lowest of a:1, b:1\""));
        assert!(trouble.contains("node b has \"coordinator b:1; the lowest of b:1, c:1\""));
        assert!(among(&claim("a:1", None), &[("c", Claim::of(&Plan::Alone))]).is_some());
    }
}
