//! The budget: instructions per statement of every script, and whether what was counted keeps within it.
//!
//! It must never judge figures of another compiler or processor: they differ without anybody's doing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How far a count may be from its budget, in percent of the budget.
const TOLERANCE: u64 = 5;

const HOW_TO_WRITE: &str = "make instructions ARGS=--write";

/// Instructions per statement by script, for one compiler and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    built_with: String,
    scripts: BTreeMap<String, u64>,
}

impl Budget {
    pub(crate) fn new(built_with: &str) -> Self {
        Self { built_with: built_with.to_owned(), scripts: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, script: &str, instructions: u64) {
        self.scripts.insert(script.to_owned(), instructions);
    }

    /// Holds what was counted to this budget.
    pub(crate) fn judge(&self, counted: &Self) -> Verdict {
        let table = Verdict::table(self, counted);
        if self.built_with != counted.built_with {
            let [budget, here] = [&self.built_with, &counted.built_with];
            return Verdict::NotComparable(format!(
                "{table}NOT JUDGED: the budget was counted with {budget}; this is {here}. To have it judged here, count \
                 the budget anew at a commit whose figures are good: {HOW_TO_WRITE}"
            ));
        }
        let rows: Vec<_> = names(self, counted).map(|name| Row::of(name, self, counted)).collect();
        let any = |finding| rows.iter().any(|row| row.finding() == finding);
        if any(Finding::TooMany) {
            Verdict::Broken(format!(
                "{table}FAILED: statements take over {TOLERANCE} % more instructions than their budget. Find out why \
                 (CONTRIBUTING, Instructions); if they are worth it, say so in the commit that raises the budget: {HOW_TO_WRITE}"
            ))
        } else if any(Finding::TooFew) {
            Verdict::Broken(format!(
                "{table}FAILED: statements take over {TOLERANCE} % fewer instructions than their budget. Lower it, or what was \
                 won can be lost unseen: {HOW_TO_WRITE}"
            ))
        } else if any(Finding::NoBudget) {
            Verdict::Broken(format!(
                "{table}FAILED: scripts and budget name different things: {HOW_TO_WRITE}"
            ))
        } else {
            Verdict::Kept(table)
        }
    }
}

fn names<'a>(budget: &'a Budget, counted: &'a Budget) -> impl Iterator<Item = &'a str> {
    let only_budgeted = budget.scripts.keys().filter(|name| !counted.scripts.contains_key(*name));
    counted.scripts.keys().chain(only_budgeted).map(String::as_str)
}

/// What came out, with the table that shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything is within the tolerance.
    Kept(String),
    /// Something is not.
    Broken(String),
    /// The budget is for another compiler or target.
    NotComparable(String),
}

impl Verdict {
    /// Whether the test passes.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Kept(_) | Self::NotComparable(_) => true,
            Self::Broken(_) => false,
        }
    }

    /// The figures beside each other.
    pub(crate) fn table(budget: &Budget, counted: &Budget) -> String {
        let mut table =
            format!("{:<46}{:>10}{:>10}{:>9}\n", "instructions per statement", "budget", "counted", "ratio");
        for name in names(budget, counted) {
            table += &Row::of(name, budget, counted).to_string();
        }
        table
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(text) | Self::Broken(text) | Self::NotComparable(text) => f.write_str(text.trim_end()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Within,
    TooMany,
    TooFew,
    /// The script or its budget is missing.
    NoBudget,
}

struct Row<'a> {
    name: &'a str,
    budget: Option<u64>,
    counted: Option<u64>,
}

impl<'a> Row<'a> {
    fn of(name: &'a str, budget: &Budget, counted: &Budget) -> Self {
        Self { name, budget: budget.scripts.get(name).copied(), counted: counted.scripts.get(name).copied() }
    }

