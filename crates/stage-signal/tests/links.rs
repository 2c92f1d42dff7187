//! Two and more nodes over real connections on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;
#[path = "node/wire.rs"]
mod wire;

use std::sync::atomic::Ordering;
use std::time::Duration;

use nodes::{Node, ask, fast, forever, until};
use stage_signal::{Advert, Config, Destination, NodeState, Outgoing, Reason, RetryBudget};
use stage_value::{Function, Prototype, Value};
use wire::Wire;

#[test]
fn a_signal_runs_on_the_other_node_and_its_results_return() {
    let (a, b) = Node::pair();
    let results = a.ask(ask("work", "echo", vec![Value::Int(7), "x".into()]));
    assert_eq!(results, Ok(vec![Value::from("b"), Value::Int(7), Value::from("x")]));
    assert_eq!((a.calls(), b.calls()), (0, 1));
    assert_eq!((a.mesh.stats().replies, b.mesh.stats().received), (1, 1));
}

#[test]
fn a_function_travels_with_its_captures() {
    let (a, _b) = Node::pair();
    let text = "function(v) return v .. tail end";
    let prototype = Prototype::new(text.into(), "main.lua".into(), 3, vec!["tail".into()]);
    let capture = stage_value::Capture::Value("!".into());
    let function = Value::Function(Function::new(prototype.into(), vec![capture]).unwrap());
    let results = a.ask(ask("work", "echo", vec![function.clone()])).unwrap();
    assert_eq!(results[1], function);
}

#[test]
fn the_sender_itself_runs_it_only_if_no_other_joined_node_carries_the_stage() {
    let (a, b) = Node::pair();
    b.shut();
    until("a sees that b is gone", || a.mesh.peers().iter().all(|peer| peer.state == "lost"));
    let results = a.ask(ask("work", "echo", vec![])).unwrap();
    assert_eq!(results, [Value::from("a")]);
    assert_eq!(a.calls(), 1);
}

#[test]
fn a_killed_node_loses_what_was_under_way_and_the_next_signal_runs_on_the_survivor() {
    let (a, b) = Node::pair();
    let lost: Vec<_> = (0..50).map(|_| a.send(ask("work", "hang", vec![]))).collect();
    until("b has started them", || b.calls() == 50);
    b.kill();
    for outcomes in lost {
        let failure = a.end(outcomes).unwrap_err();
        assert_eq!(failure.reason, Reason::LinkLost, "{failure}");
    }
    assert_eq!(a.mesh.stats().failed(Reason::LinkLost), 50);
    assert_eq!(a.mesh.stats().retries, 0, "what may have run is never tried again");
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
}

#[test]
fn an_idempotent_signal_whose_link_breaks_runs_once_more_elsewhere() {
    let (a, b) = Node::pair();
    let hang = || Outgoing { idempotent: true, ..forever("hang") };
    let marked = a.send(Outgoing { idempotent: true, ..forever("only.a") });
    let (hanging, plain) = (a.send(hang()), a.send(forever("hang")));
    until("b has started them", || b.calls() == 3);
    b.kill();
    assert_eq!(a.end(plain).unwrap_err().reason, Reason::LinkLost);
    until("a has started the other ones", || a.calls() == 2);
    assert_eq!((a.mesh.stats().retries, a.mesh.stats().failed(Reason::LinkLost)), (2, 1));
    // It ends as its second run does.
    assert_eq!(a.end(marked), Ok(vec!["a".into()]));
    drop(hanging);
    until("its withdrawal has reached the second run", || a.cancelled() == 1);
}

#[test]
fn an_idempotent_signal_that_is_lost_twice_is_not_sent_a_third_time() {
    let [b, c] = ["b", "c"].map(|name| Node::start(name, fast(&[])));
    let a = Node::start("a", fast(&[&b.address, &c.address]));
    until("all are linked", || a.linked() == ["b", "c"]);
    let outcomes = a.send(Outgoing { idempotent: true, ..forever("hang") });
    until("one of them has started it", || b.calls() + c.calls() == 1);
    let (first, second) = if b.calls() == 1 { (b, c) } else { (c, b) };
    first.kill();
    until("the other one has started it", || second.calls() == 1);
    second.kill();
    assert_eq!(a.end(outcomes).unwrap_err().reason, Reason::LinkLost);
    assert_eq!((a.calls(), a.mesh.stats().retries), (0, 1));
}

#[test]
fn what_a_lost_link_had_not_written_runs_elsewhere() {
    let b = Node::start("b", Config { max_in_flight: 1, ..fast(&[]) });
    let a = Node::start("a", fast(&[&b.address]));
    until("they are linked", || a.linked() == ["b"]);
    let started = a.send(forever("hang"));
    until("b has started it", || b.calls() == 1);
    let waiting = a.send(forever("echo"));
    b.kill();
    assert_eq!(a.end(started).unwrap_err().reason, Reason::LinkLost);
    assert_eq!(a.end(waiting), Ok(vec!["a".into()]));
}

