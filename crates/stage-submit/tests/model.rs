//! The pull scheduler beside a model that is too naive to be wrong: random histories must give
//! the same answers, step by step.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use stage_submit::{
    Cancel, Close, End, Grant, JobId, Limits, Options, Run, Scheduler, Scope, SubmitError,
};

const PER_KEY: usize = 4;
const TOTAL: usize = 12;
const BYTES: u64 = 40;
const TURN: u32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Submit { key: i64, deadline: Option<u64>, bytes: u64 },
    Next,
    Finish { which: usize, again: Option<u64> },
    Cancel { which: usize },
    CancelKey { key: i64 },
    Sleep { millis: u64 },
    Timeout,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0_i64..4;
    let submit = (key(), prop::option::weighted(0.3, 1_u64..20), 0_u64..10);
    prop_oneof![
        6 => submit.prop_map(|(key, deadline, bytes)| Op::Submit { key, deadline, bytes }),
        4 => Just(Op::Next),
        4 => (any::<usize>(), prop::option::weighted(0.3, 0_u64..15))
            .prop_map(|(which, again)| Op::Finish { which, again }),
        2 => any::<usize>().prop_map(|which| Op::Cancel { which }),
        1 => (1_i64..4).prop_map(|key| Op::CancelKey { key }),
        2 => (1_u64..10).prop_map(|millis| Op::Sleep { millis }),
        2 => Just(Op::Timeout),
    ]
}

/// One job, wherever it is.
#[derive(Clone, Debug)]
struct Job {
    key: i64,
    bytes: u64,
    deadline: Option<u64>,
}

/// The rules, said with lists: `at` is milliseconds, jobs are numbers in order of submission.
#[derive(Debug, Default)]
struct Naive {
    at: u64,
    jobs: BTreeMap<u32, Job>,
    queues: BTreeMap<i64, Vec<u32>>,
    paused: Vec<(u64, i64, u32)>,
    /// Running jobs, with the runs of their turn so far.
    running: Vec<(u32, u32)>,
    condemned: BTreeSet<u32>,
    ring: VecDeque<(i64, u32)>,
    turns: BTreeSet<i64>,
    expired: Vec<u32>,
    closed: bool,
}

impl Naive {
    fn submit(&mut self, number: u32, job: Job) -> Result<(), SubmitError> {
        let full =
            |scope, depth: u64, limit: u64| Err(SubmitError::QueueFull { scope, depth, limit });
        let bytes: u64 = self.jobs.values().map(|job| job.bytes).sum();
        if self.closed {
            return Err(SubmitError::Closed);
        }
        if self.jobs.len() >= TOTAL {
            return full(Scope::Total, self.jobs.len() as u64, TOTAL as u64);
        }
        if bytes + job.bytes > BYTES && job.bytes > 0 {
            return full(Scope::Bytes, bytes, BYTES);
        }
        let of_key = self.jobs.values().filter(|other| other.key == job.key).count();
        if job.key != 0 && of_key >= PER_KEY {
            return full(Scope::Key, of_key as u64, PER_KEY as u64);
        }
        self.enqueue(number, job.key);
        self.jobs.insert(number, job);
        Ok(())
    }

    fn enqueue(&mut self, number: u32, key: i64) {
        if key == 0 {
            self.ring.push_back((0, number));
            return;
        }
        self.queues.entry(key).or_default().push(number);
        if self.turns.insert(key) {
            self.ring.push_back((key, 0));
        }
    }

    fn next(&mut self) -> Option<u32> {
        while let Some((key, number)) = self.ring.pop_front() {
            let granted = if key == 0 { self.start(number, 0) } else { self.take(key, 0) };
            if granted.is_some() {
                return granted;
            }
        }
        None
    }

    fn take(&mut self, key: i64, runs: u32) -> Option<u32> {
        while let Some(queue) = self.queues.get_mut(&key).filter(|queue| !queue.is_empty()) {
            let number = queue.remove(0);
            if let Some(number) = self.start(number, runs) {
                return Some(number);
            }
        }
        self.turns.remove(&key);
        None
    }

    fn start(&mut self, number: u32, runs: u32) -> Option<u32> {
        let job = self.jobs.get(&number)?;
        if job.deadline.is_some_and(|deadline| deadline <= self.at) {
            self.jobs.remove(&number);
            self.expired.push(number);
            return None;
        }
        self.running.push((number, runs));
        Some(number)
    }

