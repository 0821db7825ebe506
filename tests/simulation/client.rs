//! Simulated clients: they go through the published topology and the gate as sessions do, and keep to what
//! sessions promise.

use std::sync::Arc;
use std::time::Duration;

use sluice::controller::{Rows, SqlError};
use sluice::feed::Feed;
use sluice::feed::gate::HoldEnd;
use sluice_protocol::GtidSet;
use sluice_routing::topology::InstanceId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::ledger::Outcome;
use crate::server::{Who, address};
use crate::sluice::Connection;
use crate::world::Shared;

/// `[switchover] hold`
const HOLD: Duration = Duration::from_secs(10);
/// A dial gives up after this.
const DIAL: Duration = Duration::from_secs(2);
/// How long a session waits until a late commit is seen at the ackers.
const LONGEST_DOUBT: Duration = Duration::from_secs(10);

/// Writes for ever, with pauses up to `pace`.
pub(crate) async fn write_for_ever(world: Shared, feed: Arc<Feed>, reshaped: Arc<Notify>, pace: Duration) {
    let mut connection: Option<(InstanceId, Connection)> = None;
    let mut seat = feed.gate().seat(0);
    loop {
        let pause = world.lock().random.between(0, u64::try_from(pace.as_micros()).unwrap());
        sleep(Duration::from_micros(pause)).await;
        let write = world.lock().ledger.begin();
        let outcome = loop {
            match seat.enter() {
                Ok(()) => break try_once(&world, (&feed, &reshaped), &mut connection, write).await,
                Err(_) => {
                    if seat.hold(HOLD).await == HoldEnd::Expired {
                        break Outcome::Failed;
                    }
                }
            }
        };
        seat.leave();
        let mut locked = world.lock();
        locked.ledger.told(write, outcome);
        locked.note(|| format!("client: write {write} {outcome:?}"));
    }
}

/// A program that goes to the first server without Sluice, and writes there whenever that takes writes.
pub(crate) async fn write_directly_for_ever(world: Shared, pace: Duration) {
    let (host, port) = address(0);
    loop {
        let Ok(Ok(connection)) =
            timeout(DIAL, Connection::open(&world, &format!("{host}:{port}"), Who::Client)).await
        else {
            sleep(DIAL).await;
            continue;
        };
        loop {
            let pause = world.lock().random.between(0, u64::try_from(pace.as_micros()).unwrap());
            sleep(Duration::from_micros(pause)).await;
            let write = world.lock().ledger.begin();
            let outcome = match connection.write(write).await {
                // No Sluice can keep a stopping server from saying OK to who asks it directly; that may be long on its way.
                Ok(Ok(_)) if !connection.is_to_who_runs() => Outcome::Unknown,
                Ok(Ok(_)) => Outcome::Acknowledged,
                Ok(Err(SqlError::Server { .. })) => Outcome::Failed,
                Ok(Err(_)) | Err(_) => Outcome::Unknown,
            };
            let mut locked = world.lock();
            locked.ledger.told(write, outcome);
            locked.note(|| format!("direct client: write {write} {outcome:?}"));
            if outcome == Outcome::Unknown {
                break;
            }
        }
    }
}

async fn try_once(
    world: &Shared,
    (feed, reshaped): (&Arc<Feed>, &Notify),
    connection: &mut Option<(InstanceId, Connection)>,
    write: usize,
) -> Outcome {
    let Some((primary, address)) = feed.topology().primary().map(|one| (one.id, one.address.to_string()))
    else {
        return Outcome::Failed;
    };
    if connection.as_ref().is_none_or(|(to, _)| *to != primary) {
        *connection = None;
        match timeout(DIAL, Connection::open(world, &address, Who::Client)).await {
            Ok(Ok(opened)) => *connection = Some((primary, opened)),
            Ok(Err(_)) | Err(_) => return Outcome::Failed,
        }
    }
    let Some((_, opened)) = connection.as_ref() else { return Outcome::Failed };
    let sent = Instant::now();
    let answered = while_owned(feed, reshaped, primary, opened.write(write)).await.and_then(Result::ok);
    let outcome = match answered {
        Some(Ok(rows)) if !feed.is_disowned(primary) => {
            match timeout(LONGEST_DOUBT, while_owned(feed, reshaped, primary, seen(feed, sent, &rows))).await
            {
                Ok(Some(())) => Outcome::Acknowledged,
                Ok(None) | Err(_) => Outcome::Unknown,
            }
        }
        Some(Err(SqlError::Server { .. })) => Outcome::Failed,
        Some(Ok(_) | Err(_)) | None => Outcome::Unknown,
    };
    if outcome == Outcome::Unknown {
        *connection = None;
    }
    outcome
}

/// What comes of it, unless the primary is disowned before.
async fn while_owned<T>(
    feed: &Feed,
    reshaped: &Notify,
    primary: InstanceId,
    what: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(what);
    loop {
        let news = reshaped.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        if feed.is_disowned(primary) {
            return None;
        }
        tokio::select! {
            biased;
            come = &mut what => return Some(come),
            () = news => {}
        }
    }
}

/// As a session does with an OK that came late, or from a primary in doubt.
async fn seen(feed: &Feed, sent: Instant, rows: &Rows) {
    let gtid = rows.first().and_then(|row| row.first().cloned().flatten());
    let Some(Ok(written)) = gtid.map(|gtid| gtid.parse::<GtidSet>()) else { return };
    if feed.receipts().must_be_seen(sent.elapsed()) {
        feed.receipts().seen(&written, sent.into_std(), Instant::now().into_std()).await;
    }
}
