use std::fs;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use stage_lua::Profile;
use tokio::time::{Instant, interval_at};

use super::{Failure, block_on, status};
use crate::admin::ProfileView;
use crate::cli::ProfileArgs;

/// How long a node may take beyond the profile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many lines are shown.
const SHOWN: usize = 20;

/// Has a node sample its Lua code, shows the lines that it executes most, and draws the rest.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached, takes another profile, or ran no Lua code meanwhile; and if a file
/// cannot be written.
pub fn profile(
    args: &ProfileArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Failure> {
    let text = block_on(ask(args, progress))??;
    let view: ProfileView = status::understand(&args.node, &text)?;
    let profile = Profile::from(view);
    if profile.stacks.is_empty() {
        let why = "nothing ran in Lua in that time, so there is nothing to show; was the load on this node?";
        return Err(Failure::Failed(why.into()));
    }
    write_file(&args.svg, &profile.flame_graph())?;
    if let Some(path) = &args.folded {
        write_file(path, &profile.folded())?;
    }
    if args.node.json {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    write_lines(&profile, out)?;
    writeln!(out, "\nthe flame graph is in {}", args.svg.display())?;
    Ok(())
}

/// Waits for the node, and says how long it takes.
async fn ask(args: &ProfileArgs, progress: &mut dyn Write) -> Result<String, Failure> {
    let (ms, rate) = (args.duration.as_millis(), args.rate);
    let path = format!("/api/profile?ms={ms}&rate={rate}");
    let mut asked = pin!(status::request(&args.node, &path, args.duration + PATIENCE));
    let (second, start) = (Duration::from_secs(1), Instant::now());
    let mut ticks = interval_at(start + second, second);
    loop {
        tokio::select! {
            answer = &mut asked => return answer,
            _ = ticks.tick() => {
                let (so_far, of) = (start.elapsed().as_secs(), args.duration.as_secs_f64());
                writeln!(progress, "sampling: {so_far} s of {of:.0} s")?;
            }
        }
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}

fn write_lines(profile: &Profile, out: &mut dyn Write) -> std::io::Result<()> {
    let samples = profile.samples();
    let share = |count: u64| count as f64 / samples as f64 * 100.0;
    writeln!(out, "{samples} samples")?;
    if profile.lost > 0 {
        writeln!(out, "{} more of too many different stacks", profile.lost)?;
    }
    writeln!(out, "\n{:>6}  {:>6}  line", "own %", "all %")?;
    let lines = profile.lines();
    for line in lines.iter().take(SHOWN) {
        writeln!(out, "{:>6.1}  {:>6.1}  {}", share(line.own), share(line.total), line.place)?;
    }
    if lines.len() > SHOWN {
        writeln!(out, "and {} more lines", lines.len() - SHOWN)?;
    }
    Ok(())
}
