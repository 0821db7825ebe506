//! Gauges of the cluster's state, set from the published status at each scrape.

use metrics::{describe_gauge, gauge};

use sluice_routing::pin::PinReason;

use super::{AdminState, ConnectionCount, sessions};
use crate::feed::gate::Closed;

/// Declares the gauges with the installed recorder.
pub(super) fn describe() {
    describe_gauge!("sluice_epoch", "Term of the primary; 0 before adoption.");
    describe_gauge!("sluice_primary_known", "1 while there is a primary to send writes to.");
    describe_gauge!("sluice_gate_open_units", "Write statements and transactions under way.");
    describe_gauge!("sluice_gate_held", "Statements waiting at the gate.");
    describe_gauge!("sluice_instance_reachable", "1 if the last observation of the instance succeeded.");
    describe_gauge!("sluice_instance_lag_seconds", "Replication lag of the instance; NaN while unknown.");
    describe_gauge!("sluice_backend_connections", "Connections of this process to the instance, by state.");
    describe_gauge!("sluice_pins", "Sessions that can't move to another instance, by reason.");
    describe_gauge!("sluice_unguarded", "1 while writes go on without an acker.");
    describe_gauge!("sluice_alarms", "Things somebody should know.");
}

/// Sets all gauges from what is published now.
#[allow(clippy::cast_precision_loss, reason = "gauges are floating-point; no count here comes near 2^52")]
pub(super) fn refresh(state: &AdminState) {
    let status = state.status();
    let gate = state.feed.gate();
    let known = state.feed.topology().primary.is_some() && gate.closed() != Some(Closed::NoPrimary);
    gauge!("sluice_epoch").set(status.epoch as f64);
    gauge!("sluice_primary_known").set(f64::from(u8::from(known)));
    gauge!("sluice_gate_open_units").set(gate.open_units() as f64);
    gauge!("sluice_gate_held").set(gate.held() as f64);
    gauge!("sluice_unguarded").set(f64::from(u8::from(status.unguarded.is_some())));
    gauge!("sluice_alarms").set(status.alarms.len() as f64);
    let pinned: Vec<u32> =
        state.feed.registry().all().iter().map(|entry| sessions::pin_bits(entry)).collect();
    for reason in PinReason::ALL {
        let count = pinned.iter().filter(|bits| **bits & 1 << *reason as u32 != 0).count();
        gauge!("sluice_pins", "reason" => reason.as_str()).set(count as f64);
    }
    for instance in &status.instances {
        let labels = [("instance", instance.name.clone())];
        let lag = instance.lag_ms.map_or(f64::NAN, |lag| lag as f64 / 1000.0);
        gauge!("sluice_instance_reachable", &labels).set(f64::from(u8::from(instance.reachable)));
        gauge!("sluice_instance_lag_seconds", &labels).set(lag);
    }
    let topology = state.feed.topology();
    for instance in &status.instances {
        let Some(known) = topology.by_name(&instance.name) else { continue };
        let ConnectionCount { lent, idle } = (state.connections)(known.id);
        for (doing, count) in [("lent", lent), ("idle", idle)] {
            let labels = [("instance", instance.name.clone()), ("state", doing.to_owned())];
            gauge!("sluice_backend_connections", &labels).set(count as f64);
        }
    }
}
