#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use sluice_protocol::Capabilities;
use sluice_protocol::auth::{Password, PasswordHash};

use super::*;
use crate::backend::{BackendLogin, Identities};

const HERE: InstanceId = InstanceId(0);

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn place(places: &Arc<Places>) -> Permit {
    match places.acquire(HERE, None, soon()).await {
        Ok(Grant::Place(permit)) => permit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_the_order_of_asking() {
    let places = Places::new(1, 1);
    let first = place(&places).await;
    assert!(places.try_acquire(HERE).is_none());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..3 {
        let (places, order) = (Arc::clone(&places), Arc::clone(&order));
        let before = places.waiting(HERE);
        waiting.push(tokio::spawn({
            let places = Arc::clone(&places);
            async move {
                let permit = place(&places).await;
                order.lock().unwrap().push(number);
                drop(permit);
            }
        }));
        while places.waiting(HERE) == before {
            tokio::task::yield_now().await;
        }
    }
    assert!(places.try_acquire(HERE).is_none(), "nobody overtakes the queue");
    drop(first);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    assert_eq!((places.used(HERE), places.waiting(HERE)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_leaves_is_no_more_in_the_queue() {
    let places = Places::new(1, 1);
    let first = place(&places).await;
    assert!(matches!(places.acquire(HERE, None, Instant::now() + Duration::from_secs(1)).await, Err(Busy)));
    let leaving = tokio::time::timeout(Duration::from_millis(10), places.acquire(HERE, None, soon())).await;
    assert!(leaving.is_err());
    assert_eq!((places.used(HERE), places.waiting(HERE)), (1, 0));
    drop(first);
    assert_eq!(places.used(HERE), 0);
    drop(place(&places).await);
    assert_eq!(places.used(HERE), 0);
    assert!(matches!(places.acquire(InstanceId(7), None, soon()).await, Err(Busy)), "no such instance");
}

/// What a session at this worker wants, of one account.
fn wanted(worker: usize) -> Wanted {
    let password = PasswordHash::of(&Password::new(b"x".to_vec()));
    let login = BackendLogin {
        user: (*b"app").into(),
        secret: None,
        identity: Some(Identities::default().of(b"app", &password)),
        database: None,
        collation: 45,
        client_capabilities: Capabilities::empty(),
        attributes: Box::default(),
    };
    Wanted { key: Key::wanted(HERE, &login).unwrap(), worker }
}

/// The worker of who gets an idle connection of worker 0, when one at worker 1 waits for `long` and one at 0 just came.
async fn who_gets(long: Duration) -> usize {
    let places = Places::new(1, 1);
    let _taken = place(&places).await;
    let far = places.queue(HERE, Some(wanted(1))).unwrap();
    tokio::time::advance(long).await;
    let near = places.queue(HERE, Some(wanted(0))).unwrap();
    assert_eq!(places.offer(HERE, Tag::at(0), |_| true), Offered::Taken);
    let mut got = [near, far].map(|mut waiting| waiting.granted.try_recv().is_ok());
    assert_eq!(got.iter().filter(|got| **got).count(), 1);
    got.iter_mut().position(|got| *got).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_at_its_worker_unless_another_waits_for_long() {
    assert_eq!(who_gets(Duration::ZERO).await, 0);
    assert_eq!(who_gets(NEAR_FIRST / 2).await, 0);
    assert_eq!(who_gets(NEAR_FIRST).await, 1);
}

#[tokio::test(start_paused = true)]
async fn who_can_not_use_a_connection_does_not_keep_it_from_the_first() {
    let places = Places::new(1, 1);
    let _taken = place(&places).await;
    let mut far = places.queue(HERE, Some(wanted(1))).unwrap();
    let mut near = places.queue(HERE, Some(wanted(0))).unwrap();
    assert_eq!(places.offer(HERE, Tag::at(0), |wanted| wanted.worker == 1), Offered::Taken);
    assert!(far.granted.try_recv().is_ok() && near.granted.try_recv().is_err());
    assert_eq!(places.offer(HERE, Tag::at(1), |_| false), Offered::DoesNotFit);
    drop(near);
    assert_eq!(places.offer(HERE, Tag::at(0), |_| true), Offered::NobodyWaits);
}
