//! The ways to share a map of 100,000 entries: reads of one key or of ten, and a writer's write.

use std::array::from_fn;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, RwLock};

use dashmap::DashMap;
use foldhash::fast::FixedState;
use stage_snapshot::{Map, MapSnapshot, Store, Table};

pub(crate) const ENTRIES: u64 = 100_000;

/// How many sets of ten keys there are.
const SETS: usize = 10_000;

/// One way to do it.
pub(crate) struct Way {
    pub(crate) read: Box<dyn Fn(u64) -> u64>,
    pub(crate) write: Arc<dyn Fn(u64) + Send + Sync>,
}

/// How one is made, and what it is called.
pub(crate) struct Kind {
    /// What a read reads.
    pub(crate) keys: &'static str,
    pub(crate) by: &'static str,
    pub(crate) make: fn() -> Way,
}

const fn kind(keys: &'static str, by: &'static str, make: fn() -> Way) -> Kind {
    Kind { keys, by, make }
}

const ONE: &str = "one key";
const TEN: &str = "ten keys at once";

/// `stage` is a reader, a handle that a thread keeps.
pub(crate) const ALL: [Kind; 10] = [
    kind(ONE, "stage", map_reader_one),
    kind(ONE, "stage, a snapshot for each", map_one),
    kind(ONE, "stage, a Store of a Table", table_one),
    kind(ONE, "RwLock<HashMap>", locked_one),
    kind(ONE, "parking_lot's RwLock<HashMap>", parking_lot_one),
    kind(TEN, "stage", map_reader_ten),
    kind(TEN, "stage, a snapshot for each", map_ten),
    kind(TEN, "stage, a Store of a Table", table_ten),
    kind(TEN, "DashMap, a guard for each key", sharded_ten),
    kind(TEN, "DashMap", shards_locked_ten),
];

/// Visits all keys in no order that a cache could guess.
pub(crate) fn spread(n: u64) -> u64 {
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

fn map_way(read: impl Fn(&Map<u64, u64>, u64) -> u64 + 'static) -> Way {
    let map = map();
    let writers = Arc::clone(&map);
    let write = move |key| _ = writers.insert(key, key);
    Way { read: Box::new(move |key| read(&map, key)), write: Arc::new(write) }
}

fn map_one() -> Way {
    map_way(|map, key| *map.snapshot().get(&key).unwrap())
}

fn map_ten() -> Way {
    let sets = sets(&empty_shards());
    map_way(move |map, key| sum(&map.snapshot(), &sets, key))
}

/// A reader lives as long as its map.
fn reader_way(read: impl Fn(&MapSnapshot<u64, u64>, u64) -> u64 + 'static) -> Way {
    let map: &'static Map<u64, u64> = Box::leak(Box::new(Arc::into_inner(map()).unwrap()));
    let reader = RefCell::new(map.reader());
    let read = move |key| read(reader.borrow_mut().newest(), key);
    Way { read: Box::new(read), write: Arc::new(|key| _ = map.insert(key, key)) }
}

fn map_reader_one() -> Way {
    reader_way(|snapshot, key| *snapshot.get(&key).unwrap())
}

fn map_reader_ten() -> Way {
    let sets = sets(&empty_shards());
    reader_way(move |snapshot, key| sum(snapshot, &sets, key))
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
    Way { read: Box::new(read), write: Arc::new(write) }
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
    Way { read: Box::new(read), write: Arc::new(write) }
}

fn locked_one() -> Way {
    let map: HashMap<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    let map = Arc::new(RwLock::new(map));
    let writers = Arc::clone(&map);
    let read = move |key| map.read().unwrap()[&key];
    let write = move |key| {
        writers.write().unwrap().insert(key, key);
    };
    Way { read: Box::new(read), write: Arc::new(write) }
}

fn parking_lot_one() -> Way {
    let map: HashMap<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    let map = Arc::new(parking_lot::RwLock::new(map));
    let writers = Arc::clone(&map);
    let read = move |key| map.read()[&key];
    let write = move |key| {
        writers.write().insert(key, key);
    };
    Way { read: Box::new(read), write: Arc::new(write) }
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
    Way { read: Box::new(read), write: Arc::new(write) }
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
    Way { read: Box::new(read), write: Arc::new(write) }
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