#[test]
fn refusals_are_retried_within_the_budget() {
    let b = Node::start("b", fast(&[]));
    let retries = RetryBudget { percent: 20, per_second: 0 };
    let a = Node::start("a", Config { retries, ..fast(&[&b.address]) });
    until("they are linked", || a.linked() == ["b"]);
    b.refuse.store(true, Ordering::Relaxed);
    let ends: Vec<_> = (0..50).map(|_| a.ask(ask("work", "echo", vec![]))).collect();
    let is_refused = |end: &&stage_signal::Outcome| {
        end.as_ref().is_err_and(|failure| failure.reason == Reason::Refused)
    };
    assert_eq!((a.calls(), ends.iter().filter(is_refused).count()), (10, 40));
    assert_eq!((a.mesh.stats().retries, a.mesh.stats().retries_spent), (10, 40));
}

#[test]
fn with_most_nodes_out_of_the_mesh_any_is_tried_and_its_refusal_retried_where_one_is_joined() {
    let others = ["b", "c", "d"].map(|name| Node::start(name, fast(&[])));
    let peers = others.each_ref().map(|node| node.address.as_str());
    let a = Node::start("a", fast(&peers));
    until("all are linked", || a.linked().len() == 3);
    let isolated = Advert { state: NodeState::Isolated, ..Advert::IDLE };
    let [b, c, d] = &others;
    for node in [&a, c, d] {
        node.advertise(isolated);
    }
    // What c says is old; d means it.
    d.refuse.store(true, Ordering::Relaxed);
    until("a knows", || a.linked() == ["b"]);
    for _ in 0..40 {
        let name = a.ask(ask("work", "echo", vec![])).unwrap();
        assert!(name == ["b".into()] || name == ["c".into()], "{name:?}");
    }
    assert!(b.calls() > 0 && c.calls() > 0 && a.calls() == 0);
    assert_eq!(a.mesh.stats().panics, 40);
}

#[test]
fn a_wire_that_goes_dead_is_found_out_by_keep_alive_at_both_ends() {
    let watchful = |peers: &[&str]| Config {
        keep_alive: Duration::from_millis(50),
        keep_alive_timeout: Duration::from_secs(2),
        silence: Duration::from_secs(3600),
        ..fast(peers)
    };
    let b = Node::start("b", watchful(&[]));
    let wire = Wire::to(&b.address);
    let a = Node::start("a", watchful(&[&wire.address]));
    until("linked", || a.linked() == ["b"] && b.linked() == ["a"]);
    let outcomes = a.send(forever("hang"));
    until("it has started", || b.calls() == 1);
    wire.freeze();
    assert_eq!(a.end(outcomes).unwrap_err().reason, Reason::LinkLost);
    until("the handler has heard of it", || b.cancelled() == 1);
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
}

#[test]
fn a_node_that_comes_back_under_its_name_is_linked_again() {
    let (a, b) = Node::pair();
    let address = b.address.clone();
    b.kill();
    until("a has lost b", || a.mesh.stats().links_lost == 1);
    let b = Node::start_at("b", &address, fast(&[&a.address]));
    until("b is back", || a.linked() == ["b"] && b.linked() == ["a"]);
    // Both have dialled, so the link at hand may be the one that is given up; what it turns away goes
    // to a itself.
    until("b answers", || a.ask(ask("work", "echo", vec![])).unwrap()[0] == Value::from("b"));
}

#[test]
fn nodes_that_list_each_other_and_themselves_end_up_with_one_link_per_pair() {
    let listeners: Vec<_> = (0..3).map(|_| Node::listener()).collect();
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| address.clone()).collect();
    let peers: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let nodes: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(listeners)
        .map(|(name, listener)| Node::start_with(name, listener, fast(&peers)))
        .collect();
    until("all are linked", || nodes.iter().all(|node| node.linked().len() == 2));
    for node in &nodes {
        for _ in 0..50 {
            node.ask(ask("work", "echo", vec![])).unwrap();
        }
    }
    assert_eq!(nodes.iter().map(Node::calls).sum::<usize>(), 150);
    let lost: u64 = nodes.iter().map(|node| node.mesh.stats().links_lost).sum();
    assert_eq!(lost, 0, "duplicates are retired, not lost");
}

#[test]
fn a_refusal_is_tried_on_another_node_once() {
    let (a, b) = Node::pair();
    b.refuse.store(true, Ordering::Relaxed);
    let results = a.ask(ask("work", "echo", vec![Value::Int(1)])).unwrap();
    assert_eq!(results, [Value::from("a"), Value::Int(1)]);
    assert_eq!((a.mesh.stats().retries, b.mesh.stats().turned_away), (1, 1));
    assert_eq!(b.calls(), 0);
}

