//! What a client asks of routing for one statement: in a comment, or in a query attribute.
//!
//! Comments of other proxies are understood where they ask for the primary; where they ask for a replica nothing is lost by
//! not listening. A hint in an optimizer hint (`/*+ ... */`) or in an executable comment is none.
//!
//! This file must never make a statement go to a replica that is not proved harmless.

/// How much of a comment is searched; longer ones say it at the start.
const COMMENT_LIMIT: usize = 256;

/// Where a client wants its statement to run. The later one is the stronger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wish {
    /// As the rules say.
    #[default]
    Rules,
    /// On a replica, also if it has not yet executed the session's own writes. Also for reads whose answer differs
    /// between servers.
    Replica,
    /// Where the last statement ran.
    Last,
    /// On the primary.
    Primary,
}

impl Wish {
    /// From the value of `sluice:route=` and of the attribute `sluice.route`: `primary`, `replica`, `last`, or `any` for
    /// what the rules say. Other values are none.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 4] = [
            (b"primary", Self::Primary),
            (b"replica", Self::Replica),
            (b"last", Self::Last),
            (b"any", Self::Rules),
        ];
        known.into_iter().find(|(word, _)| value.eq_ignore_ascii_case(word)).map(|(_, wish)| wish)
    }

    /// The label for people and `sluice explain route`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "any",
            Self::Replica => "replica",
            Self::Last => "last",
            Self::Primary => "primary",
        }
    }

    /// From the inside of a comment, without its marks.
    pub(crate) fn from_comment(comment: &[u8]) -> Self {
        let comment = comment.get(..COMMENT_LIMIT).unwrap_or(comment);
        let mut wish = Self::Rules;
        let mut maxscale = Maxscale::Elsewhere;
        let separates = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b',');
        for (place, word) in comment.split(separates).filter(|word| !word.is_empty()).enumerate() {
            maxscale = maxscale.after(place, word);
            let own = word.split_at_checked(OWN.len()).filter(|(name, _)| name.eq_ignore_ascii_case(OWN));
            let asked = match own {
                Some((_, value)) => Self::from_value(value).unwrap_or_default(),
                None if maxscale == Maxscale::Master => Self::Primary,
                None if FOREIGN.iter().any(|known| word.eq_ignore_ascii_case(known)) => Self::Primary,
                None => Self::Rules,
            };
            wish = wish.max(asked);
        }
        wish
    }
}

/// How our own hint begins.
const OWN: &[u8] = b"sluice:route=";

/// Words of other proxies that ask for the primary: PolarDB, Alibaba and Huawei; TDDL and its relatives; ProxySQL, whose
/// hostgroup 0 is the default one of its users.
const FOREIGN: [&[u8]; 4] = [b"force_master", b"force_primary", b"tddl:master", b"hostgroup=0"];

/// How much of MaxScale's `maxscale [NAME begin|prepare] route to master` has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maxscale {
    Elsewhere,
    Begun,
    Route,
    To,
    Master,
}

impl Maxscale {
    fn after(self, place: usize, word: &[u8]) -> Self {
        let is = |expected: &[u8]| word.eq_ignore_ascii_case(expected);
        match self {
            Self::Elsewhere if place == 0 && is(b"maxscale") => Self::Begun,
            Self::Elsewhere => Self::Elsewhere,
            Self::Begun | Self::Master if is(b"route") => Self::Route,
            Self::Route if is(b"to") => Self::To,
            Self::To if is(b"master") => Self::Master,
            Self::Begun | Self::Route | Self::To | Self::Master => Self::Begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_as_their_proxies_read_them() {
        let cases: [(&str, Wish); 24] = [
            (" sluice:route=primary ", Wish::Primary),
            ("sluice:route=replica", Wish::Replica),
            ("Sluice:Route=LAST", Wish::Last),
            ("sluice:route=any", Wish::Rules),
            ("sluice:route=", Wish::Rules),
            ("sluice:route=primaries", Wish::Rules),
            ("xsluice:route=primary", Wish::Rules),
            ("app=shop,sluice:route=primary", Wish::Primary),
            ("sluice:route=replica sluice:route=primary", Wish::Primary),
            ("sluice:route=primary sluice:route=replica", Wish::Primary),
            (" maxscale route to master", Wish::Primary),
            ("maxscale  Route\tTO master ", Wish::Primary),
            ("maxscale name begin route to master", Wish::Primary),
            ("maxscale route to slave", Wish::Rules),
            ("see maxscale route to master", Wish::Rules),
            ("maxscale route master", Wish::Rules),
            ("FORCE_MASTER", Wish::Primary),
            (" force_master ", Wish::Primary),
            ("no_force_master", Wish::Rules),
            ("TDDL:MASTER", Wish::Primary),
            ("hostgroup=0", Wish::Primary),
            ("create_new_connection=1;hostgroup=0", Wish::Primary),
            ("hostgroup=01", Wish::Rules),
            ("", Wish::Rules),
        ];
        for (comment, expected) in cases {
            assert_eq!(Wish::from_comment(comment.as_bytes()), expected, "{comment}");
        }
        let late = format!("{} sluice:route=primary", "x".repeat(COMMENT_LIMIT));
        assert_eq!(Wish::from_comment(late.as_bytes()), Wish::Rules);
    }
}
