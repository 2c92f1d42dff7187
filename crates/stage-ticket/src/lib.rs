//! Permits with leases and fencing tokens that limit concurrent runs across a service
