//! What a million waiters for one permit cost in memory, and that all of them are served.
#![allow(clippy::print_stdout, reason = "an example that shows figures")]

use std::time::Duration;

use stage_ticket::{Config, Tickets};

const WAITERS: usize = 1_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tickets = Tickets::new(Config::default().category("db", 1))?;
    let holder = tickets.acquire("db").await?;
    holder.extend(Duration::from_secs(60))?;
    let mut waiters = Vec::with_capacity(WAITERS);
    let before = resident_bytes()?;
    waiters.extend((0..WAITERS).map(|_| tickets.acquire("db")));
    let bytes = resident_bytes()? - before;
    println!("{} bytes for each of {WAITERS} waiters, its future included", bytes / WAITERS);
    drop(holder);
    for waiter in waiters {
        waiter.await?.release();
    }
    println!("granted {}", tickets.stats()[0].totals.granted);
    Ok(())
}

/// Resident memory, as Linux tells it.
fn resident_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).ok_or("no resident pages in statm")?;
    Ok(pages.parse::<usize>()? * 4096)
}
