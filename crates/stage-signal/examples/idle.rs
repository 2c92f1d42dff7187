//! What idle links cost: a node that dials many others, which live in a process of their own.
//!
//! ```text
//! cargo run --release -p stage-signal --example idle -- 200
//! ```
//!
//! It prints the resident memory and the processor time of the dialling node for each link.
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stage_signal::{Config, Identity, Mesh, OpenGate};
use tokio::net::TcpListener;

/// How long the links are idle before the second look at the processor time.
const IDLE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if first == "serve" {
        return serve(second.parse()?).await;
    }
    let count: usize = first.parse().map_err(|_| "usage: idle LINKS")?;
    let mut others = Command::new(std::env::current_exe()?)
        .args(["serve", &first])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = others.stdout.take().ok_or("there is no output")?;
    let peers = BufReader::new(output).lines().take(count).collect::<Result<Vec<_>, _>>()?;

    // One link brings what all share: buffers of the runtime, code that is used for the first time.
    let (one, rest) = peers.split_at(1);
    let alone = dial("first", one).await?;
    let before = resident_bytes();
    let mesh = dial("near", rest).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let links = u64::try_from(rest.len().max(1))?;
    println!("{} bytes of resident memory for each link", (resident_bytes() - before) / links);
    let used = processor_time();
    tokio::time::sleep(IDLE).await;
    let share = (processor_time() - used).as_secs_f64() / IDLE.as_secs_f64();
    println!("{:.2} % of a processor for all of them", share * 100.0);
    drop((mesh, alone));
    others.kill()?;
    others.wait()?;
    Ok(())
}

async fn serve(count: usize) -> Result<(), Box<dyn Error>> {
    for index in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        println!("{address}");
        let mesh = mesh(&format!("far{index}"), Some(address), Vec::new())?;
        tokio::spawn(mesh.run(Some(listener), std::future::pending()));
    }
    // Ends with the process that started it.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// A node that is linked to all of these.
async fn dial(name: &str, peers: &[String]) -> Result<Mesh, Box<dyn Error>> {
    let mesh = mesh(name, None, peers.to_vec())?;
    tokio::spawn(mesh.clone().run(None, std::future::pending()));
    while mesh.peers().iter().filter(|peer| peer.state == "joined").count() < peers.len() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(mesh)
}

fn mesh(name: &str, address: Option<String>, peers: Vec<String>) -> Result<Mesh, Box<dyn Error>> {
    let identity = Identity { name: name.into(), group: "host".into(), address, incarnation: 1 };
    Ok(Mesh::new(identity, Config { peers, ..Config::default() }, Arc::new(OpenGate))?)
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// The processor time of all threads.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
