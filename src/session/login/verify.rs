//! Lets a server decide about a login, by logging in there. The connection is the session's first.
//!
//! Never here: the client's side of the exchange.

use std::time::Duration;

use sluice_routing::decide::Listener;
use sluice_routing::topology::{Reads, ReadsStopped, Topology};
use tokio::time::{Instant, timeout_at};

use super::LoginContext;
use crate::backend::{BackendConnection, BackendLogin, DialError, Target};

/// How long one instance may take. A frozen primary must not use up the client's patience before a replica
/// is asked; a full login with the slowest hash takes 40 ms.
const ONE_INSTANCE: Duration = Duration::from_secs(3);
/// How long all of them together may take; drivers wait 10 s by default.
const ALL_INSTANCES: Duration = Duration::from_secs(8);

/// 1053: the server is being shut down.
const SHUTTING_DOWN: u16 = 1053;
/// 3032: the server is in offline mode.
const OFFLINE_MODE: u16 = 3032;

/// Logs in at the instance the session needs most, or at another if that can't be reached.
pub(super) async fn verify(
    context: &LoginContext,
    login: &BackendLogin,
    listener: Listener,
) -> Result<BackendConnection, DialError> {
    let end = Instant::now() + ALL_INSTANCES;
    let mut last = DialError::UnknownInstance;
    for target in known(context, listener, end).await {
        let deadline = end.min(Instant::now() + ONE_INSTANCE);
        last = match context.prove(target, login, deadline).await {
            Ok(connection) => return Ok(connection),
            Err(error) if another_may_do(&error) => error,
            Err(error) => return Err(error),
        };
    }
    Err(last)
}

/// The deadline of a login at one instance that begins now.
pub(super) fn deadline() -> Instant {
    Instant::now() + ONE_INSTANCE
}

/// As [`known`], for one who asks by himself.
pub(super) async fn targets(context: &LoginContext, listener: Listener) -> Vec<Target> {
    known(context, listener, Instant::now() + ALL_INSTANCES).await
}

/// Whom to ask. Just after start, while nothing is known of the instances, waits until something is.
async fn known(context: &LoginContext, listener: Listener, end: Instant) -> Vec<Target> {
    let mut shape = context.feed.shape_changes();
    loop {
        let targets = candidates(&context.feed.topology(), listener, context.settings().replica_fallback);
        if !targets.is_empty() || !matches!(timeout_at(end, shape.changed()).await, Ok(Ok(()))) {
            return targets;
        }
    }
}

/// Whether the error is about this instance and not about the login.
fn another_may_do(error: &DialError) -> bool {
    match error {
        DialError::Server(refusal) => matches!(refusal.code, SHUTTING_DOWN | OFFLINE_MODE),
        DialError::Resolve(_)
        | DialError::Refused
        | DialError::Network { .. }
        | DialError::Deadline { .. }
        | DialError::WrongServer { .. } => true,
        DialError::Busy
        | DialError::Tls(_)
        | DialError::Protocol(_)
        | DialError::AsksClient(_)
        | DialError::NoSecret
        | DialError::UnknownInstance => false,
    }
}

/// Whom to ask, in this order.
fn candidates(topology: &Topology, listener: Listener, replica_fallback: bool) -> Vec<Target> {
    let primary = topology.primary().into_iter();
    let serving = topology.serving_replicas();
    // Not good enough for reads, but its accounts are those of the cluster.
    let others = topology.instances.iter().filter(|instance| match instance.reads {
        Reads::Stopped(ReadsStopped::Lagging | ReadsStopped::Draining | ReadsStopped::NotReplicating) => {
            !topology.is_primary(instance.id)
        }
        Reads::Stopped(
            ReadsStopped::NotYetChecked
            | ReadsStopped::Unreachable
            | ReadsStopped::Maintenance
            | ReadsStopped::Quarantined
            | ReadsStopped::Rebuilding
            | ReadsStopped::WrongServer
            | ReadsStopped::Writable,
        )
        | Reads::Serving => false,
    });
    match listener {
        Listener::Split | Listener::Primary => primary.chain(serving).chain(others).map(Target::of).collect(),
        Listener::Replica if replica_fallback => {
            serving.chain(primary).chain(others).map(Target::of).collect()
        }
        Listener::Replica => serving.chain(others).map(Target::of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_routing::topology::{Instance, InstanceId};

    use super::*;

    fn ids(listener: Listener, primary: Option<u16>) -> Vec<u16> {
        let stopped = [
            Reads::Stopped(ReadsStopped::Lagging),
            Reads::Serving,
            Reads::Stopped(ReadsStopped::Quarantined),
            Reads::Stopped(ReadsStopped::Writable),
        ];
        let instances: Vec<_> = (0..)
            .zip(stopped)
            .map(|(id, reads)| Instance { reads, ..Instance::unchecked(InstanceId(id), "db", "h:1") })
            .collect();
        let topology = Topology { primary: primary.map(InstanceId), ..Topology::unknown(instances) };
        candidates(&topology, listener, true).iter().map(|target| target.instance.0).collect()
    }

    #[test]
    fn the_primary_is_asked_first_except_for_replica_reads() {
        assert_eq!(ids(Listener::Split, Some(3)), [3, 1, 0]);
        assert_eq!(ids(Listener::Primary, None), [1, 0]);
        assert_eq!(ids(Listener::Replica, Some(3)), [1, 3, 0]);
        assert_eq!(ids(Listener::Primary, Some(0)), [0, 1]);
    }
}
