//! A network of its own: every process at a place, each place a network namespace, and between them a router that drops
//! what is cut without a word, as a broken wire does.

use std::process::{Command, Stdio};

/// Set for the process that runs within the network.
const WITHIN: &str = "STAGE_TICKET_NETWORK";

/// Runs a test again within a network of its own; false for the process that is there already.
pub(crate) fn runs_elsewhere(test: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return false;
    }
    let run = |options: &[&str]| {
        Command::new("unshare")
            .args(options)
            .args(["--net", "--mount", "--fork", "--kill-child"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(WITHIN, "1")
            .status()
    };
    // Whoever is not root gets a network by being root in a namespace of users.
    let is_root = rustix::process::geteuid().is_root();
    let status = run(if is_root { &[] } else { &["--user", "--map-root-user"] });
    let Ok(status) = status else {
        panic!("these tests need unshare: sudo apt-get install util-linux")
    };
    assert!(
        status.success(),
        "the test failed, or no network namespace could be made: run it as root, or allow \
         kernel.unprivileged_userns_clone"
    );
    true
}

/// The router. There is one for a process.
pub(crate) struct Network {
    places: u8,
}

/// Where processes run, with an address of their own.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    name: String,
    pub(crate) address: String,
}

impl Network {
    pub(crate) fn start() -> Self {
        // `ip` keeps its namespaces there; this one is seen by nobody else.
        must("mount", "-t tmpfs none /run");
        must("ip", "link set lo up");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        Self { places: 0 }
    }

    pub(crate) fn place(&mut self) -> Place {
        self.places += 1;
        let (name, net) = (format!("p{}", self.places), format!("10.77.{}", self.places));
        let address = format!("{net}.2");
        for command in [
            format!("netns add {name}"),
            format!("link add w{name} type veth peer name wire netns {name}"),
            format!("addr add {net}.1/30 dev w{name}"),
            format!("link set w{name} up"),
            format!("-n {name} addr add {address}/30 dev wire"),
            format!("-n {name} link set wire up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} route add default via {net}.1"),
        ] {
            must("ip", &command);
        }
        Place { name, address }
    }
}

impl Place {
    /// A program that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Lets nothing pass to or from another place.
    pub(crate) fn cut(&self, other: &Self) {
        self.both_ways("add", other);
    }

    pub(crate) fn mend(&self, other: &Self) {
        self.both_ways("del", other);
    }

    fn both_ways(&self, what: &str, other: &Self) {
        for (from, to) in [(self, other), (other, self)] {
            must("ip", &format!("rule {what} iif w{} to {} blackhole", from.name, to.address));
        }
    }
}

fn must(program: &str, words: &str) {
    let done = Command::new(program).args(words.split(' ')).stdin(Stdio::null()).output();
    let Ok(done) = done else {
        panic!("these tests need {program}: sudo apt-get install iproute2 mount")
    };
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {words}: {error}");
}
