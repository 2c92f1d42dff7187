//! A cluster of real processes with a real etcd of three members, and what happens to them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

mod child;
mod cut;
mod etcd;
mod faults;
mod intervals;
mod network;
mod shards;
mod steady;
mod takeover;

use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpSocket;

/// Nanoseconds on the one clock that all processes of the machine share.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
    u64::try_from(seconds.as_nanos()).unwrap() + now.tv_nsec.unsigned_abs()
}

/// A program, at a place of a network or right here.
fn program(place: Option<&network::Place>, program: &str) -> Command {
    place.map_or_else(|| Command::new(program), |place| place.command(program))
}

/// A port that nobody else is given until this process ends: bound and not listened at, so that a server may listen there.
fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let place = TcpSocket::new_v4().unwrap();
    place.set_reuseaddr(true).unwrap();
    place.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = place.local_addr().unwrap().port();
    TAKEN.lock().unwrap().push(place);
    port
}

fn signal(process: &Child, signal: &str) {
    let pid = process.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// Ends a process that is dropped, also one that is stopped.
struct Running(Child);

impl Running {
    /// As if its machine had lost power.
    fn end(&mut self) {
        // Either may fail if the process has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
