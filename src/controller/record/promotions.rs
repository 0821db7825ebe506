//! Promotion rules that somebody set at run time, in place of those of the configuration.
//!
//! Never here: what follows from a rule.

use serde::{Deserialize, Serialize};

use super::{Record, circumstances};
use crate::config::Promotion;

/// A promotion rule in place of the configured one.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct PromotionRule {
    /// Instance name.
    pub name: String,
    /// Whether it may become the primary.
    pub promotion: Promotion,
    /// Who set it.
    pub who: String,
    /// For people.
    pub reason: Option<String>,
    /// Seconds since 1970 at which it ends by itself.
    pub until: Option<u64>,
}

impl PromotionRule {
    /// For people.
    pub fn describe(&self) -> String {
        let more = circumstances(self.reason.as_deref(), &self.who, self.until);
        format!("{}: {more}", self.promotion.as_str())
    }
}

impl Record {
    /// The rule that somebody set for an instance.
    pub fn promotion_rule(&self, name: &str) -> Option<&PromotionRule> {
        self.promotions.iter().find(|rule| rule.name == name)
    }

    /// Whether an instance may become the primary; `configured` is what the configuration says.
    pub fn promotion(&self, name: &str, configured: Promotion) -> Promotion {
        self.promotion_rule(name).map_or(configured, |rule| rule.promotion)
    }

    /// Why an instance with the rule `must-not` does not become the primary.
    pub fn must_not(&self, name: &str) -> String {
        self.promotion_rule(name).map_or_else(
            || "promotion = \"must-not\"".to_owned(),
            |rule| format!("promotion {}", rule.describe()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::pictures::record;

    #[test]
    fn a_rule_wins_over_the_configuration_until_it_ends() {
        let mut record = record(3);
        assert_eq!(record.promotion("db2", Promotion::Prefer), Promotion::Prefer);
        record.promotions.push(PromotionRule {
            name: "db2".into(),
            promotion: Promotion::MustNot,
            who: "ann".into(),
            reason: Some("slow disk".into()),
            until: Some(60),
        });
        assert_eq!(record.promotion("db2", Promotion::Prefer), Promotion::MustNot);
        assert_eq!(record.promotion("db3", Promotion::Neutral), Promotion::Neutral);
        let words = "promotion must-not: slow disk, by ann, until 1970-01-01T00:01:00Z";
        assert_eq!(record.must_not("db2"), words);
        assert!(!record.expire(59) && record.expire(60) && record.promotions.is_empty());
    }
}
