//! The client's half of LOAD DATA LOCAL: its packets up to an empty one. Never collects or looks into the data.

use super::header_at;
use super::narrow::overwrite;
use crate::packet::HEADER_LEN;

/// Relays what a client sends after a LOCAL INFILE request.
#[derive(Debug)]
pub struct LocalInfileRelay {
    shift: u8,
    /// Bytes of the current frame still to come.
    body: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The next frame begins a packet.
    PacketStart,
    /// The next frame goes on with one.
    Continuation,
    Finished,
}

impl LocalInfileRelay {
    /// `shift` as given in [`super::Advance::LocalInfile`].
    #[must_use]
    pub const fn new(shift: u8) -> Self {
        Self { shift, body: 0, place: Place::PacketStart }
    }

    /// Looks at unread bytes from the client and says how many from the front go to the server; sequence ids in them are
    /// changed in place. 0 means that more are needed, unless it is finished.
    pub fn advance(&mut self, input: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let part = self.body.min(input.len() - at);
            at += part;
            self.body -= part;
            if self.body > 0 || self.place == Place::Finished {
                return at;
            }
            let Some((header, length)) = header_at(input, at) else { return at };
            overwrite(input, at + 3, &[header.sequence.wrapping_sub(self.shift)]);
            at += HEADER_LEN;
            self.body = length;
            self.place = match (self.place, header.is_last()) {
                (Place::PacketStart, true) if length == 0 => Place::Finished,
                (Place::PacketStart | Place::Continuation | Place::Finished, true) => Place::PacketStart,
                (Place::PacketStart | Place::Continuation | Place::Finished, false) => Place::Continuation,
            };
        }
    }

    /// Whether the empty packet was passed on.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.place == Place::Finished
    }
}
