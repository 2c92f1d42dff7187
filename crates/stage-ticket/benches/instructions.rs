//! How many instructions a grant costs the coordinator.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use stage_ticket::coordinator::{Command, Coordinator, Event, NodeId, RequestId};
use stage_ticket::{CategoryId, CategoryName, Limit, Rules, Time, Token};

const TIMES: u64 = 1000;

struct World {
    coordinator: Coordinator,
    commands: Vec<Command>,
    category: CategoryId,
    count: u64,
}

impl World {
    /// One permit.
    fn new() -> Self {
        let name = CategoryName::try_new("bench").unwrap();
        let category = name.id();
        let (mut coordinator, mut commands) = (Coordinator::new(Rules::default(), 1), Vec::new());
        let event = Event::Set { name, limit: Limit::try_new(1).unwrap(), close_after: None };
        coordinator.step(Time::ZERO, event, &mut commands);
        Self { coordinator, commands, category, count: 0 }
    }

    /// The permit is held, and so many wait for it.
    fn contended(waiters: u64) -> (Self, Token) {
        let mut world = Self::new();
        world.request();
        let held = world.granted();
        (0..waiters).for_each(|_| world.request());
        (world, held)
    }

    fn request(&mut self) {
        self.count += 1;
        let request = RequestId { node: NodeId(0), count: self.count };
        let event = Event::Requested { request, category: self.category, waits: true };
        self.coordinator.step(Time(self.count), event, &mut self.commands);
    }

    fn granted(&mut self) -> Token {
        match self.commands.drain(..).next_back() {
            Some(Command::Grant { token, .. }) => token,
            other => panic!("no grant but {other:?}"),
        }
    }

    fn release(&mut self, token: Token) {
        self.coordinator.step(Time(self.count), Event::Released { token }, &mut self.commands);
    }
}

#[library_benchmark]
#[bench::thousand(World::new())]
fn acquire_and_release(mut world: World) -> World {
    for _ in 0..TIMES {
        world.request();
        let token = world.granted();
        world.release(black_box(token));
    }
    world
}

#[library_benchmark]
#[bench::thousand(World::contended(10_000))]
fn queue_and_pass_on((mut world, mut held): (World, Token)) -> World {
    for _ in 0..TIMES {
        world.request();
        world.commands.clear();
        world.release(black_box(held));
        held = world.granted();
    }
    world
}

library_benchmark_group!(name = ticket, benchmarks = [acquire_and_release, queue_and_pass_on]);
main!(library_benchmark_groups = ticket);