#[test]
fn what_a_held_node_refuses_comes_home_only_if_there_is_room_at_home() {
    let (a, b) = Node::pair();
    let held = Advert { state: NodeState::Held, ..Advert::IDLE };
    b.advertise(held);
    until("a knows", || a.mesh.peers()[0].state == "held");
    b.refuse.store(true, Ordering::Relaxed);
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
    a.advertise(held);
    let failure = a.ask(ask("work", "echo", vec![])).unwrap_err();
    assert_eq!((failure.reason, a.calls()), (Reason::Refused, 1));
    b.refuse.store(false, Ordering::Relaxed);
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("b")]);
}

#[test]
fn what_a_node_that_is_gone_has_not_started_comes_home_though_home_is_past_its_limit() {
    let (a, b) = Node::pair();
    a.advertise(Advert { state: NodeState::Held, ..Advert::IDLE });
    b.shut();
    until("a sees that b is gone", || a.mesh.peers().iter().all(|peer| peer.state == "lost"));
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
}

#[test]
fn a_refusal_without_another_node_reaches_the_sender() {
    let (a, b) = Node::pair();
    b.carry("only-b");
    until("a knows the new stage", || a.mesh.peers()[0].stages.len() == 2);
    b.refuse.store(true, Ordering::Relaxed);
    let failure = a.ask(ask("only-b", "echo", vec![])).unwrap_err();
    assert_eq!((failure.reason, failure.detail.as_str()), (Reason::Refused, "b is isolated"));
}

#[test]
fn a_change_of_state_and_load_reaches_the_peers_though_nothing_is_sent() {
    let quiet = |peers: &[&str]| Config {
        heartbeat: Duration::from_secs(60),
        silence: Duration::from_secs(120),
        ..fast(peers)
    };
    let b = Node::start("b", quiet(&[]));
    let a = Node::start("a", quiet(&[&b.address]));
    until("linked", || a.linked() == ["b"]);
    b.advertise(Advert { state: NodeState::Isolated, load: 7.5, utilisation: 0.5 });
    until("a has heard of it", || {
        let peers = a.mesh.peers();
        peers[0].state == "isolated" && peers[0].load == 7.5 && peers[0].utilisation == 0.5
    });
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
    assert_eq!(b.calls(), 0, "a node that is not joined is no candidate");
}

#[test]
fn an_unknown_stage_is_named_with_those_that_are_known() {
    let (a, _b) = Node::pair();
    let failure = a.ask(ask("wrok", "echo", vec![])).unwrap_err();
    assert_eq!(failure.reason, Reason::NoStage);
    assert_eq!(failure.detail, "node a reaches no stage 'wrok'; known stages: work");
}

#[test]
fn a_deadline_ends_the_wait_and_reaches_the_far_handler() {
    let (a, b) = Node::pair();
    // One that a busy machine does not write in time never starts: it is asked again.
    while b.calls() == 0 {
        let timeout = Some(Duration::from_millis(50));
        let end = a.ask(Outgoing { timeout, ..ask("work", "hang", vec![]) });
        assert_eq!(end.unwrap_err().reason, Reason::Deadline);
    }
    until("the handlers have heard of it", || b.cancelled() == b.calls());
    assert_eq!(a.mesh.peers()[0].unfinished, 0);
}

#[test]
fn a_far_handler_that_ignores_its_deadline_holds_nothing_at_the_sender() {
    let (a, b) = Node::pair();
    while b.calls() == 0 {
        let signal = Outgoing { timeout: Some(Duration::from_millis(50)), ..forever("hold") };
        assert_eq!(a.ask(signal).unwrap_err().reason, Reason::Deadline);
    }
    assert_eq!(b.cancelled(), 0);
    assert_eq!(a.mesh.peers()[0].unfinished, 0);
}

#[test]
fn dropping_the_outcomes_cancels_the_far_handler() {
    let (a, b) = Node::pair();
    let outcomes = a.send(forever("hang"));
    until("it has started", || b.calls() == 1);
    drop(outcomes);
    until("the handler has heard of it", || b.cancelled() == 1);
    assert_eq!(a.mesh.stats().withdrawn, 1);
}

#[test]
fn dropping_the_outcomes_cancels_a_handler_of_the_same_node() {
    let a = Node::start("a", fast(&[]));
    let outcomes = a.send(forever("hang"));
    until("it has started", || a.calls() == 1);
    drop(outcomes);
    until("the handler has heard of it", || a.cancelled() == 1);
}

#[test]
fn a_handler_that_forgets_its_sender_fails_the_signal() {
    let (a, _b) = Node::pair();
    let failure = a.ask(ask("work", "forget", vec![])).unwrap_err();
    assert_eq!(failure.to_string(), "handler: ended without an answer");
}

