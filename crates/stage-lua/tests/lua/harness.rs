use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_lua::{Options, Output, Parts, Runtime, Script, StartError};

/// Collects what scripts print.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a script as stage `stage` until nothing waits or runs, and returns the lines it printed.
pub(crate) fn run(script: &str) -> Vec<String> {
    run_with(&Options::default(), script).unwrap()
}

/// The error that a script fails to start with.
pub(crate) fn start_error(script: &str) -> String {
    run_with(&Options::default(), script).unwrap_err().to_string()
}

/// The same with several instances of the stage.
pub(crate) fn run_instances(instances: usize, script: &str) -> Vec<String> {
    run_stage(&Options::default(), script, instances).unwrap()
}

pub(crate) fn run_with(options: &Options, script: &str) -> Result<Vec<String>, StartError> {
    run_stage(options, script, 1)
}

fn run_stage(options: &Options, script: &str, instances: usize) -> Result<Vec<String>, StartError> {
    let printed = Printed::default();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let options = Options { workers: 2, ..options.clone() };
        let runtime = Runtime::new(options, parts(Output::new(printed.clone())))?;
        let script = Script { name: "main.lua".to_owned(), text: script.to_owned().into() };
        runtime.start_stage(&"stage".parse().unwrap(), &script, instances).await?;
        settle(&runtime).await;
        runtime.stop(Duration::from_secs(5)).await;
        Ok(())
    })?;
    let bytes = printed.0.lock().unwrap().clone();
    Ok(String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect())
}

/// Waits until the runtime has been idle several times in a row: a reply may be on its way.
async fn settle(runtime: &Runtime) {
    let mut idle = 0;
    while idle < 5 {
        assert_eq!(runtime.drain(Duration::from_secs(20)).await, 0, "the script does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
        idle = if runtime.drain(Duration::ZERO).await == 0 { idle + 1 } else { 0 };
    }
}

fn parts(output: Output) -> Parts {
    Parts {
        node: "a".into(),
        mesh: mesh(),
        submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
        tickets: stage_lua::TicketDesk::new(
            stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap(),
        ),
        databases: databases(),
        shared: Arc::default(),
        route: stage_route::Route::new("a", stage_route::Config::default(), 3),
        output,
    }
}

fn mesh() -> stage_signal::Mesh {
    let identity = stage_signal::Identity {
        name: "a".into(),
        group: "host".into(),
        address: None,
        incarnation: 1,
    };
    let gate = Arc::new(stage_signal::OpenGate);
    stage_signal::Mesh::new(identity, stage_signal::Config::default(), gate).unwrap()
}

/// A database that is gone after the test.
#[cfg(feature = "db")]
fn databases() -> stage_lua::Databases {
    let config = stage_db::Config {
        connections: 1,
        timeout: Duration::from_millis(500),
        rows: 1000,
        ..stage_db::Config::new("sqlite::memory:", std::path::Path::new("")).unwrap()
    };
    let pool = stage_db::Pool::new(config, None, tokio::runtime::Handle::current());
    stage_lua::Databases::default().with("main", pool)
}

#[cfg(not(feature = "db"))]
fn databases() -> stage_lua::Databases {
    stage_lua::Databases::default()
}
