//! Sorted, disjoint, non-adjacent closed intervals of transaction numbers and their arithmetic.
//! Every operation is linear. Never holds an empty or inverted interval.

/// Transaction numbers from `first` to `last`, both included, `1 <= first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The lowest number in it.
    pub first: u64,
    /// The highest number in it.
    pub last: u64,
}

/// Brings intervals in any order into the canonical form.
pub(super) fn normalise(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable();
    intervals.dedup_by(|next, last| join(last, *next));
}

/// Lets `last` take in an interval that begins no earlier than it does; false if they don't touch.
fn join(last: &mut Interval, next: Interval) -> bool {
    let touches = next.first <= last.last.saturating_add(1);
    if touches {
        last.last = last.last.max(next.last);
    }
    touches
}

fn append(into: &mut Vec<Interval>, next: Interval) {
    if !into.last_mut().is_some_and(|last| join(last, next)) {
        into.push(next);
    }
}

pub(super) fn contains(intervals: &[Interval], number: u64) -> bool {
    let after = intervals.partition_point(|i| i.first <= number);
    after.checked_sub(1).and_then(|at| intervals.get(at)).is_some_and(|i| number <= i.last)
}

/// Whether `outer` has everything of `inner`.
pub(super) fn contains_all(outer: &[Interval], inner: &[Interval]) -> bool {
    let mut outer = outer.iter().peekable();
    inner.iter().all(|wanted| {
        while outer.next_if(|o| o.last < wanted.first).is_some() {}
        outer.peek().is_some_and(|o| o.first <= wanted.first && wanted.last <= o.last)
    })
}

pub(super) fn union(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if y.first < x.first => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        let Some(next) = next else { return all };
        append(&mut all, *next);
    }
}

pub(super) fn intersect(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut both = Vec::new();
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let common = Interval { first: x.first.max(y.first), last: x.last.min(y.last) };
        if common.first <= common.last {
            both.push(common);
        }
        if x.last < y.last {
            a.next()
        } else {
            b.next()
        };
    }
    both
}

pub(super) fn subtract(from: &[Interval], what: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut what = what.iter().peekable();
    for whole in from {
        let mut first = whole.first;
        while what.next_if(|w| w.last < first).is_some() {}
        while let Some(w) = what.peek().filter(|w| w.first <= whole.last) {
            if first < w.first {
                left.push(Interval { first, last: w.first - 1 });
            }
            // A hole may reach into the next interval too, so it is only consumed when it ends here.
            first = w.last.saturating_add(1);
            if w.last > whole.last {
                break;
            }
            what.next();
        }
        if first <= whole.last {
            left.push(Interval { first, last: whole.last });
        }
    }
    left
}

/// Adds one number; appending at the end, the common case, touches nothing else.
pub(super) fn insert(intervals: &mut Vec<Interval>, number: u64) {
    let at = intervals.partition_point(|i| i.last < number);
    if intervals.get(at).is_some_and(|i| i.first <= number) {
        return;
    }
    let joins_next = intervals.get(at).is_some_and(|next| next.first == number + 1);
    let previous = at.checked_sub(1).filter(|p| intervals.get(*p).is_some_and(|i| i.last + 1 == number));
    match (previous, joins_next) {
        (Some(previous), true) => {
            let next = intervals.remove(at);
            if let Some(interval) = intervals.get_mut(previous) {
                interval.last = next.last;
            }
        }
        (Some(previous), false) => {
            if let Some(interval) = intervals.get_mut(previous) {
                interval.last = number;
            }
        }
        (None, true) => {
            if let Some(interval) = intervals.get_mut(at) {
                interval.first = number;
            }
        }
        (None, false) => intervals.insert(at, Interval { first: number, last: number }),
    }
}

/// How many numbers there are.
pub(super) fn count(intervals: &[Interval]) -> u64 {
    intervals.iter().fold(0, |sum: u64, i| sum.saturating_add(i.last - i.first + 1))
}