#[test]
fn signals_of_one_sender_reach_a_node_in_order() {
    let (a, b) = Node::pair();
    let outcomes: Vec<_> =
        (0..2000).map(|n| a.send(ask("work", "note", vec![Value::Int(n)]))).collect();
    outcomes.into_iter().for_each(|outcomes| drop(a.end(outcomes).unwrap()));
    assert_eq!(b.notes(), (0..2000).collect::<Vec<i64>>());
}

#[test]
fn more_signals_than_the_window_wait_for_credit_and_all_end() {
    let b = Node::start("b", Config { max_in_flight: 4, ..fast(&[]) });
    let a = Node::start("a", fast(&[&b.address]));
    until("linked", || a.linked() == ["b"]);
    let outcomes: Vec<_> =
        (0..500).map(|n| a.send(ask("work", "echo", vec![Value::Int(n)]))).collect();
    for (n, outcomes) in (0..).zip(outcomes) {
        assert_eq!(a.end(outcomes).unwrap()[1], Value::Int(n));
    }
}

#[test]
fn a_full_queue_fails_at_once() {
    let b = Node::start("b", Config { max_in_flight: 1, ..fast(&[]) });
    b.carry("slow");
    let config = Config { outgoing_queue: 10, ..fast(&[&b.address]) };
    let a = Node::start("a", config);
    until("linked", || a.linked() == ["b"]);
    let first = a.send(ask("slow", "hang", vec![]));
    until("the window is used up", || b.calls() == 1);
    let queued: Vec<_> = (0..10).map(|_| a.send(ask("slow", "echo", vec![]))).collect();
    let failure = a.ask(ask("slow", "echo", vec![])).unwrap_err();
    assert_eq!(failure.reason, Reason::Overloaded);
    assert_eq!(failure.detail, "node b: 10 messages wait for the node already");
    drop(first);
    queued.into_iter().for_each(|outcomes| drop(a.end(outcomes).unwrap()));
}

#[test]
fn scopes_reach_every_node_that_they_mean() {
    let b = Node::start("b", fast(&[]));
    let c = Node::start_in_group("c", "elsewhere", fast(&[]));
    let a = Node::start("a", fast(&[&b.address, &c.address]));
    until("linked", || a.linked() == ["b", "c"]);
    let stage = || "work".parse().unwrap();
    let reached = |destination| {
        let mut names = a.ask_all(Outgoing { destination, ..ask("work", "echo", vec![]) });
        names.sort();
        names
    };
    assert_eq!(reached(Destination::Every(stage())), ["a", "b", "c"]);
    assert_eq!(reached(Destination::Others(stage())), ["b", "c"]);
    assert_eq!(reached(Destination::Group(stage())), ["a", "b"]);
    assert_eq!(reached(Destination::Local(stage())), ["a"]);
}

#[test]
fn a_node_that_stops_lets_its_handlers_end_and_takes_nothing_new() {
    let (a, b) = Node::pair();
    let slow = a.send(ask("work", "slow", vec![]));
    until("it has started", || b.calls() == 1);
    b.begin_stop();
    assert_eq!(a.end(slow).unwrap(), [Value::from("b")]);
    until("the link is closed", || a.mesh.peers().iter().all(|peer| peer.state == "lost"));
    assert_eq!(a.mesh.stats().links_lost, 0);
    assert_eq!(a.ask(ask("work", "echo", vec![])).unwrap(), [Value::from("a")]);
}

#[test]
fn a_megabyte_travels_and_what_exceeds_the_frame_is_refused_before_it_is_sent() {
    let (a, _b) = Node::pair();
    let megabyte = Value::bytes(vec![7; 1 << 20]);
    assert_eq!(a.ask(ask("work", "echo", vec![megabyte.clone()])).unwrap()[1], megabyte);
    let huge = Value::bytes(vec![7; 100 << 20]);
    let failure = a.ask(ask("work", "echo", vec![huge])).unwrap_err();
    assert_eq!(failure.reason, Reason::Malformed);
    assert!(failure.detail.contains("node b: the message takes 1048"), "{failure}");
    assert_eq!(a.linked(), ["b"]);
}

#[test]
fn two_nodes_that_dial_each_other_stay_linked_while_they_choose_one_of_their_links() {
    for _ in 0..20 {
        let (to_a, to_b) = (Node::listener(), Node::listener());
        let (dial_a, dial_b) = (fast(&[&to_a.1]), fast(&[&to_b.1]));
        let a = Node::start_with("a", to_a, dial_b);
        let b = Node::start_with("b", to_b, dial_a);
        until("a has a link", || a.linked() == ["b"]);
        for _ in 0..100 {
            let results = a.ask(ask("work", "echo", vec![]));
            assert_eq!(results, Ok(vec![Value::from("b")]));
        }
        until("b has a link", || b.linked() == ["a"]);
    }
}