    fn finish(&mut self, index: usize, again: Option<u64>) -> Option<u32> {
        let (number, runs) = self.running.remove(index);
        let condemned = self.condemned.remove(&number) || self.closed;
        let job = self.jobs.get_mut(&number).unwrap();
        let key = job.key;
        match again.filter(|_| !condemned) {
            Some(pause) => {
                job.deadline = None;
                self.paused.push((self.at + pause, key, number));
            }
            None => drop(self.jobs.remove(&number)),
        }
        if key == 0 {
            return None;
        }
        if runs + 1 < TURN {
            return self.take(key, runs + 1);
        }
        if self.queues.get(&key).is_some_and(|queue| !queue.is_empty()) {
            self.ring.push_back((key, 0));
        } else {
            self.turns.remove(&key);
        }
        None
    }

    /// The job if it was taken out, else whether it runs.
    fn cancel(&mut self, number: u32) -> Result<(), bool> {
        if self.running.iter().any(|(running, _)| *running == number) {
            self.condemned.insert(number);
            return Err(true);
        }
        let job = self.jobs.remove(&number).ok_or(false)?;
        self.paused.retain(|(.., paused)| *paused != number);
        self.queues.entry(job.key).or_default().retain(|queued| *queued != number);
        Ok(())
    }

    fn of_key(&self, key: i64) -> Vec<u32> {
        let of_key = self.jobs.iter().filter(|(_, job)| job.key == key);
        of_key.map(|(number, _)| *number).collect()
    }

    fn timeout(&mut self) {
        self.paused.sort_unstable();
        // Jobs of key 0 have their own timers, which are looked at last.
        for free in [false, true] {
            let due = |(at, key, _): &(u64, i64, u32)| *at <= self.at && (*key == 0) == free;
            let woken: Vec<_> = self.paused.iter().copied().filter(due).collect();
            self.paused.retain(|paused| !woken.contains(paused));
            for (_, key, number) in woken {
                self.enqueue(number, key);
            }
        }
        let queued: Vec<u32> = self.queues.values().flatten().copied().collect();
        for number in queued {
            if self.jobs[&number].deadline.is_some_and(|deadline| deadline <= self.at) {
                self.expired.push(number);
                self.cancel(number).unwrap();
            }
        }
    }
}

/// The real scheduler and the model, driven together.
struct Both {
    began: Instant,
    real: Scheduler<u32>,
    naive: Naive,
    ids: Vec<JobId>,
    runs: Vec<(u32, Run)>,
    submitted: u32,
}

