use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_lua::{Databases, Options, Output, Parts, Runtime, Script, StartError};

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
    run_among(databases, options, script, instances)
}

/// The same with other databases.
#[cfg(feature = "db")]
pub(crate) fn run_on(
    databases: Databases,
    options: &Options,
    script: &str,
) -> Result<Vec<String>, StartError> {
    run_among(|| databases, options, script, 1)
}

fn run_among(
    databases: impl FnOnce() -> Databases,
    options: &Options,
    script: &str,
    instances: usize,
) -> Result<Vec<String>, StartError> {
    let printed = Printed::default();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let options = Options { workers: 2, ..options.clone() };
        let runtime = Runtime::new(options, parts(Output::new(printed.clone()), databases()))?;
        let script = Script::of_text("main.lua", script.to_owned());
        runtime.start_stage(&"stage".parse().unwrap(), &script, instances).await?;
        settle(&runtime).await;
        runtime.stop(Duration::from_secs(5)).await;
        Ok(())
    })?;
    let bytes = printed.0.lock().unwrap().clone();
    Ok(String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect())
}

/// A stage whose script and modules are files that a test changes while it runs.
pub(crate) struct Live {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    printed: Printed,
}

impl Live {
    /// Starts the stage `stage` from `main.lua`, with `old` as the folder to fall back on.
    pub(crate) async fn start(instances: usize, files: &[(&str, &str)]) -> Self {
        let live = Self::new(files);
        let script = Script::read(live.folder.path().join("main.lua")).unwrap();
        live.runtime.start_stage(&"stage".parse().unwrap(), &script, instances).await.unwrap();
        live
    }

    fn new(files: &[(&str, &str)]) -> Self {
        let (folder, printed) = (tempfile::tempdir().unwrap(), Printed::default());
        let options = Options {
            workers: 1,
            look: Some(Duration::from_millis(10)),
            rollback: Some(folder.path().join("old")),
            ..Options::default()
        };
        let runtime =
            Runtime::new(options, parts(Output::new(printed.clone()), databases())).unwrap();
        let live = Self { folder, runtime, printed };
        files.iter().for_each(|(name, text)| live.write(name, text));
        live
    }

    /// The error with which the script does not start.
    pub(crate) async fn start_error(files: &[(&str, &str)]) -> String {
        let live = Self::new(files);
        let script = Script::read(live.folder.path().join("main.lua")).unwrap();
        let stage = "stage".parse().unwrap();
        live.runtime.start_stage(&stage, &script, 1).await.unwrap_err().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As a whole: a reader in between must not take an empty file for the new one.
        let whole = self.folder.path().join(".new");
        std::fs::write(&whole, text).unwrap();
        std::fs::rename(whole, path).unwrap();
    }

    /// How many times a file was taken up anew, and how many times the new version failed.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        let counter = |wanted| {
            let found = self.runtime.counters().iter().find(|(name, _)| *name == wanted);
            found.map(|(_, count)| count).unwrap()
        };
        (counter("reloads"), counter("failed_reloads"))
    }

    /// Writes a file and waits until it is taken up, or has failed to be, so many times.
    pub(crate) async fn change(&self, name: &str, text: &str, times: u64) {
        let sum = |(taken, failed)| taken + failed;
        let before = sum(self.reloads());
        self.write(name, text);
        self.wait_until(|| sum(self.reloads()) >= before + times).await;
    }

    /// What a handler prints when it hears the event `tell`, each line of it.
    pub(crate) async fn tell(&self) -> Vec<String> {
        self.printed.0.lock().unwrap().clear();
        self.runtime.tell(&stage_lua::Event { name: "tell".into(), args: Vec::new() });
        settle(&self.runtime).await;
        self.lines()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = self.printed.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    pub(crate) async fn wait_until(&self, met: impl Fn() -> bool) {
        for _ in 0..2000 {
            if met() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it has not come to pass; printed: {:?}", self.lines());
    }
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

fn parts(output: Output, databases: Databases) -> Parts {
    Parts {
        node: "a".into(),
        mesh: mesh(),
        submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
        tickets: stage_lua::TicketDesk::new(
            stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap(),
        ),
        databases,
        shared: Arc::default(),
        route: stage_route::Route::new("a", stage_route::Config::default()),
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
fn databases() -> Databases {
    let config = stage_db::Config {
        connections: 1,
        timeout: Duration::from_millis(500),
        rows: 1000,
        ..stage_db::Config::new("sqlite::memory:", std::path::Path::new("")).unwrap()
    };
    let pool = stage_db::Pool::new(config, None, tokio::runtime::Handle::current());
    Databases::default().with("main", pool)
}

#[cfg(not(feature = "db"))]
fn databases() -> Databases {
    Databases::default()
}
