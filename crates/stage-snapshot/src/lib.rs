//! Consistent, wait-free snapshots of shared state
