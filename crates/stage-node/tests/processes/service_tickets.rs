//! Tickets of several processes. A stage of one of them, whose VM does one thing at a time, judges how many
//! hold one: it hears of every holder before the holder works and before it ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Etcd, Folder, Node, address, finish, free_port, stderr, stdout};

const WORKER: &str = r#"
stage.waitfor("work", function (n)
    stage.ask("judge:enter", n, _TICKET)
    sleep(0.01)
    stage.ask("judge:leave", n)
end)
stage.waitfor("ready", function ()
    while not pcall(stage.ask, "judge:ready") do sleep(0.01) end
end)
stage.waitfor("told", function (ok, why) if not ok then print("REFUSED", why) end end)
stage.waitfor("start", function (from, to)
    for n = from, to do stage.signal("ticket:gate=work?told", n) end
end)
stage.waitfor("hold", function (ms) sleep(ms / 1000) print("HELD TO THE END") end)
stage.waitfor("keep", function (ms) stage.signal("ticket:long=hold", ms) end)
stage.waitfor("ticket:@", function (what, id, category) print("LOST", what, category) end)
stage.waitfor("raise", function (limit) stage.signal("ticket:@gate", limit) end)
stage.waitfor("shout", function (text) stage.signal("ticket:=long", text) end)
stage.waitfor("ticket:long", function (text) print("HEARD", text) end)
"#;

const JUDGE: &str = r#"
local inside, most, done, seen = 0, 0, 0, {}
stage.waitfor("ready", function () end)
stage.waitfor("enter", function (n, ticket)
    inside = inside + 1
    most = math.max(most, inside)
    if seen[n] then print("TWICE", n) end
    seen[n] = true
    if seen[ticket] then print("TWICE", ticket) end
    seen[ticket] = true
    print("IN " .. ticket)
end)
stage.waitfor("leave", function ()
    inside = inside - 1
    done = done + 1
    print("DONE " .. done .. " MOST " .. most)
end)
"#;

pub(crate) struct Service {
    nodes: Vec<Option<Node>>,
    files: Vec<PathBuf>,
    to: Vec<String>,
    admin: Vec<String>,
    /// Options of the command line for a client's certificate, if the nodes want one.
    pub(crate) certificate: Vec<String>,
    _folder: Folder,
}

/// Nodes a, b and c with some sections; c judges. Their addresses ascend.
fn service(more: &str, node: impl Fn(usize, &[String]) -> String) -> Service {
    service_in(Folder::new(), |_| more.to_owned(), node)
}

/// The same, with sections for each and with what is in a folder already.
pub(crate) fn service_in(
    folder: Folder,
    more: impl Fn(usize) -> String,
    node: impl Fn(usize, &[String]) -> String,
) -> Service {
    folder.write("worker.lua", WORKER);
    folder.write("judge.lua", JUDGE);
    let mut ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    ports.sort_unstable();
    let to: Vec<_> = ports.into_iter().map(address).collect();
    let admin: Vec<_> = (0..3).map(|_| address(free_port())).collect();
    let write = |index: usize| {
        let name = ["a", "b", "c"][index];
        let judge = r#", { "stage": "judge", "script": "judge.lua" }"#;
        let judge = if index == 2 { judge } else { "" };
        let text = format!(
            r##"{{ "#node": {{ "name": "{name}", "listen": "{}"{} }}, "#cluster": {to:?}, {}
                  "#admin": {{ "listen": "{}" }}, "#route": 0,
                  "#startup": [ {{ "stage": "{name}", "script": "worker.lua" }} {judge} ] }}"##,
            to[index],
            node(index, &to),
            more(index),
            admin[index],
        );
        folder.write(&format!("{name}.json"), &text)
    };
    let files: Vec<_> = (0..3).map(write).collect();
    Service {
        nodes: vec![None, None, None],
        files,
        to,
        admin,
        certificate: Vec::new(),
        _folder: folder,
    }
}

impl Service {
    pub(crate) fn start(&mut self, index: usize) {
        let file = self.files[index].to_str().unwrap();
        self.nodes[index] = Some(Node::start(&["run", "--config", file]));
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().unwrap()
    }

