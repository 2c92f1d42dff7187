//! The owned value tree and the address grammar that STAGE's crates exchange