impl Both {
    fn new() -> Self {
        let limits =
            Limits::default().per_key(PER_KEY).total(TOTAL).bytes(BYTES).turn(TURN, Duration::MAX);
        Self {
            began: Instant::now(),
            real: Scheduler::new(limits),
            naive: Naive::default(),
            ids: Vec::new(),
            runs: Vec::new(),
            submitted: 0,
        }
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.naive.at)
    }

    fn granted(&mut self, real: Option<Grant<u32>>, naive: Option<u32>) {
        assert_eq!(real.as_ref().map(|grant| grant.job), naive);
        if let Some(Grant { job, run, .. }) = real {
            self.runs.push((job, run));
        }
    }

    fn step(&mut self, op: &Op) {
        let now = self.now();
        match *op {
            Op::Submit { key, deadline, bytes } => {
                let number = self.submitted;
                let deadline = deadline.map(|millis| self.naive.at + millis);
                let mut options = Options::new().bytes(bytes);
                if let Some(at) = deadline {
                    options = options.deadline(self.began + Duration::from_millis(at));
                }
                let naive = self.naive.submit(number, Job { key, bytes, deadline });
                match self.real.submit(now, key, options, number) {
                    Ok(id) => {
                        assert_eq!(naive, Ok(()));
                        self.ids.push(id);
                        self.submitted += 1;
                    }
                    Err((error, job)) => assert_eq!((Err(error), job), (naive, number)),
                }
            }
            Op::Next => {
                let (real, naive) = (self.real.next(now), self.naive.next());
                self.granted(real, naive);
            }
            Op::Finish { which, again } if !self.runs.is_empty() => {
                let index = which % self.runs.len();
                let (job, run) = self.runs.remove(index);
                assert_eq!(self.real.is_cancelled(&run), self.naive.condemned.contains(&job));
                let naive = self.naive.finish(index, again);
                let end = again
                    .map_or(End::Done, |millis| End::Again(job, Duration::from_millis(millis)));
                let real = self.real.finish(now, run, end);
                self.granted(real, naive);
            }
            Op::Cancel { which } if !self.ids.is_empty() => {
                let number = which % self.ids.len();
                let real = self.real.cancel(&self.ids[number]);
                let number = u32::try_from(number).unwrap();
                let naive = match self.naive.cancel(number) {
                    Ok(()) => Cancel::Removed(number),
                    Err(true) => Cancel::Running,
                    Err(false) => Cancel::Gone,
                };
                assert_eq!(real, naive);
            }
            Op::CancelKey { key } => {
                let (real, running) = self.real.cancel_key(key);
                let numbers = self.naive.of_key(key);
                let outcomes: Vec<_> =
                    numbers.iter().map(|number| (self.naive.cancel(*number), *number)).collect();
                let removed = outcomes.iter().filter(|(outcome, _)| outcome.is_ok());
                assert_eq!(real, removed.map(|(_, number)| *number).collect::<Vec<_>>());
                assert_eq!(running, outcomes.iter().any(|(outcome, _)| outcome.is_err()));
            }
            Op::Sleep { millis } => self.naive.at += millis,
            Op::Timeout => {
                self.real.handle_timeout(now);
                self.naive.timeout();
            }
            Op::Finish { .. } | Op::Cancel { .. } => {}
        }
        self.check();
    }

    fn check(&mut self) {
        let mut expired: Vec<_> = self.real.take_expired().into_iter().map(|(_, n)| n).collect();
        expired.sort_unstable();
        self.naive.expired.sort_unstable();
        assert_eq!(expired, std::mem::take(&mut self.naive.expired));
        assert_eq!(self.real.depth(), self.naive.jobs.len() as u64);
        let mut keys: Vec<_> = self.runs.iter().map(|(_, run)| run.id().key().clone()).collect();
        keys.retain(|key| !key.is_unlimited());
        let running = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), running, "two jobs of a key run at once");
    }

    /// Lets everything come to an end; nothing may be left behind.
    fn drain(mut self) {
        let ended = self.real.close(Close::Drain);
        self.naive.closed = true;
        let mut paused: Vec<_> = self.naive.paused.drain(..).map(|(.., number)| number).collect();
        let (mut ended_sorted, count) = (ended.clone(), ended.len());
        ended_sorted.sort_unstable();
        paused.sort_unstable();
        assert_eq!(ended_sorted, paused);
        assert_eq!(count, paused.len());
        for number in paused {
            self.naive.jobs.remove(&number);
        }
        self.step(&Op::Submit { key: 1, deadline: None, bytes: 0 });
        while self.real.depth() > 0 {
            self.step(&Op::Next);
            self.step(&Op::Finish { which: 0, again: Some(1) });
        }
        self.step(&Op::Next);
        assert_eq!((self.real.keys(), self.real.next_timer()), (0, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_history_is_what_the_naive_model_says(ops in prop::collection::vec(op(), 1..120)) {
        let mut both = Both::new();
        for op in &ops {
            both.step(op);
        }
        both.drain();
    }
}

#[test]
fn a_key_with_a_million_jobs_delays_another_by_one_budget_per_worker() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(Limits::default().per_key(2_000_000).total(2_000_000));
    for _ in 0..1_000_000 {
        scheduler.submit(now, 1, Options::new(), "hot").unwrap();
    }
    let mut first = scheduler.next(now).unwrap();
    scheduler.submit(now, 2, Options::new(), "other").unwrap();
    let mut hot = 1;
    loop {
        match scheduler.finish(now, first.run, End::Done).or_else(|| scheduler.next(now)) {
            Some(Grant { job: "other", .. }) => break,
            Some(grant) => first = grant,
            None => unreachable!("a million jobs wait"),
        }
        hot += 1;
    }
    assert_eq!(hot, Limits::default().turn_jobs);
}

#[test]
fn an_abort_gives_back_what_does_not_run_and_forgets_the_timers() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(Limits::default());
    let late = Options::new().deadline(now + Duration::from_secs(1));
    for job in 0..4 {
        scheduler.submit(now, job % 2, late, job).unwrap();
    }
    let runs: Vec<_> = (0..2).map(|_| scheduler.next(now).unwrap().run).collect();
    let mut given_back = scheduler.close(Close::Abort);
    given_back.sort_unstable();
    assert_eq!((given_back, scheduler.next_timer()), (vec![2, 3], None));
    for run in runs {
        assert!(scheduler.is_cancelled(&run));
        assert!(scheduler.finish(now, run, End::Again(9, Duration::ZERO)).is_none());
    }
    assert_eq!((scheduler.depth(), scheduler.keys()), (0, 0));
}

