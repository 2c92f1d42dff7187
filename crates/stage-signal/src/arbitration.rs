//! Which of two links to one node stays: a pure rule that both ends apply alike.
//!
//! Two nodes that list each other dial each other, often at once. Each end sees the two links
//! come up in its own order, so the rule must not depend on the order: the link that the node
//! with the smaller name dialled stays.

/// What decides about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Which life of the peer.
    pub(crate) incarnation: u64,
    /// Where the peer listens.
    pub(crate) address: Option<String>,
    /// Whether this node dialled.
    pub(crate) is_ours: bool,
}

/// What becomes of a link that has just said hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the link to that node.
    Accept,
    /// It is, and the present one takes no more work and closes when that is done.
    Retire,
    /// It is, and the present one belongs to a life of the peer that has ended.
    Bury,
    /// The present one stays.
    Duplicate,
    /// Another live node has that name.
    NameTaken,
}

/// Decides between the present link to a node, if any, and a new one.
///
/// A second link by the same dialler is a duplicate even though the first may be dead: the node
/// may be listed under two addresses, and a dead link is found out within seconds.
pub(crate) fn arbitrate(own: &str, peer: &str, present: Option<&Claim>, new: &Claim) -> Verdict {
    let Some(present) = present else { return Verdict::Accept };
    if present.incarnation != new.incarnation {
        let is_restart = new.address.is_some() && new.address == present.address;
        return if is_restart { Verdict::Bury } else { Verdict::NameTaken };
    }
    let is_preferred = |claim: &Claim| claim.is_ours == (own < peer);
    if is_preferred(new) && !is_preferred(present) { Verdict::Retire } else { Verdict::Duplicate }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(incarnation: u64, port: u16, is_ours: bool) -> Claim {
        Claim { incarnation, address: Some(format!("127.0.0.1:{port}")), is_ours }
    }

    #[test]
    fn a_restart_at_the_same_address_buries_the_old_life() {
        let (old, new) = (claim(1, 7701, true), claim(2, 7701, false));
        assert_eq!(arbitrate("a", "b", Some(&old), &new), Verdict::Bury);
    }

    #[test]
    fn a_second_node_of_the_same_name_is_turned_away() {
        let (old, new) = (claim(1, 7701, true), claim(2, 7702, false));
        assert_eq!(arbitrate("a", "b", Some(&old), &new), Verdict::NameTaken);
        let nowhere = Claim { incarnation: 2, address: None, is_ours: false };
        let unlisted = Claim { incarnation: 1, ..nowhere.clone() };
        assert_eq!(arbitrate("a", "b", Some(&unlisted), &nowhere), Verdict::NameTaken);
    }

    /// Feeds one end the links in the order in which it sees them; true is the one "a" dialled.
    fn surviving(own: &str, peer: &str, order: [bool; 2]) -> bool {
        let mut present: Option<Claim> = None;
        for dialled_by_a in order {
            let new = claim(1, 7701, dialled_by_a == (own == "a"));
            match arbitrate(own, peer, present.as_ref(), &new) {
                Verdict::Accept | Verdict::Retire => present = Some(new),
                Verdict::Duplicate => {}
                verdict => panic!("{verdict:?}"),
            }
        }
        present.unwrap().is_ours == (own == "a")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_ends_keep_the_link_of_the_smaller_name_in_any_order(at_a: bool, at_b: bool) {
            prop_assert!(surviving("a", "b", [at_a, !at_a]));
            prop_assert!(surviving("b", "a", [at_b, !at_b]));
        }
    }
}
