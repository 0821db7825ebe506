//! `[durability]`: how many acknowledgements a commit needs, and what writes do while nobody can give one.

use std::time::Duration;

use super::rules::DurabilityDraft;
use super::section::Section;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// A longer one would be no exception any more.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `[durability]`
#[derive(Clone, Copy, Debug)]
pub struct Durability {
    /// Acknowledgements a commit needs; `None`: auto.
    pub acks: Option<u16>,
    /// What happens to writes when no acker is left.
    pub without_acker: WithoutAcker,
}

/// `[durability] without_acker`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutAcker {
    /// Writes wait.
    #[default]
    Stall,
    /// Writes go on for a time; recorded as a window without guarantee.
    Continue(Allowance),
}

impl WithoutAcker {
    /// As in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Continue(_) => "continue",
        }
    }

    /// How writes may go on without an acker; `None`: they may not.
    pub const fn allowance(self) -> Option<Allowance> {
        match self {
            Self::Stall => None,
            Self::Continue(allowance) => Some(allowance),
        }
    }
}

/// How writes may go on without an acker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `continue_after`: so long the primary has to have been without any acker.
    pub after: Duration,
    /// `continue_for`: then they wait again.
    pub longest: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { after: 30 * SECOND, longest: HOUR }
    }
}

pub(super) fn read(section: Section<'_>) -> DurabilityDraft {
    let unset = Allowance::default();
    let words = [("stall", Some(WithoutAcker::Stall)), ("continue", Some(WithoutAcker::Continue(unset)))];
    let acks = section.number_or_auto("acks");
    let chosen = section.text("without_acker").is_some();
    let without_acker = match section.choice("without_acker", &words, WithoutAcker::Stall) {
        WithoutAcker::Stall => {
            for key in ["continue_after", "continue_for"] {
                if let Some(given) = section.text(key) {
                    section.bad(key, given.line, "has no effect unless without_acker is \"continue\"");
                }
            }
            WithoutAcker::Stall
        }
        WithoutAcker::Continue(unset) => WithoutAcker::Continue(Allowance {
            after: section.duration("continue_after", SECOND..=HOUR, unset.after),
            longest: section.duration("continue_for", 10 * SECOND..=LONGEST, unset.longest),
        }),
    };
    let draft = DurabilityDraft {
        line: section.line(),
        acks_line: acks.as_ref().map(|acks| acks.line),
        without_acker_chosen: chosen,
        value: Durability { acks: acks.map(|acks| acks.value), without_acker },
    };
    section.finish();
    draft
}
