//! Database servers of a test's own, on loopback, with a folder of their own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stage_db::{Config, Pool};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

/// A server that ends with the test.
pub(crate) struct Server {
    process: Child,
    kind: Kind,
    folder: TempDir,
    /// Bound and not listened at, so that the server may listen there and nobody else is given it.
    place: TcpSocket,
    settings: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Postgres,
    MariaDb,
}

impl Server {
    /// PostgreSQL with settings beside its own.
    pub(crate) async fn postgres(settings: &[&str]) -> Self {
        Self::start(Kind::Postgres, settings).await
    }

    pub(crate) async fn mariadb() -> Self {
        Self::mariadb_with(&[]).await
    }

    /// MariaDB with settings beside its own.
    pub(crate) async fn mariadb_with(settings: &[&str]) -> Self {
        Self::start(Kind::MariaDb, settings).await
    }

    async fn start(kind: Kind, settings: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        copy(&kind.template(), &data);
        open_to(kind, folder.path());
        let place = TcpSocket::new_v4().unwrap();
        place.set_reuseaddr(true).unwrap();
        place.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = place.local_addr().unwrap().port();
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        let process = kind.run(folder.path(), port, &settings);
        let server = Self { process, kind, folder, place, settings };
        server.ready().await;
        if matches!(kind, Kind::MariaDb) {
            let alter = "ALTER DATABASE test CHARACTER SET utf8mb4";
            server.pool().query(alter, vec![]).await.unwrap();
        }
        server
    }

    pub(crate) fn address(&self) -> String {
        let port = self.socket().port();
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Kind::MariaDb => format!("mysql://root@127.0.0.1:{port}/test"),
        }
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.place.local_addr().unwrap()
    }

    /// The defaults for this server, with little patience.
    pub(crate) fn config(&self) -> Config {
        config(&self.address())
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool::new(self.config(), None, Handle::current())
    }

    /// What it has logged so far.
    #[allow(dead_code, reason = "the tests of running nodes read it")]
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// As if its machine had lost power.
    pub(crate) fn kill(&mut self) {
        // Children of PostgreSQL outlive their parent for a moment.
        let parent = self.process.id().to_string();
        // It must not start another one when it sees them end.
        drop(Command::new("kill").args(["-STOP", &parent]).status());
        drop(Command::new("pkill").args(["-KILL", "-P", &parent]).status());
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts again on what it had.
    pub(crate) async fn start_again(&mut self) {
        drop(fs::remove_file(self.folder.path().join("data/postmaster.pid")));
        self.process = self.kind.run(self.folder.path(), self.socket().port(), &self.settings);
        self.ready().await;
    }

    async fn ready(&self) {
        for _ in 0..300 {
            let pool = self.pool();
            if pool.query("SELECT 1 AS one", vec![]).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not answer; its log:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn config(address: &str) -> Config {
    Config {
        timeout: Duration::from_secs(5),
        wait: Duration::from_secs(5),
        ..Config::new(address, Path::new("")).unwrap()
    }
}

impl Kind {
    /// A data folder as it is after installation, made once for all tests.
    fn template(self) -> PathBuf {
        let name = match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        };
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let template = root.join(format!("{name}-template"));
        let lock = File::create(root.join(format!("{name}.lock"))).unwrap();
        lock.lock().unwrap();
        if !template.exists() {
            let fresh = TempDir::new().unwrap();
            open_to(self, fresh.path());
            self.install(&fresh.path().join("data"));
            // A copy that breaks off half-way must not be taken for the whole.
            let half = root.join(format!("{name}-half"));
            drop(fs::remove_dir_all(&half));
            copy(&fresh.path().join("data"), &half);
            fs::rename(&half, &template).unwrap();
        }
        template
    }

    fn install(self, data: &Path) {
        let mut command = match self {
            Self::Postgres => {
                let mut command = as_user(self, &postgres_program("initdb"));
                command.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D"]);
                command.arg(data);
                command
            }
            Self::MariaDb => {
                let mut command = as_user(self, Path::new("mariadb-install-db"));
                command.arg("--auth-root-authentication-method=normal").arg("--skip-name-resolve");
                command.arg(format!("--datadir={}", data.display()));
                command
            }
        };
        let output = command.output().unwrap_or_else(|error| self.missing(&error));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(self, folder: &Path, port: u16, settings: &[String]) -> Child {
        let data = folder.join("data");
        let mut command = match self {
            Self::Postgres => {
                let mut command = as_user(self, &postgres_program("postgres"));
                command.arg("-D").arg(data).arg("-k").arg(folder);
                command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off"]);
                for setting in settings {
                    command.arg("-c").arg(setting);
                }
                command
            }
            Self::MariaDb => {
                let mut command = as_user(self, Path::new("mariadbd"));
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                command.arg(format!("--socket={}", folder.join("socket").display()));
                command.args([
                    "--character-set-server=utf8mb4",
                    "--bind-address=127.0.0.1",
                    &format!("--port={port}"),
                ]);
                command.args(settings.iter().map(|setting| format!("--{setting}")));
                command
            }
        };
        let log = File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap_or_else(|error| self.missing(&error))
    }

    fn user(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    fn missing<T>(self, error: &std::io::Error) -> T {
        let package = match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb-server",
        };
        panic!("{error}; install it with: apt-get install {package}");
    }
}

fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin").join(name)).max();
    newest.unwrap_or_else(|| PathBuf::from(name))
}

/// Servers refuse to run as root.
fn as_user(kind: Kind, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = kind.user();
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]);
    command.arg("--").arg(program);
    command
}

/// Gives a folder with all in it to the user of the server.
fn open_to(kind: Kind, folder: &Path) {
    if is_root() {
        let user = kind.user();
        let status =
            Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(folder).status();
        assert!(status.unwrap().success(), "no user {user}: is the server installed?");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
    let private = Command::new("chmod").args(["-R", "u=rwX,go="]).arg(to).status().unwrap();
    assert!(private.success());
}

/// Waits until a statement counts so many.
pub(crate) async fn until_there_are(wanted: i64, watcher: &Pool, counting: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let rows = watcher.query(counting, vec![]).await.unwrap();
        if rows.rows[0][0].as_int() == Some(wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not {wanted}, but {rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