/// How much there is to say of all that a scheduler holds.
fn held(scheduler: &Scheduler<i32>) -> usize {
    format!("{scheduler:?}").len()
}

#[test]
fn cancelled_jobs_do_not_pile_up_behind_a_long_one() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(Limits::default());
    scheduler.submit(now, 1, Options::new(), 0).unwrap();
    let _long = scheduler.next(now).unwrap();
    let keeper = scheduler.submit(now, 1, Options::new(), 1).unwrap();
    for number in 2..100_000 {
        let id = scheduler.submit(now, 1, Options::new(), number).unwrap();
        assert_eq!(scheduler.cancel(&id), Cancel::Removed(number));
    }
    assert!(held(&scheduler) < 10_000, "{} characters", held(&scheduler));
    assert_eq!(scheduler.cancel(&keeper), Cancel::Removed(1));
    assert_eq!(scheduler.depth(), 1);
}

#[test]
fn keys_whose_jobs_left_before_a_worker_came_do_not_pile_up() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(Limits::default());
    scheduler.submit(now, -1, Options::new(), 0).unwrap();
    let soon = Options::new().deadline(now + Duration::from_millis(1));
    for number in 1..30_000 {
        let id = scheduler.submit(now, 3 * i64::from(number), Options::new(), number).unwrap();
        assert_eq!(scheduler.cancel(&id), Cancel::Removed(number));
        scheduler.submit(now, 3 * i64::from(number) + 1, Options::new(), number).unwrap();
        assert_eq!(scheduler.cancel_key(3 * i64::from(number) + 1), (vec![number], false));
        scheduler.submit(now, 3 * i64::from(number) + 2, soon, number).unwrap();
        scheduler.handle_timeout(now + Duration::from_millis(1));
        assert_eq!(scheduler.take_expired().len(), 1);
    }
    assert!(scheduler.keys() < 100, "{} keys", scheduler.keys());
    assert!(held(&scheduler) < 100_000, "{} characters", held(&scheduler));
    let first = scheduler.next(now).unwrap();
    assert_eq!((first.job, scheduler.depth()), (0, 1));
    assert!(scheduler.finish(now, first.run, End::Done).is_none());
    assert!(scheduler.next(now).is_none());
    assert_eq!(scheduler.keys(), 0);
}

#[test]
fn threads_that_pull_never_run_two_jobs_of_a_key() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    let shared = Arc::new((Mutex::new(Scheduler::new(Limits::default())), Condvar::new()));
    let busy: Arc<[AtomicUsize; 3]> = Arc::default();
    let ran = Arc::new(AtomicUsize::new(0));
    let worker = || {
        let (shared, busy, ran) = (Arc::clone(&shared), Arc::clone(&busy), Arc::clone(&ran));
        std::thread::spawn(move || {
            let (scheduler, ready) = &*shared;
            let mut next = None;
            loop {
                let mut guard = scheduler.lock().unwrap();
                if let Some(run) = next.take() {
                    next = guard.finish(Instant::now(), run, End::Done).map(|grant| grant.run);
                }
                while next.is_none() {
                    next = guard.next(Instant::now()).map(|grant: Grant<()>| grant.run);
                    if next.is_none() && guard.depth() == 0 {
                        ready.notify_all();
                        return;
                    }
                    if next.is_none() {
                        guard = ready.wait_timeout(guard, Duration::from_millis(1)).unwrap().0;
                    }
                }
                drop(guard);
                let run = next.take().unwrap();
                let id = run.id();
                let key = (1..4).position(|key| *id.key() == key.into()).unwrap();
                assert_eq!(busy[key].fetch_add(1, Ordering::SeqCst), 0);
                ran.fetch_add(1, Ordering::SeqCst);
                assert_eq!(busy[key].fetch_sub(1, Ordering::SeqCst), 1);
                next = Some(run);
            }
        })
    };
    for number in 0..3000 {
        shared
            .0
            .lock()
            .unwrap()
            .submit(Instant::now(), number % 3 + 1, Options::new(), ())
            .unwrap();
    }
    let workers: Vec<_> = (0..3).map(|_| worker()).collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(ran.load(Ordering::SeqCst), 3000);
}
