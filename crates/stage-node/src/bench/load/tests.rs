use std::sync::Mutex;

use tokio::time::{Instant, sleep};

use super::*;

/// How long a call takes and what comes of it, by when it came.
type Answer = fn(Duration) -> (Duration, Result<(), (&'static str, String)>);

#[derive(Clone)]
struct Server {
    begun: Instant,
    answer: Answer,
    /// When each call came.
    came: Arc<Mutex<Vec<Duration>>>,
}

impl Server {
    fn new(answer: Answer) -> Self {
        Self { begun: Instant::now(), answer, came: Arc::default() }
    }
}

impl Call for Server {
    async fn call(&self, _: &mut fastrand::Rng) -> Result<(), (&'static str, String)> {
        let at = self.begun.elapsed();
        self.came.lock().unwrap().push(at);
        let (takes, outcome) = (self.answer)(at);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        outcome
    }
}

/// Loads a server in paused time, where a thread would not know how late it is.
async fn load(server: &Server, load: Load) -> Tally {
    let course = Arc::new(Course::begin(load).unwrap());
    let planner = Arc::clone(&course);
    tokio::spawn(async move {
        while planner.release() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    drive(&course, server, std::future::pending(), &mut std::io::sink()).await.unwrap()
}

fn a_hundred_per_second(concurrency: usize, duration: Duration) -> Load {
    Load { rate: Some(100.0), concurrency, duration }
}

fn assert_near(measured: f64, expected: f64) {
    assert!((measured - expected).abs() <= expected * 0.03, "{measured} instead of {expected}");
}

#[test]
fn calls_are_due_at_even_distances_and_the_first_at_once() {
    let load = Load { rate: Some(1000.0), concurrency: 1, duration: Duration::from_secs(1) };
    assert_eq!(load.due(0), Duration::ZERO);
    assert_eq!(load.due(500), Duration::from_millis(500));
    assert_eq!(load.due_by(Duration::ZERO), 1);
    assert_eq!(load.due_by(Duration::from_micros(9_999)), 10);
    for number in 0..1000 {
        assert!(load.due_by(load.due(number) + Duration::from_micros(1)) > number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_planned_rate_is_kept_and_not_exceeded() {
    let server = Server::new(|_| (Duration::ZERO, Ok(())));
    let tally = load(&server, a_hundred_per_second(64, Duration::from_millis(300))).await;
    assert_eq!((tally.done(), tally.unsent), (30, 0));
    let came = server.came.lock().unwrap();
    assert_eq!(came.len(), 30);
    for (number, at) in (0..).zip(came.iter()) {
        let due = Duration::from_millis(10 * number);
        assert!(*at >= due && *at <= due + Duration::from_millis(2), "call {number} at {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_shows_in_the_times_of_all_calls_that_were_planned_meanwhile() {
    let stalls: Answer = |at| {
        let second = Duration::from_secs(1);
        let within = at >= second && at < 2 * second;
        (if within { 2 * second - at } else { Duration::ZERO }, Ok(()))
    };
    // With one caller, the server sees a single slow call of a thousand.
    let server = Server::new(stalls);
    let tally = load(&server, a_hundred_per_second(1, Duration::from_secs(10))).await;
    assert_eq!((tally.done(), tally.unsent), (1000, 0));
    assert!(tally.percentile_ms(89.0) < 5.0, "{}", tally.percentile_ms(89.0));
    assert_near(tally.percentile_ms(95.0), 500.0);
    assert_near(tally.percentile_ms(99.0), 900.0);
    assert_near(tally.longest_ms(), 1000.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ran_out_of_time_took_at_least_that_long() {
    let stuck: Answer = |at| {
        if at < Duration::from_millis(100) {
            (Duration::from_secs(5), Err(("deadline", "too late".to_owned())))
        } else {
            (Duration::ZERO, Ok(()))
        }
    };
    let server = Server::new(stuck);
    let tally = load(&server, a_hundred_per_second(64, Duration::from_secs(1))).await;
    assert_eq!((tally.done(), tally.failed()), (90, 10));
    assert!(tally.percentile_ms(90.0) < 5.0, "{}", tally.percentile_ms(90.0));
    assert_near(tally.percentile_ms(91.0), 5000.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_is_not_taken_for_a_fast_one() {
    let refuses: Answer = |at| {
        if at < Duration::from_millis(900) {
            (Duration::ZERO, Err(("overloaded", "the mailbox is full".to_owned())))
        } else {
            (Duration::from_millis(50), Ok(()))
        }
    };
    let tally = load(&Server::new(refuses), a_hundred_per_second(64, Duration::from_secs(1))).await;
    assert_eq!((tally.done(), tally.failed()), (10, 90));
    assert_near(tally.percentile_ms(1.0), 50.0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_given_up_are_told_and_count_as_slow() {
    let falls_silent: Answer = |at| {
        let never = at >= Duration::from_millis(500);
        (if never { Duration::from_secs(3600) } else { Duration::ZERO }, Ok(()))
    };
    let server = Server::new(falls_silent);
    let tally = load(&server, a_hundred_per_second(20, Duration::from_secs(1))).await;
    assert_eq!((tally.done(), tally.failed()), (50, 0));
    assert_eq!((tally.given_up, tally.unsent), (20, 30));
    assert!(tally.percentile_ms(50.0) < 5.0, "{}", tally.percentile_ms(50.0));
    assert!(tally.percentile_ms(81.0) > 7000.0, "{}", tally.percentile_ms(81.0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_end_after_the_time_are_done_and_none_of_its_seconds() {
    for (takes, per_second) in [(250, 75.0), (500, 50.0), (3000, 0.0)] {
        let slow: Answer = match takes {
            250 => |_| (Duration::from_millis(250), Ok(())),
            500 => |_| (Duration::from_millis(500), Ok(())),
            _ => |_| (Duration::from_millis(3000), Ok(())),
        };
        let all = a_hundred_per_second(200, Duration::from_secs(1));
        let tally = load(&Server::new(slow), all).await;
        assert_eq!((tally.done(), tally.lasted), (100, Duration::from_secs(1)), "{takes} ms");
        assert!((tally.per_second() - per_second).abs() <= 1.0, "{}", tally.per_second());
        assert_eq!(tally.late() as f64, 100.0 - tally.per_second());
        assert_near(tally.percentile_ms(50.0), f64::from(takes));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_calls_are_given_up_as_well() {
    let server = Server::new(|_| (Duration::from_secs(3600), Ok(())));
    let tally =
        load(&server, Load { rate: None, concurrency: 3, duration: Duration::from_secs(1) }).await;
    assert_eq!((tally.done(), tally.given_up), (0, 3));
    assert_near(tally.longest_ms(), 8000.0);
}
