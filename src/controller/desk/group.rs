//! What the configuration says of the instances, by place, and a desk for other ones.
//!
//! Never here: whether a member can be spared.

use std::sync::Arc;

use super::super::adopt::Policy;
use super::super::control_session::{Servers, Target, host_and_port};
use super::super::instance_operations::{AllOperations, InstanceOperations};
use super::super::plan::Address;
use super::Desk;
use crate::config::{Config, Instance, Promotion, Standing};

impl Desk {
    /// A desk for the instances of `config`. It shares everything that changes with this one, which whoever began with
    /// it may keep.
    pub(in crate::controller) fn regrouped(&self, config: Arc<Config>, servers: &Arc<dyn Servers>) -> Self {
        self.board.grow(&config);
        self.observers.regroup(&config);
        Self {
            policy: policy(&config),
            promotion: promotion(&config),
            zones: zones(&config),
            replication_addresses: replication_addresses(&config),
            addresses: addresses(&config),
            operations: operations(&config, servers, &self.operations),
            board: Arc::clone(&self.board),
            observers: Arc::clone(&self.observers),
            publisher: Arc::clone(&self.publisher),
            bench: Arc::clone(&self.bench),
            hooks: Arc::clone(&self.hooks),
            store: Arc::clone(&self.store),
            seat: Arc::clone(&self.seat),
            state: Arc::clone(&self.state),
            config,
        }
    }
}

pub(super) fn policy(config: &Config) -> Policy {
    let may_ack = |instance: &Instance| instance.acker && instance.standing == Standing::Member;
    Policy {
        may_ack: config.instances.iter().map(may_ack).collect(),
        wait_count: config.durability.wait_count(config.members().count()),
    }
}

pub(super) fn promotion(config: &Config) -> Vec<Promotion> {
    config.instances.iter().map(|instance| instance.promotion).collect()
}

pub(super) fn zones(config: &Config) -> Vec<Option<Arc<str>>> {
    config.instances.iter().map(|instance| instance.zone.clone()).collect()
}

pub(super) fn replication_addresses(config: &Config) -> Vec<Address> {
    let reach = |instance: &Instance| {
        host_and_port(instance.replication_address.as_ref().unwrap_or(&instance.address))
    };
    config.instances.iter().map(reach).collect()
}

pub(super) fn addresses(config: &Config) -> Vec<Arc<str>> {
    config.instances.iter().map(|instance| Arc::clone(&instance.address)).collect()
}

/// Those that are there already keep their sessions: an address never changes.
pub(super) fn operations(
    config: &Config,
    servers: &Arc<dyn Servers>,
    known: &[Arc<InstanceOperations>],
) -> AllOperations {
    let new = config.instances.iter().skip(known.len());
    let new = new.map(|instance| Arc::new(InstanceOperations::new(Target::control(servers, instance))));
    known.iter().map(Arc::clone).chain(new).collect()
}