    /// Takes a node out, to end or be ended.
    pub(crate) fn take(&mut self, index: usize) -> Node {
        self.nodes[index].take().unwrap()
    }

    pub(crate) fn address(&self, index: usize) -> &str {
        &self.to[index]
    }

    fn kill(&mut self, index: usize) {
        self.take(index).kill();
    }

    pub(crate) fn signal(&self, index: usize, message: &str, args: &[&str]) {
        let stage = ["a", "b", "c"][index];
        let message = format!("{stage}:{message}");
        let options: Vec<_> = self.certificate.iter().map(String::as_str).collect();
        let command = [&["signal", &message], args, &["--to", &self.to[index]], &options].concat();
        let output = finish(&command);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Has a node ask for tickets, numbered so that the judge knows each.
    pub(crate) fn ask(&self, index: usize, count: usize) {
        let from = (index + 1) * 1000;
        self.signal(index, "start", &[&from.to_string(), &(from + count - 1).to_string()]);
    }

    /// Waits until so many have had a ticket; how many had one at once, at most.
    pub(crate) fn most(&mut self, done: usize) -> usize {
        let line = self.node(2).wait_for(&format!("DONE {done} MOST "));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Starts all, one after the other, each of which finds its coordinator and the judge.
    pub(crate) fn start_all(&mut self) {
        for index in 0..3 {
            self.start(index);
            self.node(index).wait_for_log("tickets are counted there");
        }
        (0..3).for_each(|index| self.signal(index, "ready", &[]));
    }

    /// Waits until what a node tells of the tickets has a text.
    pub(crate) fn wait_for_view(&self, index: usize, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.coordinator(index).contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in:\n{}", self.coordinator(index));
        }
    }

    pub(crate) fn coordinator(&self, index: usize) -> String {
        let output = finish(&["tickets", "--admin", &self.admin[index]]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }
}

impl Drop for Service {
    /// What the others had to say of a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes.iter().flatten() {
                eprintln!("-- node {}\n{}", node.id(), node.unread());
            }
        }
    }
}

#[test]
fn three_nodes_never_hold_more_tickets_than_there_are() {
    let limit = r##""#ticket": { "gate": 3, "long": 1 },"##;
    let mut service = service(limit, |_, _| String::new());
    service.start_all();
    let rule = service.coordinator(1);
    let lowest = service.to[0].clone();
    assert!(rule.contains(&format!("coordinator {lowest}; the lowest of {lowest}, ")), "{rule}");
    assert!(rule.contains(&format!("coordinator  {lowest}, epoch ")), "{rule}");

    (0..3).for_each(|index| service.ask(index, 40));
    assert_eq!(service.most(120), 3);

    // A category is altered from any node, and for all.
    service.signal(1, "raise", &["5"]);
    service
        .wait_for_view(2, "gate             5       0        0          -           -         120");
}

#[test]
fn a_broadcast_reaches_the_holder_on_another_node_and_a_grant_outlives_its_first_second() {
    let mut service = service(r##""#ticket": { "gate": 1, "long": 1 },"##, |_, _| String::new());
    service.start_all();
    service.signal(1, "keep", &["6000"]);
    service.wait_for_view(0, "long             1       1");
    service.signal(2, "shout", &["\"hello\""]);
    assert_eq!(service.node(1).wait_for("HEARD"), "HEARD\thello");
    service.node(1).wait_for("HELD TO THE END");
}

#[test]
fn operators_see_who_holds_by_node_and_slot_and_how_long_the_first_has_waited() {
    let mut service = service(r##""#ticket": { "gate": 1, "long": 2 },"##, |_, _| String::new());
    service.start_all();
    service.signal(1, "keep", &["60000"]);
    service.wait_for_view(0, "long             2       1");
    service.signal(2, "keep", &["60000"]);
    service.wait_for_view(0, "long             2       2");
    service.signal(1, "keep", &["60000"]);
    service.wait_for_view(0, "long             2       2        1");

    let output = finish(&["tickets", "--admin", &service.admin[2], "--json"]);
    let view: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let long = &view["categories"]["long"];
    let holders: Vec<_> = long["holders"].as_array().unwrap().iter().collect();
    let places: Vec<_> =
        holders.iter().map(|holder| (holder["node"].as_str().unwrap(), &holder["slot"])).collect();
    assert_eq!(places, [("b", &0.into()), ("c", &1.into())], "{long}");
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&holders[0]["age_ms"]) >= number(&holders[1]["age_ms"]), "{long}");
    // A grant is for a second unless it is extended, and no extension here is longer than two.
    assert!(holders.iter().all(|holder| number(&holder["left_ms"]) <= 2000.0), "{long}");
    assert!(number(&long["waiting_ms"]) <= number(&long["oldest_ms"]), "{long}");
    assert_eq!(view["categories"]["gate"]["waiting_ms"], serde_json::Value::Null);

    let text = service.coordinator(1);
    let ticket = holders[0]["ticket"].as_str().unwrap();
    let line = text.lines().find(|line| line.contains(ticket)).unwrap();
    assert!(line.starts_with("long             0 ") && line.ends_with("  b"), "{text}");
}

