//! The set type: intervals per (uuid, tag). Never keeps a key without transactions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use uuid::Uuid;

use super::intervals::{self, Interval};
use super::{Gtid, Tag};

/// Untagged sorts before tagged, as servers print them.
pub(super) type Key = (Uuid, Option<Tag>);

/// A set of transactions. `Display` prints it on one line in the server's canonical order; `{:#}` breaks
/// the line after each uuid, exactly as `@@gtid_executed` is printed by servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    members: BTreeMap<Key, Vec<Interval>>,
}

impl GtidSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes intervals in any order and form.
    pub(super) fn from_unsorted(mut members: BTreeMap<Key, Vec<Interval>>) -> Self {
        members.values_mut().for_each(intervals::normalise);
        members.retain(|_, i| !i.is_empty());
        Self { members }
    }

    /// Whether there is no transaction in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many transactions are in it; `u64::MAX` if more than that.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.members.values().fold(0, |sum: u64, i| sum.saturating_add(intervals::count(i)))
    }

    /// Every interval with its uuid and tag, in canonical order.
    pub fn intervals(&self) -> impl Iterator<Item = (Uuid, Option<Tag>, Interval)> + '_ {
        self.members.iter().flat_map(|((uuid, tag), all)| all.iter().map(move |i| (*uuid, *tag, *i)))
    }

    /// The transactions that were first committed under this uuid, whatever their tag.
    #[must_use]
    pub fn of(&self, uuid: Uuid) -> Self {
        let members = self.members.iter().filter(|((u, _), _)| *u == uuid);
        Self { members: members.map(|(k, v)| (*k, v.clone())).collect() }
    }

    /// Whether the transaction is in the set.
    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.of_key(&(gtid.uuid, gtid.tag)).is_some_and(|i| intervals::contains(i, gtid.number))
    }

    /// Whether every transaction of `other` is in this set (so `other` is a subset, or equal).
    #[must_use]
    pub fn contains_set(&self, other: &Self) -> bool {
        other
            .members
            .iter()
            .all(|(key, inner)| self.of_key(key).is_some_and(|outer| intervals::contains_all(outer, inner)))
    }

    /// Adds one transaction.
    pub fn insert(&mut self, gtid: &Gtid) {
        intervals::insert(self.members.entry((gtid.uuid, gtid.tag)).or_default(), gtid.number);
    }

    /// Adds every transaction of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (key, added) in &other.members {
            match self.members.entry(*key) {
                Entry::Vacant(free) => {
                    free.insert(added.clone());
                }
                Entry::Occupied(mut own) => {
                    let all = intervals::union(own.get(), added);
                    own.insert(all);
                }
            }
        }
    }

    /// Adds every transaction of `later`, and with them the numbers between the highest one that was here and
    /// theirs: a high-water mark, one interval per uuid and tag however many transactions are noted.
    pub fn raise(&mut self, later: &Self) {
        for (key, added) in &later.members {
            let Entry::Occupied(mut own) = self.members.entry(*key) else {
                self.members.insert(*key, added.clone());
                continue;
            };
            let (highest, next) = (own.get().last().map(|i| i.last), added.last().map(|i| i.last));
            let mut all = intervals::union(own.get(), added);
            if let (Some(highest), Some(next)) = (highest, next)
                && highest < next
            {
                all = intervals::union(&all, &[Interval { first: highest, last: next }]);
            }
            own.insert(all);
        }
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.extend(other);
        all
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.map(|key, own| match other.of_key(key) {
            Some(theirs) => intervals::intersect(own, theirs),
            None => Vec::new(),
        })
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        self.map(|key, own| match other.of_key(key) {
            Some(theirs) => intervals::subtract(own, theirs),
            None => own.to_vec(),
        })
    }

    fn of_key(&self, key: &Key) -> Option<&[Interval]> {
        self.members.get(key).map(Vec::as_slice)
    }

    fn map(&self, change: impl Fn(&Key, &[Interval]) -> Vec<Interval>) -> Self {
        let changed = self.members.iter().map(|(key, own)| (*key, change(key, own)));
        Self { members: changed.filter(|(_, i)| !i.is_empty()).collect() }
    }
}

impl From<Gtid> for GtidSet {
    fn from(gtid: Gtid) -> Self {
        let mut set = Self::new();
        set.insert(&gtid);
        set
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if f.alternate() { ",\n" } else { "," };
        let mut previous = None;
        for ((uuid, tag), all) in &self.members {
            if previous != Some(uuid) {
                if previous.is_some() {
                    f.write_str(between)?;
                }
                write!(f, "{uuid}")?;
                previous = Some(uuid);
            }
            if let Some(tag) = tag {
                write!(f, ":{tag}")?;
            }
            for Interval { first, last } in all {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}
