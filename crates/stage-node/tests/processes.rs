//! The binary as people run it: real processes, real ports, real signals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a failure is told with what the other processes said")]

#[path = "processes/certificates.rs"]
mod certificates;
#[path = "processes/clients.rs"]
mod clients;
#[path = "processes/critical_region.rs"]
mod critical_region;
#[path = "../../stage-ticket/tests/cluster/cut.rs"]
mod cut;
#[cfg(feature = "db")]
#[path = "processes/databases.rs"]
mod databases;
#[path = "processes/documents.rs"]
mod documents;
#[path = "processes/durable.rs"]
mod durable;
#[path = "processes/found.rs"]
mod found;
#[path = "processes/gateway.rs"]
mod gateway;
#[path = "processes/harness.rs"]
mod harness;
#[path = "processes/hostile.rs"]
mod hostile;
#[path = "processes/load.rs"]
mod load;
#[path = "processes/operator.rs"]
mod operator;
#[path = "processes/profile.rs"]
mod profile;
#[path = "processes/reload.rs"]
mod reload;
#[cfg(feature = "http")]
#[path = "processes/requests.rs"]
mod requests;
#[path = "processes/running.rs"]
mod running;
#[cfg(feature = "db")]
#[path = "../../stage-db/tests/databases/servers.rs"]
#[allow(dead_code, reason = "the tests of stage-db use all of it")]
mod servers;
#[path = "processes/service_tickets.rs"]
mod service_tickets;
#[cfg(feature = "db")]
#[path = "processes/tests_of_scripts.rs"]
mod tests_of_scripts;
#[path = "processes/ticket_changes.rs"]
mod ticket_changes;
#[path = "processes/two_nodes.rs"]
mod two_nodes;
