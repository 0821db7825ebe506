#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use super::*;

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
