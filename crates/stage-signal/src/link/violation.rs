/// How a peer has broken the protocol; the link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("envelope id {id} is not above {last}: ids must rise")]
    Repeated { id: u64, last: u64 },
    #[error("envelope id {id} exceeds the credit that was granted")]
    NoCredit { id: u64 },
    #[error("ending or cancel of envelope {id}, which was never sent")]
    NeverSent { id: u64 },
    #[error("an envelope after the bye")]
    AfterBye,
    #[error("a second bye")]
    Bye,
    #[error("more credit than can be counted")]
    Credit,
    #[error("a second hello")]
    Hello,
    #[error("{0}")]
    Stages(String),
    #[error("envelope {id} brings functions that make no sense")]
    Functions { id: u64 },
    #[error("an envelope or ending is no protobuf message")]
    Part,
}
