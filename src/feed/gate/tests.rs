#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_holds_and_opening_lets_go() {
    let gate = Arc::new(Gate::new(2));
    let mut writer = gate.seat(0);
    writer.enter().unwrap();
    gate.close(Closed::Switchover);
    let mut late = gate.seat(1);
    assert_eq!(late.enter(), Err(MustHold));
    assert!(!gate.drained(Instant::now() + Duration::from_millis(10)).await);
    writer.leave();
    assert!(gate.drained(soon()).await);
    let (end, ()) = tokio::join!(late.hold(Duration::from_secs(10)), async {
        tokio::task::yield_now().await;
        assert_eq!(gate.held(), 1);
        gate.open().await;
    });
    assert_eq!(end, HoldEnd::Released);
    assert_eq!(late.enter(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_at_the_limit() {
    let gate = Arc::new(Gate::new(1));
    gate.close(Closed::NoPrimary);
    assert_eq!(gate.seat(0).hold(Duration::from_secs(10)).await, HoldEnd::Expired);
    // Later statements fail at once until there is a primary.
    let before = Instant::now();
    assert_eq!(gate.seat(0).hold(Duration::from_secs(10)).await, HoldEnd::Expired);
    assert_eq!(Instant::now(), before);
}

#[tokio::test(start_paused = true)]
async fn a_pin_keeps_the_gate_from_being_drained_until_it_ends() {
    let gate = Arc::new(Gate::new(1));
    let mut seat = gate.seat(0);
    seat.pin();
    gate.close(Closed::Switchover);
    assert!(!gate.drained(Instant::now() + Duration::from_millis(1)).await);
    let waiter = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.drained(soon()).await }
    });
    tokio::task::yield_now().await;
    drop(seat);
    assert!(waiter.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_begins_while_pinned_is_waited_for_beyond_the_pin() {
    let gate = Arc::new(Gate::new(1));
    let mut seat = gate.seat(0);
    seat.pin();
    gate.close(Closed::Switchover);
    seat.stay();
    seat.stay();
    seat.unpin();
    assert!(!gate.drained(Instant::now() + Duration::from_millis(1)).await);
    seat.leave();
    assert!(gate.drained(soon()).await);
    assert_eq!(gate.open_units(), 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_batch_is_released() {
    let gate = Arc::new(Gate::new(1));
    gate.close(Closed::Switchover);
    let holders: Vec<_> = (0..RAMP_BATCH * 3)
        .map(|_| {
            let mut seat = gate.seat(0);
            tokio::spawn(async move { seat.hold(Duration::from_secs(10)).await })
        })
        .collect();
    while gate.held() < RAMP_BATCH * 3 {
        tokio::task::yield_now().await;
    }
    gate.open().await;
    for holder in holders {
        assert_eq!(holder.await.unwrap(), HoldEnd::Released);
    }
}

/// Enters, waiting at the gate as often as need be.
async fn begin(seat: &mut Seat) {
    while seat.enter().is_err() {
        assert_eq!(seat.hold(Duration::from_secs(10)).await, HoldEnd::Released);
    }
}

#[tokio::test(start_paused = true)]
async fn a_narrow_gate_lets_in_one_for_each_that_leaves() {
    let gate = Arc::new(Gate::new(2));
    let mut before = gate.seat(0);
    before.enter().unwrap();
    gate.narrow(2);
    let [mut first, mut second, mut third] = [gate.seat(0), gate.seat(1), gate.seat(0)];
    first.enter().unwrap();
    second.enter().unwrap();
    assert_eq!(third.enter(), Err(MustHold));
    assert_eq!(gate.open_units(), 3);
    let waiting = tokio::spawn(async move {
        begin(&mut third).await;
        third
    });
    tokio::task::yield_now().await;
    before.leave();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "what was under way before held no pass");
    second.leave();
    let _third = waiting.await.unwrap();
    assert_eq!(gate.open_units(), 2);
    assert_eq!(second.enter(), Err(MustHold));
}

#[tokio::test(start_paused = true)]
async fn a_narrower_gate_takes_passes_in_and_a_wider_one_gives_them_out_again() {
    let gate = Arc::new(Gate::new(1));
    gate.narrow(3);
    let mut seats = [gate.seat(0), gate.seat(0), gate.seat(0)];
    seats.iter_mut().for_each(|seat| seat.enter().unwrap());
    gate.narrow(1);
    seats.iter_mut().for_each(Seat::leave);
    seats[0].enter().unwrap();
    assert_eq!(seats[1].enter(), Err(MustHold));
    gate.narrow(2);
    seats[1].enter().unwrap();
    assert_eq!(seats[2].enter(), Err(MustHold));
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_narrow_gate_keeps_the_place_when_it_closes() {
    let gate = Arc::new(Gate::new(1));
    gate.narrow(1);
    let mut inside = gate.seat(0);
    inside.enter().unwrap();
    let mut waiting = gate.seat(0);
    let waiter = tokio::spawn(async move {
        begin(&mut waiting).await;
        waiting
    });
    tokio::task::yield_now().await;
    gate.close(Closed::Switchover);
    inside.leave();
    assert!(gate.drained(soon()).await, "a pass that comes back lets nobody into a closed gate");
    // Longer than the patience at a narrow gate.
    tokio::time::advance(LONGEST_NARROW_WAIT * 4).await;
    tokio::task::yield_now().await;
    assert_eq!((gate.open_units(), gate.held()), (0, 1));
    gate.open().await;
    let _waiting = waiter.await.unwrap();
    assert_eq!(gate.open_units(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_thinks_in_its_transaction_does_not_keep_others_out_for_long() {
    let gate = Arc::new(Gate::new(1));
    gate.narrow(1);
    let mut thinking = gate.seat(0);
    thinking.enter().unwrap();
    let before = Instant::now();
    begin(&mut gate.seat(0)).await;
    assert_eq!(Instant::now() - before, LONGEST_NARROW_WAIT);
}
