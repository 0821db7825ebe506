#![allow(clippy::unwrap_used, reason = "tests")]
use sluice_protocol::GtidSet;
use sluice_routing::topology::Instance;
use uuid::Uuid;

use super::*;

const DB1: InstanceId = InstanceId(0);
const DB2: InstanceId = InstanceId(1);

fn set(text: &str) -> Arc<GtidSet> {
    Arc::new(text.replace('s', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap())
}

fn sighting(executed: &str) -> Sighting {
    Sighting {
        asked: Instant::now(),
        server: None,
        writable: true,
        executed: set(executed),
        ceiling: Some(set(executed)),
    }
}

fn topology(epoch: u64, primary: InstanceId) -> Topology {
    let instances: Vec<Instance> =
        [DB1, DB2].map(|id| Instance::unchecked(id, format!("db{id}"), "h:3306")).to_vec();
    Topology { epoch, primary: Some(primary), ..Topology::unknown(instances) }
}

#[test]
fn what_was_seen_before_it_was_the_primary_proves_nothing() {
    let progress = Progress::new(2);
    let (old, new) = (topology(1, DB1), topology(2, DB2));
    progress.follow(&topology(0, DB1), &old, Instant::now());
    progress.note(DB1, sighting("s:1-5"));
    progress.note(DB2, sighting("s:1-4"));
    assert_eq!(progress.of_primary(&old).map(|seen| seen.executed.clone()), Some(set("s:1-5")));
    progress.follow(&old, &new, Instant::now());
    assert_eq!(progress.of_primary(&new), None);
    progress.note(DB2, sighting("s:1-5"));
    assert!(progress.of_primary(&new).is_some());
    progress.note(DB2, Sighting { writable: false, ..sighting("s:1-5") });
    assert_eq!(progress.of_primary(&new), None, "not open yet");
    progress.note(DB2, Sighting { server: Some(Uuid::from_u128(9)), ..sighting("s:1-5") });
    assert_eq!(progress.of_primary(&new), None, "another server");
}

#[test]
fn an_instance_that_lost_something_begins_another_life() {
    let progress = Progress::new(2);
    progress.note(DB1, sighting("s:1-5"));
    progress.note(DB1, sighting("s:1-6"));
    let life = progress.life(DB1);
    progress.note(DB1, sighting("s:1-4"));
    assert_ne!(progress.life(DB1), life);
    let life = progress.life(DB1);
    progress.forget(DB1);
    assert_ne!(progress.life(DB1), life);
    assert_eq!(progress.sighting(DB1), None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_by_the_next_look() {
    let progress = Arc::new(Progress::new(2));
    assert_eq!(progress.pace(DB1, Instant::now()), IDLE);
    let waiter = tokio::spawn({
        let progress = Arc::clone(&progress);
        async move {
            let waiting = progress.begin_wait([DB1].into_iter(), &Arc::default()).unwrap();
            waiting.until(|| progress.sighting(DB1).is_some()).await
        }
    });
    progress.wanted(DB1).await;
    assert_eq!((progress.pace(DB1, Instant::now()), progress.pace(DB2, Instant::now())), (WANTED, IDLE));
    progress.note(DB2, sighting("s:1"));
    progress.note(DB1, sighting("s:1"));
    assert!(waiter.await.unwrap());
    progress.note_write(Instant::now() + Duration::from_millis(5));
    assert_eq!(progress.pace(DB1, Instant::now()), BUSY);
}

#[test]
fn the_number_of_waiters_is_bounded() {
    let progress = Progress::new(1);
    let waiting: Vec<_> =
        (0..MAX_WAITERS).map(|_| progress.begin_wait([DB1].into_iter(), &Arc::default()).unwrap()).collect();
    assert!(progress.begin_wait([DB1].into_iter(), &Arc::default()).is_none());
    drop(waiting);
    assert!(progress.begin_wait([DB1].into_iter(), &Arc::default()).is_some());
}
