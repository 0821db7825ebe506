//! Where the answer to a statement ends.
//!
//! Of its own, and not Sluice's walker: a fault there must not measure as speed. It looks at headers and first bytes
//! and holds nothing but the text of an error.
//!
//! Never here: sockets, or what a row says.

use thiserror::Error;

/// Bytes of a packet's header.
const HEADER: usize = 4;
/// A frame of this length goes on in the next one.
const FULL: usize = 0xff_ffff;
/// Longest error text that is kept, in bytes.
const ERROR_TEXT: usize = 600;

/// Not an answer, or the server's refusal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// An ERR packet, with its text.
    #[error("the server says: {0}")]
    Refused(String),
    /// Bytes behind the end of the answer.
    #[error("{0} bytes came behind the end of an answer")]
    Surplus(usize),
    /// A packet that can't stand in this place.
    #[error("a packet that begins with {0:#04x} is no part of an answer")]
    Unexpected(u8),
}

/// What the next packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// OK, ERR or the number of columns.
    First,
    /// So many column definitions are left.
    Definitions(u8),
    /// A row, ERR, or the OK at the end.
    Rows,
    /// Nothing: the packet whose payload is under way is the last one.
    End,
}

/// One answer on a connection with `DEPRECATE_EOF`.
#[derive(Debug)]
pub struct Answer {
    place: Place,
    /// The header and first byte of the packet that comes next, as far as they are there.
    head: [u8; HEADER + 1],
    filled: usize,
    /// Bytes of payload that are still to come of the packet under way.
    body: usize,
    /// Whether the frame under way is full, so that another one of the same packet follows.
    continued: bool,
    /// The payload of an ERR packet.
    error: Option<Vec<u8>>,
}

impl Default for Answer {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// To a statement that was just sent.
    #[must_use]
    pub const fn new() -> Self {
        Self { place: Place::First, head: [0; HEADER + 1], filled: 0, body: 0, continued: false, error: None }
    }

    /// Takes what was read; true at the end of the answer.
    ///
    /// # Errors
    /// [`AnswerError`]; the connection is of no use then.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<bool, AnswerError> {
        loop {
            let part = self.body.min(input.len());
            let (passed, rest) = input.split_at_checked(part).unwrap_or((input, &[]));
            if let Some(error) = &mut self.error {
                error.extend(passed.iter().take(ERROR_TEXT.saturating_sub(error.len())));
            }
            self.body -= part;
            input = rest;
            if self.body > 0 {
                return Ok(false);
            }
            if self.place == Place::End && !self.continued {
                return self.end(input.len());
            }
            let wanted = if self.continued { HEADER } else { HEADER + 1 };
            while let Some(slot) = self.head.get_mut(..wanted).and_then(|head| head.get_mut(self.filled)) {
                let Some((byte, behind)) = input.split_first() else { return Ok(false) };
                *slot = *byte;
                input = behind;
                self.filled += 1;
            }
            self.filled = 0;
            self.begin()?;
        }
    }

    /// A packet, or a further frame of one, begins.
    fn begin(&mut self) -> Result<(), AnswerError> {
        let [a, b, c, _, first] = self.head;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let further = std::mem::replace(&mut self.continued, length == FULL);
        if further {
            self.body = length;
            return Ok(());
        }
        self.body = length.saturating_sub(1);
        self.place = match (self.place, first) {
            (Place::First | Place::Rows, 0xff) => {
                self.error = Some(Vec::new());
                Place::End
            }
            (Place::First, 0x00) => Place::End,
            (Place::First, columns @ 1..=250) => Place::Definitions(columns),
            (Place::First | Place::End, other) => return Err(AnswerError::Unexpected(other)),
            (Place::Definitions(left), _) if left > 1 => Place::Definitions(left - 1),
            (Place::Definitions(_), _) => Place::Rows,
            (Place::Rows, 0xfe) if length < FULL => Place::End,
            (Place::Rows, _) => Place::Rows,
        };
        Ok(())
    }

    fn end(&self, surplus: usize) -> Result<bool, AnswerError> {
        match &self.error {
            Some(payload) => Err(AnswerError::Refused(String::from_utf8_lossy(payload).into_owned())),
            None if surplus > 0 => Err(AnswerError::Surplus(surplus)),
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[1], payload].concat()
    }

    fn rows(count: usize) -> Vec<u8> {
        let mut all = [packet(&[2]), packet(b"\x03def one"), packet(b"\x03def two")].concat();
        for _ in 0..count {
            all.extend(packet(b"\x011\x03abc"));
        }
        all.extend(packet(&[0xfe, 0, 0, 2, 0, 0, 0]));
        all
    }

    #[test]
    fn an_answer_ends_where_it_ends_however_it_is_cut() {
        for bytes in [packet(&[0, 0, 0, 2, 0, 0, 0]), rows(0), rows(3)] {
            for size in [1, 2, 3, 5, 7, bytes.len()] {
                let mut answer = Answer::new();
                let mut fed = 0;
                for part in bytes.chunks(size) {
                    fed += part.len();
                    assert_eq!(answer.feed(part), Ok(fed == bytes.len()), "{fed} of {bytes:?}");
                }
            }
        }
    }

    #[test]
    fn an_error_is_told_with_its_text() {
        let refused = packet(b"\xff\x51\x04#42000no");
        let wanted = AnswerError::Refused(String::from_utf8_lossy(b"\x51\x04#42000no").into_owned());
        assert_eq!(Answer::new().feed(&refused), Err(wanted.clone()));
        let mut within = rows(1);
        within.truncate(within.len() - 11);
        within.extend(refused);
        assert_eq!(Answer::new().feed(&within), Err(wanted));
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        let mut bytes = rows(1);
        bytes.push(0);
        assert_eq!(Answer::new().feed(&bytes), Err(AnswerError::Surplus(1)));
        assert_eq!(Answer::new().feed(&packet(&[0xfb])), Err(AnswerError::Unexpected(0xfb)));
    }

    #[test]
    fn a_row_of_more_than_a_frame_is_one_row() {
        let mut bytes = [packet(&[1]), packet(b"\x03def"), packet(&vec![0xfe; FULL])].concat();
        bytes.extend(packet(&[0xfe; 9]));
        bytes.extend(packet(&[0xfe, 0, 0, 2, 0]));
        assert_eq!(Answer::new().feed(&bytes), Ok(true));
    }
}