#[test]
fn without_their_coordinator_nodes_wait_and_go_on_when_it_is_back() {
    let mut service = service(r##""#ticket": { "gate": 2, "long": 1 },"##, |_, _| String::new());
    service.start_all();
    (0..3).for_each(|index| service.ask(index, 10));
    service.most(30);
    service.kill(0);
    service.node(1).wait_for_log("no ticket coordinator; requests wait");
    service.ask(1, 5);
    assert!(service.coordinator(1).contains("coordinator  none now"));
    service.start(0);
    // Its own requests of before died with it; those of b were asked again.
    assert!(service.most(35) <= 2);
}

#[test]
fn a_holder_that_loses_its_coordinator_is_stopped_in_time_and_told() {
    let mut service = service(r##""#ticket": { "gate": 2, "long": 1 },"##, |_, _| String::new());
    service.start_all();
    service.signal(1, "keep", &["60000"]);
    service.wait_for_view(0, "long             1       1");
    service.kill(0);
    assert_eq!(service.node(1).wait_for("LOST"), "LOST\tcancel\tlong");
}

#[test]
fn nodes_that_disagree_on_the_coordinator_grant_nothing_and_say_why() {
    let mut service =
        service(r##""#ticket": { "gate": 2, "long": 1 },"##, |index, to| match index {
            1 => format!(r#", "ticket_coordinator": "{}""#, to[1]),
            _ => String::new(),
        });
    (0..3).for_each(|index| service.start(index));
    let line = service.node(0).wait_for_log("no tickets: ");
    let (a, b) = (service.to[0].clone(), service.to[1].clone());
    assert!(line.contains(&format!("coordinator {a}; the lowest of ")), "{line}");
    assert!(line.contains(&format!("coordinator {b}; by name")), "{line}");
    service.node(1).wait_for_log("no tickets: ");
    for index in [0, 1] {
        service.ask(index, 1);
        let refused = service.node(index).wait_for("REFUSED");
        assert!(refused.contains(&a) && refused.contains(&b), "{refused}");
    }
    assert!(service.coordinator(0).contains("trouble"));
}

#[test]
fn with_etcd_another_node_counts_on_when_the_coordinator_is_killed() {
    let etcd = Etcd::start();
    let sections = format!(
        r##""#ticket": {{ "gate": 2, "long": 1 }}, "#etcd": {{ "endpoints": ["{}"] }},"##,
        etcd.endpoint
    );
    let mut service = service(&sections, |_, _| String::new());
    service.start_all();
    (0..3).for_each(|index| service.ask(index, 10));
    assert!(service.most(30) <= 2);
    let view = service.coordinator(2);
    assert!(view.contains("elected through etcd under /stage"), "{view}");
    // The first to start leads.
    assert!(service.coordinator(0).contains("which is this node"));
    service.kill(0);
    service.node(1).wait_for_log("no ticket coordinator; requests wait");
    service.signal(1, "start", &["9001", "9010"]);
    assert!(service.most(40) <= 2);
}
