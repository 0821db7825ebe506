//! The pause after which a client counts as idle, and what its commands needed is given back.
//!
//! Running a command takes a future of several KiB. One for each would be allocated, copied and freed for every statement,
//! and one for the life of each session is too much for thousands of idle ones. So it lives from the second of two
//! commands that follow closely to the next lull.
//!
//! Never here: a limit after which a client is cut off.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Duration, Instant, Sleep, sleep};

/// A client that sends nothing for this long, and at most twice as long, is in a lull. Longer than the pauses of a busy
/// client, and short enough that few of many clients are outside of one.
pub(super) const LULL: Duration = Duration::from_secs(1);

/// What a [`Lull`] is made of.
pub(super) fn timer() -> Sleep {
    sleep(LULL)
}

/// What a wait for the client has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Bytes, or something else to look at.
    ForSomething,
    /// Nothing, and the client is in a lull.
    InLull,
}

/// Finds a lull without looking at the clock for each command.
pub(super) struct Lull<'a> {
    timer: Pin<&'a mut Sleep>,
    spoken: bool,
}

impl<'a> Lull<'a> {
    /// With a fresh [`timer`].
    pub(super) fn new(timer: Pin<&'a mut Sleep>) -> Self {
        Self { timer, spoken: false }
    }

    /// The client has sent a command.
    pub(super) fn end(&mut self) {
        self.spoken = true;
    }

    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.spoken) {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(Instant::now() + LULL);
        }
        Poll::Pending
    }
}

/// Waits for a lull; for ever without a timer. Safe to cancel.
pub(super) async fn begun(lull: Option<&mut Lull<'_>>) {
    match lull {
        Some(lull) => poll_fn(|cx| lull.poll_begun(cx)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lull_begins_a_while_after_the_last_command() {
        let mut timer = std::pin::pin!(timer());
        let mut lull = Lull::new(timer.as_mut());
        for _ in 0..5 {
            lull.end();
            assert!(tokio::time::timeout(LULL * 3 / 4, begun(Some(&mut lull))).await.is_err());
        }
        let last = Instant::now();
        tokio::time::timeout(LULL * 3, begun(Some(&mut lull))).await.unwrap();
        let silent = last.elapsed();
        assert!(silent >= LULL / 4 && silent <= LULL * 2, "{silent:?}");
        assert!(tokio::time::timeout(LULL * 9, begun(None)).await.is_err());
    }
}
