//! A keyed scheduler: one job at a time per key, everything else in parallel
