//! The driver and its meters.

use std::time::Duration;

use stage_route::{Config, Meter, Route, State, WINDOW};

/// Runs the control for some windows and returns what it saw.
async fn windows(route: &Route, count: u32) -> stage_route::View {
    let sleep = tokio::time::sleep(WINDOW * count + WINDOW / 2);
    route.clone().run(sleep).await;
    route.view()
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_has_no_delay() {
    let route = Route::new("a", Config::default());
    let _meter = route.meter("stage");
    let view = windows(&route, 3).await;
    assert_eq!((view.state, view.delay), (State::Joined, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_queue_counts_the_age_of_its_head() {
    let route = Route::new("a", Config::default());
    let meter = route.meter("stage");
    windows(&route, 1).await;
    let waiting = meter.arrived();
    let first = windows(&route, 3).await;
    let later = windows(&route, 3).await;
    assert!(first.delay > Duration::ZERO && later.delay > first.delay);
    assert_eq!(later.slowest, "stage");
    meter.started(waiting);
    meter.finished(Duration::from_millis(1));
    assert_eq!(windows(&route, 2).await.delay, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_message_given_up_behind_the_head_does_not_make_the_head_younger() {
    let route = Route::new("a", Config::default());
    let meter = route.meter("stage");
    let busy = meter.arrived();
    meter.started(busy);
    windows(&route, 1).await;
    let head = meter.arrived();
    std::thread::sleep(Duration::from_millis(5));
    let given_up = meter.arrived();
    meter.dropped(given_up);
    assert!(windows(&route, 0).await.delay >= Duration::from_millis(5));
    meter.dropped(head);
    meter.finished(Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_ends_late_is_as_long_as_it_was() {
    let route = Route::new("a", Config::default());
    let meter = route.meter("stage");
    windows(&route, 0).await;
    meter.started(meter.arrived());
    // Half of the time until the control looks again, in real time as a meter has it.
    std::thread::sleep(WINDOW * 4);
    meter.finished(WINDOW * 2);
    let share = windows(&route, 0).await.utilisation;
    assert!(share <= 0.125, "{share}: a quarter of a half");
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_counts_as_delayed_while_every_worker_is_busy() {
    let route = Route::new("a", Config::default());
    let meter = route.meter("stage");
    let (first, second) = (meter.arrived(), meter.arrived());
    meter.started(first);
    windows(&route, 1).await;
    // Real time passes in the meter; the windows are virtual.
    std::thread::sleep(Duration::from_millis(5));
    meter.started(second);
    assert!(windows(&route, 0).await.delay >= Duration::from_millis(5));
    meter.finished(Duration::ZERO);
    meter.finished(Duration::ZERO);
    assert_eq!(windows(&route, 1).await.delay, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_busiest_queue_is_what_fills_a_node() {
    let route = Route::new("a", Config::default());
    let (idle, busy) = (route.meter_of("workers", 8), route.meter("stage"));
    for _ in 0..40 {
        busy.started(busy.arrived());
        busy.finished(WINDOW);
        idle.started(idle.arrived());
        idle.finished(Duration::ZERO);
        windows(&route, 0).await;
    }
    let view = windows(&route, 0).await;
    assert!(view.utilisation > 0.7, "{}", view.utilisation);
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_has_waited_and_is_no_message_that_cost_nothing() {
    let route = Route::new("a", Config::default());
    let (first, next) = (route.meter("stage"), route.meter("workers"));
    for _ in 0..10 {
        for _ in 0..5 {
            first.started(first.arrived());
            first.passed();
            next.started(next.arrived());
            next.finished(Duration::from_millis(4));
        }
        windows(&route, 0).await;
    }
    assert_eq!(windows(&route, 0).await.baseline, Duration::from_millis(4));
}

/// Lets the control learn what messages cost: nothing.
async fn learn(route: &Route, meter: &Meter) {
    for _ in 0..4 {
        for _ in 0..5 {
            meter.started(meter.arrived());
            meter.finished(Duration::ZERO);
        }
        windows(route, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_message_is_too_late_before_the_node_knows_what_messages_cost() {
    let route = Route::new("a", Config::try_new(0.001).unwrap());
    let meter = route.meter("stage");
    windows(&route, 1).await;
    let stale = meter.arrived();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(meter.started_for_peer(stale), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn no_message_is_too_late_while_the_node_keeps_up() {
    let route = Route::new("a", Config::try_new(0.001).unwrap());
    let meter = route.meter("stage");
    learn(&route, &meter).await;
    let stale = meter.arrived();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(meter.started_for_peer(stale), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_peer_that_waited_for_too_long_is_not_started() {
    let route = Route::new("a", Config::try_new(0.001).unwrap());
    let meter = route.meter("stage");
    learn(&route, &meter).await;
    assert!(meter.started_for_peer(meter.arrived()).is_ok());
    let (running, stale) = (meter.arrived(), meter.arrived());
    meter.started(running);
    windows(&route, 0).await;
    std::thread::sleep(Duration::from_millis(5));
    windows(&route, 0).await;
    let late = meter.started_for_peer(stale).unwrap_err();
    assert!(late.waited >= Duration::from_millis(5));
    let own = meter.arrived();
    std::thread::sleep(Duration::from_millis(5));
    meter.started(own);
    (0..3).for_each(|_| meter.finished(Duration::ZERO));
    assert_eq!(windows(&route, 1).await.delay, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_joined_node_admits_all() {
    let route = Route::new("a", Config::default());
    windows(&route, 1).await;
    assert!((0..1000).all(|_| route.admit_remote().is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_held_node_admits_its_share_and_names_its_state() {
    let config = Config::try_new(0.001).unwrap();
    let route = Route::new("a", config);
    let meter = route.meter("stage");
    let _waiting = meter.arrived();
    // Real time passes in the meter; the windows are virtual.
    std::thread::sleep(Duration::from_millis(10));
    let view = windows(&route, 40).await;
    assert_eq!(view.state, State::Held);
    let admitted = (0..1000).filter(|_| route.admit_remote().is_ok()).count();
    let expected = view.credit * 1000.0;
    assert!((admitted as f64 - expected).abs() <= 1.0, "{admitted} of {expected}");
    let refused = (0..100).find_map(|_| route.admit_remote().err()).unwrap();
    assert_eq!(refused.to_string(), "node a is held");
}
