use std::fmt;

use stage_proto::signal::v1 as proto;

/// Why a signal has no results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// No node that can be reached carries the stage. Not started.
    NoStage,
    /// The stage has no handler of that name.
    NoHandler,
    /// A queue is full. Not started.
    Overloaded,
    /// The node takes no remote work now. Not started.
    Refused,
    /// The deadline passed; the handler may have run.
    Deadline,
    /// The link broke; whether the handler ran is unknown.
    LinkLost,
    /// The handler raised an error.
    Handler,
    /// The message or its arguments are malformed or past a limit.
    Malformed,
    /// The sender no longer waits.
    Cancelled,
    /// The node is stopping. Not started.
    Stopping,
    /// The receiver's policy does not let the sender do this. Not started; another node is not
    /// asked.
    Denied,
}

impl Reason {
    /// All reasons, in the order in which [`Stats::failures`](crate::Stats::failures) counts them.
    pub const ALL: [Self; 11] = [
        Self::NoStage,
        Self::NoHandler,
        Self::Overloaded,
        Self::Refused,
        Self::Deadline,
        Self::LinkLost,
        Self::Handler,
        Self::Malformed,
        Self::Cancelled,
        Self::Stopping,
        Self::Denied,
    ];

    /// The name that scripts and metrics see: `"no_stage"`, `"overloaded"`, ...
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoStage => "no_stage",
            Self::NoHandler => "no_handler",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
            Self::Deadline => "deadline",
            Self::LinkLost => "link_lost",
            Self::Handler => "handler",
            Self::Malformed => "malformed",
            Self::Cancelled => "cancelled",
            Self::Stopping => "stopping",
            Self::Denied => "denied",
        }
    }

    /// Whether the handler has certainly not started, so that another node may be asked.
    #[must_use]
    pub fn is_not_started(self) -> bool {
        matches!(self, Self::NoStage | Self::Overloaded | Self::Refused | Self::Stopping)
    }

    /// The place of this reason in [`Reason::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    fn to_proto(self) -> proto::Reason {
        match self {
            Self::NoStage => proto::Reason::NoStage,
            Self::NoHandler => proto::Reason::NoHandler,
            Self::Overloaded => proto::Reason::Overloaded,
            Self::Refused => proto::Reason::Refused,
            Self::Deadline => proto::Reason::Deadline,
            Self::LinkLost => proto::Reason::LinkLost,
            Self::Handler => proto::Reason::Handler,
            Self::Malformed => proto::Reason::Malformed,
            Self::Cancelled => proto::Reason::Cancelled,
            Self::Stopping => proto::Reason::Stopping,
            Self::Denied => proto::Reason::Denied,
        }
    }

    fn from_proto(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.to_proto() as i32 == number)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a signal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// What kind of failure, for code.
    pub reason: Reason,
    /// What happened and where, for people.
    pub detail: String,
}

/// The most bytes of a detail that a node sends or keeps.
const DETAIL_BYTES: usize = 16 << 10;

impl Failure {
    /// A failure with its explanation.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    pub(crate) fn into_proto(self) -> proto::Failure {
        proto::Failure { reason: self.reason.to_proto().into(), detail: shortened(self.detail) }
    }

    /// A reason that this version does not know counts as started: it must not be retried.
    pub(crate) fn from_proto(failure: proto::Failure) -> Self {
        let detail = shortened(failure.detail);
        match Reason::from_proto(failure.reason) {
            Some(reason) => Self { reason, detail },
            None => {
                Self::new(Reason::Handler, format!("unknown reason {}: {detail}", failure.reason))
            }
        }
    }
}

fn shortened(mut detail: String) -> String {
    if detail.len() > DETAIL_BYTES {
        let cut = (0..=DETAIL_BYTES).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
        detail.truncate(cut);
        detail.push_str("...");
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let failure = Failure::new(reason, "why");
            assert_eq!(Failure::from_proto(failure.clone().into_proto()), failure);
            assert_eq!(Reason::ALL[reason.index()], reason);
        }
    }

    #[test]
    fn an_unknown_reason_is_never_retried() {
        let failure = Failure::from_proto(proto::Failure { reason: 99, detail: "new".into() });
        assert_eq!(failure.to_string(), "handler: unknown reason 99: new");
        assert!(!failure.reason.is_not_started());
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let failure = Failure::new(Reason::Handler, "가".repeat(DETAIL_BYTES)).into_proto();
        assert!(failure.detail.len() <= DETAIL_BYTES + 3 && failure.detail.ends_with("가..."));
    }
}
