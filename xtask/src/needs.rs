//! What the tests need beside the Rust toolchain: how to see whether it is there, how to get it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run;

/// One row for each program or library that the tests need.
const NEEDS: &[Need] = &[
    Need {
        name: "a C compiler",
        probe: &["cc", "--version"],
        source: Source::Apt("build-essential"),
    },
    Need { name: "make", probe: &["make", "--version"], source: Source::Apt("build-essential") },
    // The client of etcd is generated when it is built.
    Need {
        name: "protoc",
        probe: &["protoc", "--version"],
        source: Source::Apt("protobuf-compiler"),
    },
    Need {
        name: "the well-known types of protobuf",
        probe: &["test", "-e", "/usr/include/google/protobuf/descriptor.proto"],
        source: Source::Apt("libprotobuf-dev"),
    },
    // The example client in Python; only Debian's interpreter sees Debian's packages.
    Need {
        name: "gRPC for Python",
        probe: &["/usr/bin/python3", "-c", "import grpc"],
        source: Source::Apt("python3-grpcio"),
    },
    Need {
        name: "protobuf for Python",
        probe: &["/usr/bin/python3", "-c", "import google.protobuf"],
        source: Source::Apt("python3-protobuf"),
    },
    Need { name: "etcd", probe: &["etcd", "--version"], source: Source::Apt("etcd-server") },
    // Places of a network, and what cuts them off from each other.
    Need { name: "ip", probe: &["ip", "-V"], source: Source::Apt("iproute2") },
    Need { name: "unshare", probe: &["unshare", "--version"], source: Source::Apt("util-linux") },
    // Its server is not in the path.
    Need {
        name: "PostgreSQL",
        probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb"],
        source: Source::Apt("postgresql"),
    },
    Need {
        name: "MariaDB",
        probe: &["mariadbd", "--version"],
        source: Source::Apt("mariadb-server"),
    },
    Need {
        name: "cargo-nextest",
        probe: &["cargo", "nextest", "--version"],
        source: Source::Cargo("cargo-nextest"),
    },
];

/// What the check of the examples' Lua needs beyond.
const SCRIPT_NEEDS: &[Need] = &[Need {
    name: "emmylua_check",
    probe: &["emmylua_check", "--version"],
    source: Source::Cargo("emmylua_check"),
}];

/// What the benchmarks need beyond: peers, and what counts instructions.
const BENCH_NEEDS: &[Need] = &[
    Need {
        name: "the NATS server",
        probe: &["nats-server", "--version"],
        source: Source::Apt("nats-server"),
    },
    Need {
        name: "the Redis server",
        probe: &["redis-server", "--version"],
        source: Source::Apt("redis-server"),
    },
    Need {
        name: "Erlang",
        probe: &["sh", "-c", "command -v escript"],
        source: Source::Apt("erlang-base"),
    },
    Need { name: "Valgrind", probe: &["valgrind", "--version"], source: Source::Apt("valgrind") },
    // Of the version of the library in Cargo.toml.
    Need {
        name: "gungraun-runner 0.20.0",
        probe: &["sh", "-c", "gungraun-runner --version | grep -qF ' 0.20.0'"],
        source: Source::Cargo("gungraun-runner@0.20.0"),
    },
];

struct Need {
    name: &'static str,
    /// Exits with 0 if the need is met.
    probe: &'static [&'static str],
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A package of Debian and its descendants.
    Apt(&'static str),
    /// A program on crates.io, compiled here.
    Cargo(&'static str),
}

/// Makes sure that everything is there: as root on Debian by installing it, elsewhere by failing
/// with the commands that would.
pub(crate) fn meet() -> Result<()> {
    meet_all(NEEDS)
}

/// The same for what the benchmarks need.
pub(crate) fn meet_for_benches() -> Result<()> {
    meet_all(BENCH_NEEDS)
}

/// The same for what the check of the examples' Lua needs.
pub(crate) fn meet_for_scripts() -> Result<()> {
    meet_all(SCRIPT_NEEDS)
}

fn meet_all(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| !is_met(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|need| need.name).collect();
    let commands = commands(&missing);
    if !may_install() {
        let commands: Vec<_> =
            commands.iter().map(|words| format!("    {}", words.join(" "))).collect();
        bail!("missing: {}. Install with:\n{}", names.join(", "), commands.join("\n"));
    }
    eprintln!("Missing: {}. Installing.", names.join(", "));
    for words in commands {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        if !run::passes(&mut command)? {
            bail!("`{}` failed", words.join(" "));
        }
    }
    match needs.iter().find(|need| !is_met(need)) {
        Some(need) => bail!("installed, but `{}` still fails", need.probe.join(" ")),
        None => Ok(()),
    }
}

fn is_met(need: &Need) -> bool {
    let status = Command::new(need.probe[0])
        .args(&need.probe[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The commands that install the needs, in order: Debian's packages in one go, then cargo's.
fn commands(needs: &[&Need]) -> Vec<Vec<&'static str>> {
    let mut packages = Vec::new();
    let mut programs = Vec::new();
    for need in needs {
        let (list, name) = match need.source {
            Source::Apt(name) => (&mut packages, name),
            Source::Cargo(name) => (&mut programs, name),
        };
        if !list.contains(&name) {
            list.push(name);
        }
    }
    let mut commands = Vec::new();
    if !packages.is_empty() {
        commands.push(vec!["apt-get", "update"]);
        commands.push(
            [vec!["apt-get", "install", "--yes", "--no-install-recommends"], packages].concat(),
        );
    }
    if !programs.is_empty() {
        commands.push([vec!["cargo", "install", "--locked"], programs].concat());
    }
    commands
}

/// Only root of a Debian system gets packages without being asked: a container or a CI machine.
fn may_install() -> bool {
    Path::new("/etc/debian_version").exists() && is_root()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_packages_come_in_one_command_without_repeats() {
        let needs: Vec<_> = NEEDS.iter().collect();
        assert_eq!(
            commands(&needs),
            [
                vec!["apt-get", "update"],
                vec![
                    "apt-get",
                    "install",
                    "--yes",
                    "--no-install-recommends",
                    "build-essential",
                    "protobuf-compiler",
                    "libprotobuf-dev",
                    "python3-grpcio",
                    "python3-protobuf",
                    "etcd-server",
                    "iproute2",
                    "util-linux",
                    "postgresql",
                    "mariadb-server"
                ],
                vec!["cargo", "install", "--locked", "cargo-nextest"],
            ]
        );
    }

    #[test]
    fn nothing_missing_asks_for_no_command() {
        assert!(commands(&[]).is_empty());
    }

    #[test]
    fn a_need_is_met_only_if_its_probe_succeeds() {
        let need = |probe| Need { name: "", probe, source: Source::Apt("") };
        assert!(is_met(&need(&["true"])));
        assert!(!is_met(&need(&["false"])));
        assert!(!is_met(&need(&["no-such-program-here"])));
    }
}
