//! Which Sluice a connection id belongs to.
//!
//! Several Sluices behind one address give out ids that differ: a KILL that reaches another one must not hit a stranger's
//! session. An id has a bit that no server's thread id reaches soon, the slot of its Sluice, and a count.
//!
//! Never here: the name of this machine (it is an argument).

/// Client-visible connection ids have this bit set, so that a `KILL` can tell them from the thread ids of a
/// server, which count up from 1.
pub const CONNECTION_ID_BASE: u32 = 0x4000_0000;
/// Bits that count sessions: four million ids before they come again.
const COUNT_BITS: u32 = 22;

/// The id of the session with this count.
pub(super) fn connection_id(slot: u8, count: u32) -> u32 {
    CONNECTION_ID_BASE | u32::from(slot) << COUNT_BITS | count & ((1 << COUNT_BITS) - 1)
}

/// The slot in an id; `None` for one that no Sluice gave out.
pub fn slot_of(id: u64) -> Option<u8> {
    let ours = u64::from(CONNECTION_ID_BASE);
    (id & !(ours - 1) == ours).then(|| u8::try_from(id >> COUNT_BITS & 0xff).unwrap_or_default())
}

/// A slot for a machine of this name: the number of a numbered one (`sluice-2`), otherwise drawn from the name.
pub fn slot_of_host(name: &str) -> u8 {
    let number = name.rsplit_once('-').and_then(|(_, number)| number.parse::<u8>().ok());
    // FNV-1a, folded.
    let hash =
        || name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    number.unwrap_or_else(|| hash().to_le_bytes().into_iter().fold(0, |folded, byte| folded ^ byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_slot() {
        for slot in [0, 1, 7, 255] {
            for count in [0, 1, u32::MAX] {
                let id = connection_id(slot, count);
                assert_eq!(slot_of(u64::from(id)), Some(slot), "{id:#x}");
                assert!(id < 1 << 31);
            }
        }
        for id in [0, 5, 0x3fff_ffff, 0x8000_0000, 0xc000_0001, 1 << 40 | 0x4000_0000, u64::MAX] {
            assert_eq!(slot_of(id), None, "{id:#x}");
        }
    }

    #[test]
    fn machines_have_slots() {
        assert_eq!((slot_of_host("sluice-0"), slot_of_host("sluice-12")), (0, 12));
        assert_ne!(slot_of_host("sluice-a"), slot_of_host("sluice-b"));
        assert_eq!(slot_of_host("db-300"), slot_of_host("db-300"));
    }
}
