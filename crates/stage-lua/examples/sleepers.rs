//! What a hundred thousand handlers that sleep in one VM cost in memory.
#![allow(clippy::print_stdout, reason = "an example that shows figures")]

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::time::Duration;

use stage_lua::{Options, Output, Parts, Runtime, Script};
use stage_signal::{Identity, Mesh, OpenGate};

const SLEEPERS: usize = 100_000;

const SCRIPT: &str = r#"
local asleep = 0
stage.waitfor("sleeper", function()
    asleep = asleep + 1
    if asleep == 100000 then print("all") end
    sleep(60)
end)
print("none")
stage.addtask(1, function()
    for _ = 1, 100000 do stage.signal("sleeper") end
end)
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (reader, writer) = std::io::pipe()?;
    let identity = Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
    let room = SLEEPERS * 2;
    let options = Options { handlers: room, mailbox: room, pending: room, ..Options::default() };
    let tickets = stage_ticket::Tickets::new(stage_ticket::Config::default())?;
    let runtime = Runtime::new(
        options,
        Parts {
            node: "a".into(),
            mesh: Mesh::new(identity, stage_signal::Config::default(), Arc::new(OpenGate))?,
            submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
            tickets: stage_lua::TicketDesk::new(tickets),
            databases: stage_lua::Databases::default(),
            shared: Arc::default(),
            route: stage_route::Route::new("a", stage_route::Config::never()),
            output: Output::new(writer),
        },
    )?;
    runtime.start_stage(&"stage".parse()?, &Script::of_text("sleepers.lua", SCRIPT), 1).await?;
    let before = resident_bytes()?;
    tokio::task::spawn_blocking(move || {
        BufReader::new(reader).lines().map_while(Result::ok).find(|line| line == "all")
    })
    .await?;
    let bytes = (resident_bytes()? - before) / SLEEPERS;
    println!("{bytes} bytes of the process for each of {SLEEPERS} sleeping handlers");
    runtime.stop(Duration::ZERO).await;
    Ok(())
}

/// Resident memory, as Linux tells it.
fn resident_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).ok_or("no resident pages in statm")?;
    Ok(pages.parse::<usize>()? * 4096)
}
