//! Two nodes under full send for a while, with the memory that the process takes.
//!
//! ```text
//! cargo run --release -p stage-signal --example soak -- fast 60     a receiver that keeps up
//! cargo run --release -p stage-signal --example soak -- slow 60     one that takes 10 ms for each message
//! cargo run --release -p stage-signal --example soak -- broken 60   one that is lost and comes back every second
//! ```
//!
//! Each second it prints how many signals ended in what, and the resident memory in MiB. The rows of a run
//! that is in order differ in neither direction.
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stage_signal::{
    Config, Delivery, Destination, Identity, Inbox, Mesh, OpenGate, Outgoing, Responder,
};
use stage_value::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Bytes of arguments that may wait for the receiver; the figure to hold the memory against.
const QUEUE_BYTES: usize = 8 << 20;

/// Signals that wait for their ends at once.
const IN_FLIGHT: usize = 20_000;

/// Answers at once, or one message every 10 ms in order of arrival.
struct Receiver(Option<Mutex<VecDeque<Responder>>>);

impl Inbox for Receiver {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        match &self.0 {
            None => delivery.responder.reply(delivery.args),
            Some(queue) => {
                queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(delivery.responder);
            }
        }
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (kind, seconds) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let seconds: u64 = seconds.parse().map_err(|_| "usage: soak fast|slow|broken SECONDS")?;
    let at_b = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    let config = Config {
        peers: vec![at_b.clone()],
        outgoing_bytes: QUEUE_BYTES,
        max_in_flight: 1000,
        ..Config::default()
    };
    let near = mesh("a", None, config)?;
    tokio::spawn(near.clone().run(None, std::future::pending()));
    let mut far = far(&at_b, kind == "slow").await?;

    let (replies, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&replies), Arc::clone(&failures));
    tokio::spawn(send(near, counts));
    let start = Instant::now();
    println!("second  replies/s  failures/s  MiB");
    for second in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(second).saturating_sub(start.elapsed())).await;
        let (done, failed) =
            (replies.swap(0, Ordering::Relaxed), failures.swap(0, Ordering::Relaxed));
        println!("{second:>6}  {done:>9}  {failed:>10}  {:>3}", resident_mib());
        if kind == "broken" {
            far.abort();
            drop(far.await);
            far = self::far(&at_b, false).await?;
        }
    }
    Ok(())
}

fn mesh(name: &str, address: Option<String>, config: Config) -> Result<Mesh, Box<dyn Error>> {
    static LIVES: AtomicU64 = AtomicU64::new(1);
    let incarnation = LIVES.fetch_add(1, Ordering::Relaxed);
    let identity = Identity { name: name.into(), group: "host".into(), address, incarnation };
    Ok(Mesh::new(identity, config, Arc::new(OpenGate))?)
}

/// A life of the receiver; aborting it ends all its connections.
async fn far(address: &str, is_slow: bool) -> Result<JoinHandle<()>, Box<dyn Error>> {
    let config = Config { max_in_flight: 1000, ..Config::default() };
    let mesh = mesh("b", Some(address.to_owned()), config)?;
    let receiver = Arc::new(Receiver(is_slow.then(Mutex::default)));
    mesh.register("work".parse()?, Arc::clone(&receiver) as Arc<dyn Inbox>);
    let listener = listen(address).await?;
    let run = mesh.run(Some(listener), std::future::pending());
    Ok(tokio::spawn(async move {
        tokio::select! {
            () = run => {}
            () = work(&receiver) => {}
        }
    }))
}

/// The former life may hold the port for a moment.
async fn listen(address: &str) -> std::io::Result<TcpListener> {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Ok(listener);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    TcpListener::bind(address).await
}

/// Ends one message every 10 ms.
async fn work(receiver: &Receiver) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some(queue) = &receiver.0 {
            let first = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            first.into_iter().for_each(|responder| responder.reply(Vec::new()));
        }
    }
}

/// Sends as fast as it can; what has not ended is bounded here only by number.
async fn send(mesh: Mesh, (replies, failures): (Arc<AtomicU64>, Arc<AtomicU64>)) {
    let places = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let text = "x".repeat(1000);
    let (Ok(stage), Ok(message)) = ("work".parse(), "m".parse()) else { return };
    let outgoing = Outgoing {
        destination: Destination::Stage(stage),
        message,
        args: vec![Value::from(text.as_str())],
        origin_stage: "soak".into(),
        wants_results: true,
        idempotent: false,
        timeout: None,
        trace: None,
    };
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let mut outcomes = mesh.send(outgoing.clone());
        let (replies, failures) = (Arc::clone(&replies), Arc::clone(&failures));
        tokio::spawn(async move {
            let counter =
                if matches!(outcomes.next().await, Some(Ok(_))) { replies } else { failures };
            counter.fetch_add(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

/// What the process has in memory now.
fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}
