//! Buffers that nobody uses at the moment: a connection has one only while bytes of it are in flight, and the next one that
//! is read or put together takes it over, so that a statement allocates none. Each thread has its own; connections stay
//! on their worker while they are in use.
//!
//! Never here: a buffer with something in it, more than a fixed number of them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;
use sluice_protocol::frame_payload;
use sluice_protocol::packet::{HEADER_LEN, MAX_FRAME_PAYLOAD};

/// Room in a fresh buffer, bytes. Two of MySQL's default network buffers: large results are read in few calls.
pub(super) const ROOM: usize = 32 * 1024;
/// A buffer grown beyond this is not kept.
pub(super) const KEPT: usize = 2 * ROOM;
/// Spare buffers of a thread: as many connections rarely have bytes in flight at one moment, since each has them only
/// until its task has run.
const SPARE: usize = 32;

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`ROOM`] bytes.
pub(crate) fn lend() -> BytesMut {
    let spare = BUFFERS.with(|buffers| buffers.try_borrow_mut().ok().and_then(|mut buffers| buffers.pop()));
    spare.unwrap_or_else(|| BytesMut::with_capacity(ROOM))
}

/// Takes a buffer back, whatever is in it. One that has grown, or of which a part is still in use, is dropped.
pub(crate) fn take_back(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(ROOM) || buffer.capacity() > KEPT {
        return;
    }
    BUFFERS.with(|buffers| {
        if let Ok(mut buffers) = buffers.try_borrow_mut()
            && buffers.len() < SPARE
        {
            buffers.push(buffer);
        }
    });
}

/// Bytes put together in a buffer that goes back where it came from when they are dropped.
#[derive(Debug)]
pub(crate) struct Lent(BytesMut);

impl Lent {
    /// `payload` as frames from number 0 on.
    pub(crate) fn framed(payload: &[u8]) -> Self {
        let headers = HEADER_LEN * (payload.len() / MAX_FRAME_PAYLOAD + 1);
        let bytes = payload.len() + headers;
        // A spare buffer would have to grow, and be lost by it.
        let mut buffer = if bytes > ROOM { BytesMut::with_capacity(bytes) } else { lend() };
        frame_payload(&mut buffer, &mut 0, payload);
        Self(buffer)
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        take_back(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_with_all_its_room() {
        let mut buffer = lend();
        buffer.extend_from_slice(b"secret");
        buffer.advance(3);
        let place = buffer.as_ptr();
        take_back(buffer);
        let again = lend();
        assert!(again.is_empty() && again.capacity() >= ROOM);
        assert_eq!(again.as_ptr(), place.wrapping_sub(3), "it is the same one");
    }

    #[test]
    fn frames_are_put_together_in_a_spare_buffer_if_they_fit() {
        let spare = lend();
        let place = spare.as_ptr();
        take_back(spare);
        let mut small = Lent::framed(b"\x0e");
        assert_eq!((small.as_ptr(), &small[..]), (place, &b"\x01\0\0\0\x0e"[..]));
        small.fill(7);
        drop(small);
        let large = Lent::framed(&vec![1; MAX_FRAME_PAYLOAD + KEPT]);
        let length = MAX_FRAME_PAYLOAD + KEPT + 2 * HEADER_LEN;
        assert_eq!((large.len(), large.0.capacity()), (length, length), "room for both headers");
        drop(large);
        assert_eq!(lend().as_ptr(), place);
        assert_eq!(BUFFERS.with(|buffers| buffers.borrow().len()), 0, "the large one is gone");
    }

    #[test]
    fn grown_and_shared_buffers_are_not_kept() {
        let mut grown = lend();
        grown.extend_from_slice(&[0; KEPT + 1]);
        take_back(grown);
        let mut shared = lend();
        shared.extend_from_slice(b"both");
        let part = shared.split_to(2);
        take_back(shared);
        assert_eq!(BUFFERS.with(|buffers| buffers.borrow().len()), 0);
        assert_eq!(part, &b"bo"[..]);
        (0..SPARE * 2).map(|_| BytesMut::with_capacity(ROOM)).for_each(take_back);
        assert_eq!(BUFFERS.with(|buffers| buffers.borrow().len()), SPARE);
    }
}