    fn finding(&self) -> Finding {
        match (self.budget, self.counted) {
            (Some(budget), Some(counted)) if counted * 100 > budget * (100 + TOLERANCE) => Finding::TooMany,
            (Some(budget), Some(counted)) if counted * 100 < budget * (100 - TOLERANCE) => Finding::TooFew,
            (Some(_), Some(_)) => Finding::Within,
            (None, _) | (_, None) => Finding::NoBudget,
        }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |figure: Option<u64>| figure.map_or("none".to_owned(), |figure| figure.to_string());
        write!(f, "  {:<44}{:>10}{:>10}", self.name, figure(self.budget), figure(self.counted))?;
        if let (Some(budget @ 1..), Some(counted)) = (self.budget, self.counted) {
            let percent = counted * 100 / budget;
            write!(f, "{:>7} %", percent)?;
        }
        let remark = match self.finding() {
            Finding::Within => "",
            Finding::TooMany => "  too many",
            Finding::TooFew => "  fewer",
            Finding::NoBudget => "  no budget",
        };
        writeln!(f, "{remark}")
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Instructions per statement, {TOLERANCE} % tolerance. Written by `{HOW_TO_WRITE}`.")?;
        writeln!(f, "built_with = \"{}\"\n\n[instructions]", self.built_with)?;
        self.scripts.iter().try_for_each(|(name, instructions)| writeln!(f, "\"{name}\" = {instructions}"))
    }
}

/// A line that is not of the form that [`Budget`] writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine(String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget has a line that can't be read, write it with {HOW_TO_WRITE}: {}", self.0)
    }
}

impl std::error::Error for BadLine {}

impl FromStr for Budget {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let mut budget = Self::new("");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        for line in lines {
            let bad = || BadLine(line.to_owned());
            let (name, value) = line.split_once(" = ").ok_or_else(bad)?;
            match name {
                "built_with" => budget.built_with = value.trim_matches('"').to_owned(),
                name => budget.add(name.trim_matches('"'), value.parse().map_err(|_| bad())?),
            }
        }
        Ok(budget)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
    use super::*;

    fn budget(compiler: &str, scripts: &[(&str, u64)]) -> Budget {
        let mut budget = Budget::new(compiler);
        scripts.iter().for_each(|(name, instructions)| budget.add(name, *instructions));
        budget
    }

    #[test]
    fn a_budget_is_read_as_it_was_written() {
        let written = budget("rustc 1.95.0 (a 2026-01-01) for x", &[("point select, text", 3000), ("b", 5)]);
        assert_eq!(written.to_string().parse(), Ok(written));
        assert_eq!("\"a\" = b".parse::<Budget>(), Err(BadLine("\"a\" = b".to_owned())));
    }

    #[test]
    fn both_directions_are_judged_at_the_tolerance() {
        let kept =
            |counted| budget("c", &[("a", 1000), ("b", 7)]).judge(&budget("c", &[("a", counted), ("b", 7)]));
        for (counted, good) in [(949, false), (950, true), (1000, true), (1050, true), (1051, false)] {
            assert_eq!(kept(counted).is_good(), good, "{counted}");
        }
        assert!(kept(1200).to_string().contains("120 %  too many"), "{}", kept(1200));
        assert!(kept(900).to_string().contains("Lower it"));
    }

    #[test]
    fn a_script_without_a_budget_and_a_budget_without_a_script_are_named() {
        let verdict = budget("c", &[("gone", 1)]).judge(&budget("c", &[("new", 1)]));
        assert!(!verdict.is_good());
        assert_eq!(verdict.to_string().matches("no budget").count(), 2);
    }

    #[test]
    fn another_compiler_is_not_judged_and_that_is_said() {
        let verdict = budget("rustc 1", &[("a", 1)]).judge(&budget("rustc 2", &[("a", 100)]));
        assert!(verdict.is_good());
        assert!(
            verdict.to_string().contains("NOT JUDGED: the budget was counted with rustc 1; this is rustc 2")
        );
    }
}
