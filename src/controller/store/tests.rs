#![allow(clippy::unwrap_used)]
use super::*;
use crate::controller::record::Guarantee;
use uuid::Uuid;

fn record(version: u64) -> Record {
    Record {
        version,
        cluster: "shop".into(),
        epoch: 1,
        primary: Uuid::from_u128(1),
        primary_name: String::new(),
        ackers: vec![],
        wait_count: 0,
        guarantee: Guarantee::None,
        operation: None,
        who: "adopt".into(),
        marks: vec![],
        promotions: vec![],
        rebuild: None,
        deposed: vec![],
        pause: None,
        window: None,
    }
}

#[test]
fn a_record_is_in_force_only_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), None);
    let prepared = store.prepare(record(1), None).unwrap();
    assert_eq!(store.load().unwrap(), None);
    store.commit(prepared).unwrap();
    assert_eq!(store.load().unwrap(), Some(record(1)));
    drop(store);
    assert_eq!(Store::open(&path).unwrap().load().unwrap(), Some(record(1)));
}

#[test]
fn a_change_by_somebody_else_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.commit(store.prepare(record(5), None).unwrap()).unwrap();
    let stale = store.prepare(record(5), Some(4)).unwrap();
    assert!(matches!(store.commit(stale), Err(StoreError::Changed { found: 5, expected: 4 })));
    assert_eq!(store.load().unwrap(), Some(record(5)));
}

#[test]
fn a_store_is_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))));
}

#[test]
fn the_folder_is_private_and_remembers() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    store.remember(&"one").unwrap();
    store.remember(&"two").unwrap();
    assert_eq!(fs::read_to_string(path.join(HISTORY)).unwrap(), "\"one\"\n\"two\"\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, FOLDER_MODE);
}

#[test]
fn garbage_is_said_to_be_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    fs::write(folder.path().join(RECORD), "{").unwrap();
    assert!(matches!(store.load(), Err(StoreError::Unreadable { .. })));
}

#[test]
fn the_floor_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.floor().unwrap(), None);
    let floor = |committed: &str| Floor {
        primary: Uuid::from_u128(1),
        committed: committed.into(),
        unacknowledged: Some(3),
    };
    store.keep_floor(&floor("a:1-5")).unwrap();
    // As a crash in the middle of the next one leaves it.
    fs::write(folder.path().join("floor.json.new"), "{\"primary\":").unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.floor().unwrap(), Some(floor("a:1-5")));
    store.keep_floor(&floor("a:1-9")).unwrap();
    assert_eq!(store.floor().unwrap(), Some(floor("a:1-9")));
    fs::write(folder.path().join("floor.json"), "{").unwrap();
    assert!(matches!(store.floor(), Err(StoreError::Unreadable { .. })));
}
