//! Which Sluice has adopted a cluster, in the words of who made an epoch.
//!
//! One that is killed before it has left a word on any server can't be known to a second one, which then adopts the same
//! primary into the same epoch. When the first is started again, the tag tells it.
//!
//! Never here: what follows from it.

/// Who makes an epoch, with a tag of this adoption behind it.
pub fn tagged(who: &str, tag: u32) -> String {
    format!("{who} ({tag:08x})")
}

/// Whether these were surely written by two adoptions. Words that an older Sluice wrote, or that a server has cut off,
/// have no tag and tell nothing.
pub fn by_another(one: &str, other: &str) -> bool {
    matches!((tag(one), tag(other)), (Some(one), Some(other)) if one != other)
}

fn tag(who: &str) -> Option<u32> {
    let (_, tag) = who.strip_suffix(')')?.rsplit_once(" (")?;
    let hex = tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(tag, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_adoptions_are_told_apart() {
        let (first, second) = (tagged("adopt: first start", 7), tagged("adopt: first start", 8));
        assert!(by_another(&first, &second) && !by_another(&first, &first));
        for untold in ["adopt: first start", "", "adopt: Zoe (ops)", "adopt: x (0000000", "x (+0000008)"] {
            assert!(!by_another(&first, untold), "{untold}");
        }
    }
}
