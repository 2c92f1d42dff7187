//! What a read costs while a writer writes as fast as it can, beside the locks one would use instead.
//!
//! One reader, one writer, a map of 100,000 entries. Every way to do it takes turns of 0.4 s;
//! medians of several turns. A slow read is one in a thousand (p99.9), measured with a clock around it.
//! With arguments only the ways that have one of them in their name.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it prints what it measured"
)]

use std::array::from_fn;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::fast::FixedState;
use stage_snapshot::{Map, MapSnapshot, Store, Table};

const ENTRIES: u64 = 100_000;
const TURN: Duration = Duration::from_millis(400);
const TURNS: usize = 9;
/// How many sets of ten keys there are.
const SETS: usize = 10_000;
/// Reads between two looks at the clock.
const BATCH: u64 = 1000;

/// One way to share a map: a read of a key or ten, and a write.
struct Way {
    name: &'static str,
    read: Box<dyn Fn(u64) -> u64>,
    write: Arc<dyn Fn(u64) + Send + Sync>,
}

#[derive(Clone, Copy, Default)]
struct Figures {
    /// Of the median batch, and of all together.
    read_ns: f64,
    mean_ns: f64,
    slow_ns: u64,
    writes_per_s: f64,
}

fn main() {
    println!(
        "{:<35}{:>9}{:>10}{:>6}{:>12}{:>13}{:>11}",
        "", "alone ns", "beside ns", "mean", "p99.9 alone", "p99.9 beside", "writes/s"
    );
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let mut ways = vec![
        map_reader_one(),
        map_one(),
        table_one(),
        locked_one(),
        parking_lot_one(),
        map_reader_ten(),
        map_ten(),
        table_ten(),
        sharded_ten(),
        shards_locked_ten(),
    ];
    ways.retain(|way| asked.is_empty() || asked.iter().any(|part| way.name.contains(part)));
    let mut rows = vec![Vec::new(); ways.len()];
    for _ in 0..TURNS {
        for (way, row) in ways.iter().zip(&mut rows) {
            row.push((measure(way, false), measure(way, true)));
        }
    }
    for (way, row) in ways.iter().zip(&mut rows) {
        let median = |of: fn(&(Figures, Figures)) -> f64| median(row.iter().map(of).collect());
        println!(
            "{:<35}{:>9.0}{:>10.0}{:>6.0}{:>12.0}{:>13.0}{:>11.0}",
            way.name,
            median(|(alone, _)| alone.read_ns),
            median(|(_, beside)| beside.read_ns),
            median(|(_, beside)| beside.mean_ns),
            median(|(alone, _)| alone.slow_ns as f64),
            median(|(_, beside)| beside.slow_ns as f64),
            median(|(_, beside)| beside.writes_per_s),
        );
    }
}

