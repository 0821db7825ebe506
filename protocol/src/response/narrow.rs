//! Makes OK packets what this client is to see, in place: the result is never longer than what came.
//! Never touches a packet that may pass as it is.

use crate::ok_packet::{EOF_LEN, EofPacket, OkKind, OkLayout, OkPacket, OkSummary};
use crate::trackers::{Mark, Tracker};
use crate::{Capabilities, Malformed, Reader, StatusFlags, TrackerFilter, WireAppend};

/// For whom a response is.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) capabilities: Capabilities,
    pub(super) filter: TrackerFilter,
}

impl Client {
    pub(super) fn deprecates_eof(&self) -> bool {
        self.capabilities.contains(Capabilities::DEPRECATE_EOF)
    }

    /// Edits the payload of an OK packet and says how many bytes of it are left, and what it told originally.
    pub(super) fn narrow(&mut self, payload: &mut [u8]) -> Result<(OkSummary, usize), Malformed> {
        let (ok, layout) = OkPacket::parse_with_layout(payload)?;
        let summary = ok.to_summary()?;
        if ok.kind == OkKind::ResultEnd && !self.deprecates_eof() {
            let status = ok.status - StatusFlags::SESSION_STATE_CHANGED;
            let eof = EofPacket { warnings: ok.warnings, status }.to_bytes();
            overwrite(payload, 0, &eof);
            return Ok((summary, EOF_LEN));
        }
        if !ok.status.contains(StatusFlags::SESSION_STATE_CHANGED) {
            return Ok((summary, payload.len()));
        }
        let (block, info_is_empty) = (ok.session_changes.len(), ok.info.is_empty());
        let mark = self.filter.mark(ok.session_changes)?;
        let kept = self.kept_length(ok.session_changes, mark)?;
        let unmarked = ok.status - StatusFlags::SESSION_STATE_CHANGED;
        if let Some(letters) = told_instead(mark) {
            rewrite_state(payload, layout, letters)?;
        }
        let says_another = mark == Mark::Another && self.capabilities.contains(Capabilities::SESSION_TRACK);
        // A server that turns a tracker on may mark a packet and say nothing (seen on 9.7.4).
        let as_it_is = self.filter.shows_all() && self.capabilities.contains(Capabilities::SESSION_TRACK);
        let left = if kept == 0 && !says_another && !as_it_is {
            overwrite(payload, layout.status, &unmarked.bits().to_le_bytes());
            if info_is_empty { layout.info } else { layout.changes }
        } else if kept == block {
            payload.len()
        } else {
            self.compact(payload, layout, kept, mark)?
        };
        Ok((summary, left))
    }

    /// How many bytes of a block of trackers this client is to see.
    fn kept_length(&self, block: &[u8], mark: Mark) -> Result<usize, Malformed> {
        let mut kept = 0;
        if self.capabilities.contains(Capabilities::SESSION_TRACK) {
            let mut reader = Reader::new(block);
            while !reader.is_empty() {
                let before = reader.remaining();
                if self.filter.passes(&Tracker::read(&mut reader)?, mark) {
                    kept += before - reader.remaining();
                }
            }
        }
        Ok(kept)
    }

    /// Moves the trackers that pass to the front of the block; everything only ever moves towards the beginning.
    fn compact(
        &self,
        payload: &mut [u8],
        layout: OkLayout,
        kept: usize,
        mark: Mark,
    ) -> Result<usize, Malformed> {
        let mut prefix = Vec::with_capacity(9);
        prefix.push_lenenc_int(kept as u64);
        let mut to = layout.changes + prefix.len();
        let mut block = Reader::new(payload.get(layout.changes..).unwrap_or_default());
        let block_length = block.lenenc_bytes()?.len();
        let end = payload.len() - block.remaining();
        let mut from = end - block_length;
        while from < end {
            let mut reader = Reader::new(payload.get(from..end).unwrap_or_default());
            let passes = self.filter.passes(&Tracker::read(&mut reader)?, mark);
            let next = end - reader.remaining();
            if passes {
                payload.copy_within(from..next, to);
                to += next - from;
            }
            from = next;
        }
        overwrite(payload, layout.changes, &prefix);
        Ok(to)
    }
}

/// The letters of a state as a client is told them that is told marks only: nothing of what was done yet. That the
/// transaction began with a snapshot stays: `T_R_____`.
fn told_instead(mark: Mark) -> Option<&'static [u8; 8]> {
    match mark {
        Mark::Began => Some(b"T_______"),
        Mark::Ended => Some(b"________"),
        Mark::Nothing | Mark::Another => None,
    }
}

/// Puts other letters into the transaction state among the trackers.
fn rewrite_state(payload: &mut [u8], layout: OkLayout, letters: &[u8; 8]) -> Result<(), Malformed> {
    let mut block = Reader::new(payload.get(layout.changes..).unwrap_or_default());
    let block_length = block.lenenc_bytes()?.len();
    let end = payload.len() - block.remaining();
    let mut from = end - block_length;
    while from < end {
        let mut reader = Reader::new(payload.get(from..end).unwrap_or_default());
        let tracker = Tracker::read(&mut reader)?;
        let next = end - reader.remaining();
        let state = matches!(tracker, Tracker::TransactionState(old)
            if old.len() == letters.len() && old != b"T_R_____");
        if state {
            overwrite(payload, next - letters.len(), letters);
        }
        from = next;
    }
    Ok(())
}

/// Writes over what is there; out of range, which no caller is, it writes nothing.
pub(super) fn overwrite(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(part) = target.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        part.copy_from_slice(bytes);
    }
}
