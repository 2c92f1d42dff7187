//! Signals between stages: one batched, bounded gRPC stream per pair of nodes