/// Half a turn for the cost, half a turn for the percentile. The cost is that of the median batch of those
/// during which the writer wrote, so that it is not that of a machine that is busy otherwise.
fn measure(way: &Way, beside: bool) -> Figures {
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writer = beside.then(|| {
        let (stop, written, write) =
            (Arc::clone(&stop), Arc::clone(&written), Arc::clone(&way.write));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                write(written.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919) % ENTRIES);
            }
        })
    });
    let (began, mut reads, mut batches) = (Instant::now(), 0, Vec::new());
    while began.elapsed() < TURN / 2 {
        let (before, so_far) = (Instant::now(), written.load(Ordering::Relaxed));
        for _ in 0..BATCH {
            reads += 1;
            black_box((way.read)(spread(reads)));
        }
        let read_ns = before.elapsed().as_nanos() as f64 / BATCH as f64;
        if !beside || written.load(Ordering::Relaxed) > so_far {
            batches.push(read_ns);
        }
    }
    let (read_ns, mean_ns) = (median(batches), began.elapsed().as_nanos() as f64 / reads as f64);
    let mut times = Vec::new();
    while began.elapsed() < TURN {
        for _ in 0..BATCH {
            reads += 1;
            let before = Instant::now();
            black_box((way.read)(spread(reads)));
            times.push(before.elapsed().as_nanos() as u64);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let writes_per_s = written.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    if let Some(writer) = writer {
        writer.join().unwrap();
    }
    times.sort_unstable();
    Figures {
        read_ns,
        mean_ns,
        slow_ns: times.get(times.len() * 999 / 1000).copied().unwrap_or_default(),
        writes_per_s,
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// Visits all keys in no order that a cache could guess.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(2_654_435_761) % ENTRIES
}

fn put(store: &Store<Table<u64, u64>>, key: u64) {
    let write = |old: Option<&Table<u64, u64>>| {
        let mut table = old.cloned().unwrap_or_default();
        table.insert(key, key);
        Ok::<_, Infallible>(Some(table))
    };
    store.update("table", write).unwrap();
}

fn store() -> Arc<Store<Table<u64, u64>>> {
    let store = Arc::new(Store::with_reclaimer().unwrap());
    let table: Table<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    store.update("table", |_| Ok::<_, Infallible>(Some(table.clone()))).unwrap();
    store
}

fn map() -> Arc<Map<u64, u64>> {
    let map = Map::with_reclaimer().unwrap();
    (0..ENTRIES).for_each(|key| _ = map.insert(key, key));
    Arc::new(map)
}

fn map_way(name: &'static str, read: impl Fn(&Map<u64, u64>, u64) -> u64 + 'static) -> Way {
    let map = map();
    let writers = Arc::clone(&map);
    let write = move |key| _ = writers.insert(key, key);
    Way { name, read: Box::new(move |key| read(&map, key)), write: Arc::new(write) }
}

fn map_one() -> Way {
    map_way("Map, snapshot, 1 key", |map, key| *map.snapshot().get(&key).unwrap())
}

fn map_ten() -> Way {
    let sets = sets(&empty_shards());
    map_way("Map, snapshot, 10 keys", move |map, key| sum(&map.snapshot(), &sets, key))
}

/// A reader lives as long as its map.
fn reader_way(
    name: &'static str,
    read: impl Fn(&MapSnapshot<u64, u64>, u64) -> u64 + 'static,
) -> Way {
    let map: &'static Map<u64, u64> = Box::leak(Box::new(Arc::into_inner(map()).unwrap()));
    let reader = RefCell::new(map.reader());
    let read = move |key| read(reader.borrow_mut().newest(), key);
    Way { name, read: Box::new(read), write: Arc::new(|key| _ = map.insert(key, key)) }
}

fn map_reader_one() -> Way {
    reader_way("Map, reader, 1 key", |snapshot, key| *snapshot.get(&key).unwrap())
}

fn map_reader_ten() -> Way {
    let sets = sets(&empty_shards());
    reader_way("Map, reader, 10 keys", move |snapshot, key| sum(snapshot, &sets, key))
}

fn sum(snapshot: &MapSnapshot<u64, u64>, sets: &[[u64; 10]], key: u64) -> u64 {
    sets[key as usize % SETS].iter().map(|key| snapshot.get(key).unwrap()).sum()
}

fn table_one() -> Way {
    let (store, writers) = {
        let store = store();
        (Arc::clone(&store), store)
    };
    let read = move |key| *store.snapshot().get("table").unwrap().get(&key).unwrap();
    let write = move |key| put(&writers, key);
    Way { name: "Table, 1 key", read: Box::new(read), write: Arc::new(write) }
}

fn table_ten() -> Way {
    let (store, writers) = {
        let store = store();
        (Arc::clone(&store), store)
    };
    let sets = sets(&empty_shards());
    let read = move |key: u64| {
        let snapshot = store.snapshot();
        let table = snapshot.get("table").unwrap();
        sets[key as usize % SETS].iter().map(|key| table.get(key).unwrap()).sum()
    };
    let write = move |key| put(&writers, key);
    Way { name: "Table, 10 keys", read: Box::new(read), write: Arc::new(write) }
}

fn locked_one() -> Way {
    let map: HashMap<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    let map = Arc::new(RwLock::new(map));
    let writers = Arc::clone(&map);
    let read = move |key| map.read().unwrap()[&key];
    let write = move |key| {
        writers.write().unwrap().insert(key, key);
    };
    Way { name: "std RwLock<HashMap>, 1 key", read: Box::new(read), write: Arc::new(write) }
}

fn parking_lot_one() -> Way {
    let map: HashMap<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    let map = Arc::new(parking_lot::RwLock::new(map));
    let writers = Arc::clone(&map);
    let read = move |key| map.read()[&key];
    let write = move |key| {
        writers.write().insert(key, key);
    };
    Way { name: "parking_lot RwLock<HashMap>, 1 key", read: Box::new(read), write: Arc::new(write) }
}

/// A consistent read keeps every key's guard until all are read. No two of the keys share a
/// shard: a second guard of one would wait for a writer that waits for the first.
fn sharded_ten() -> Way {
    let map = empty_shards();
    let sets = sets(&map);
    for key in 0..ENTRIES {
        map.insert(key, key);
    }
    let map = Arc::new(map);
    let writers = Arc::clone(&map);
    let read = move |key: u64| {
        let keys = &sets[key as usize % SETS];
        let guards = keys.each_ref().map(|key| map.get(key).unwrap());
        guards.iter().map(|guard| **guard).sum()
    };
    let write = move |key| {
        writers.insert(key, key);
    };
    Way { name: "DashMap, 10 keys held at once", read: Box::new(read), write: Arc::new(write) }
}

/// The same with as many shards as the map has by default: several of the keys share one, so the
/// read locks each shard it needs once, in order, and looks into them by hand.
fn shards_locked_ten() -> Way {
    let map = Arc::new((0..ENTRIES).map(|key| (key, key)).collect::<DashMap<_, _>>());
    let writers = Arc::clone(&map);
    let sets = sets(&empty_shards());
    let read = move |key: u64| {
        let keys = &sets[key as usize % SETS];
        let hashes = keys.each_ref().map(|key| map.hash_usize(key));
        let shards = hashes.map(|hash| map.determine_shard(hash));
        let needed = shards.iter().fold(0u64, |needed, shard| needed | 1 << shard);
        let locked = |shard: usize| (needed >> shard & 1 == 1).then(|| map.shards()[shard].read());
        let guards: [_; 64] = from_fn(locked);
        let look = |n: usize| {
            let entries = guards[shards[n]].as_ref().unwrap();
            let same = |(other, _): &(u64, _)| *other == keys[n];
            let (_, value) = entries.get(hashes[n] as u64, same).unwrap();
            *value.get()
        };
        (0..keys.len()).map(look).sum()
    };
    let write = move |key| {
        writers.insert(key, key);
    };
    Way { name: "DashMap, 10 keys, shards locked", read: Box::new(read), write: Arc::new(write) }
}

/// A map with as many shards as leave ten keys room, and the same placement of keys each time.
fn empty_shards() -> DashMap<u64, u64, FixedState> {
    DashMap::with_hasher_and_shard_amount(FixedState::default(), 64)
}

/// The keys of reads of ten, of distinct shards of `map`, in the order of the shards.
fn sets(map: &DashMap<u64, u64, FixedState>) -> Vec<[u64; 10]> {
    let mut n = 0;
    let mut set = |_| {
        let mut keys = BTreeMap::new();
        while keys.len() < 10 {
            n += 1;
            keys.insert(map.determine_map(&spread(n)), spread(n));
        }
        let mut keys = keys.into_values();
        from_fn(|_| keys.next().unwrap_or_default())
    };
    (0..SETS).map(&mut set).collect()
}
