//! How much of a core a thread gets.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The share of a core that a node's stage has.
pub(crate) const SHARE: f64 = 0.25;

/// How often the kernel gives it.
const PERIOD_NANOS: u64 = 4_000_000;

/// Reserves a share of a core for a thread, and holds it to that.
pub(crate) fn reserve(thread: u32, share: f64) -> Result<()> {
    let runtime = (PERIOD_NANOS as f64 * share) as u64;
    let (runtime, period) = (runtime.to_string(), PERIOD_NANOS.to_string());
    let output = Command::new("chrt")
        .args(["--deadline", "--sched-runtime", &runtime, "--sched-deadline", &period])
        .args(["--sched-period", &period, "--pid", "0", &thread.to_string()])
        .output()
        .context("this needs chrt, of util-linux")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("this needs Linux, root and at least two cores: {}", why.trim());
    }
    Ok(())
}

/// How long a thread has computed so far.
pub(crate) fn time_of(process: u32, thread: u32) -> Option<Duration> {
    let told = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
    told.split(' ').next()?.parse().map(Duration::from_nanos).ok()
}

/// The thread of that name in a process.
pub(crate) fn thread_of(process: u32, name: &str) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    threads.filter_map(Result::ok).find_map(|thread| {
        let found = fs::read_to_string(thread.path().join("comm")).ok()?;
        (found.trim_end() == name).then(|| thread.file_name().to_str()?.parse().ok())?
    })
}
