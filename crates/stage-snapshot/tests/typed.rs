//! A store whose names have types of their own.

use std::convert::Infallible;

use stage_snapshot::{Any, Name, Store, Table};

const COUNT: Name<u32> = Name::new("count");
const NAMES: Name<Table<u32, &str>> = Name::new("names");

/// Adds a name to the table and one to the count.
fn add(store: &Store<Any>, name: &'static str) {
    let added = store.transaction(|tx| {
        let count = tx.read(&COUNT).copied().unwrap_or(0);
        let mut names = tx.read(&NAMES).cloned().unwrap_or_default();
        names.insert(count, name);
        tx.write(&COUNT, count + 1);
        tx.write(&NAMES, names);
        Ok::<_, Infallible>(())
    });
    assert!(added.is_ok());
}

#[test]
fn a_number_and_a_table_are_read_as_of_one_version() {
    let store = Store::new();
    add(&store, "ada");
    let before = store.snapshot();
    add(&store, "bob");
    let after = store.snapshot();
    for (snapshot, count) in [(&before, 1), (&after, 2)] {
        assert_eq!(snapshot.read(&COUNT), Some(&count));
        assert_eq!(snapshot.read(&NAMES).map(Table::len), Some(count as usize));
    }
}

#[test]
fn a_name_of_another_type_reads_as_nothing_and_can_be_written_over() {
    let store = Store::new();
    let word = Name::<String>::known_as("count".to_owned());
    add(&store, "ada");
    assert_eq!(store.snapshot().read(&word), None);
    let seen = store.replace(&word, |value| Ok::<_, Infallible>(format!("{value:?}")));
    assert_eq!(seen, Ok(2));
    assert_eq!(store.snapshot().read(&word).map(String::as_str), Some("None"));
    assert_eq!(store.snapshot().read(&COUNT), None);
}

#[test]
fn an_update_by_type_that_fails_changes_nothing() {
    let store = Store::new();
    assert_eq!(store.replace(&COUNT, |count| Err::<u32, _>(count.copied())), Err(None));
    assert_eq!(store.replace(&COUNT, |_| Ok::<_, Infallible>(3)), Ok(1));
    assert_eq!(store.replace(&COUNT, |count| Err::<u32, _>(count.copied())), Err(Some(3)));
    assert_eq!(store.snapshot().number(), 1);
}
