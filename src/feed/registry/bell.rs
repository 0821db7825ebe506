//! What wakes a session's task: one place to ring, and one waker, which stays registered from statement to statement.
//!
//! It takes the place of a wait list per thing that could be waited for, which every wait has to enter and leave again:
//! two of them were a tenth of a point select's instructions.
//!
//! Never here: why somebody rings. Who is woken looks at everything that it waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Rung by anyone, heard by one task. A ring that comes while nobody listens is heard by the next who does.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    listener: Mutex<Option<Waker>>,
}

impl Bell {
    /// Wakes who listens. What he is to see has to be visible before.
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// Ready once for all rings since it was ready last. When it is pending, whatever is rung for afterwards wakes the
    /// task.
    pub(super) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.was_rung() {
            return Poll::Ready(());
        }
        {
            let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            if !listener.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *listener = Some(cx.waker().clone());
            }
        }
        // Somebody may have rung between the look and the lock.
        if self.was_rung() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn was_rung(&self) -> bool {
        // The plain look first: it costs nothing while nobody rings.
        self.rung.load(Ordering::SeqCst) && self.rung.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_ring_is_heard_once_whether_somebody_listens_or_not() {
        let (bell, count) = (Bell::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        bell.ring();
        bell.ring();
        assert!(bell.poll_rung(&mut cx).is_ready());
        assert!(bell.poll_rung(&mut cx).is_pending() && bell.poll_rung(&mut cx).is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        bell.ring();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(bell.poll_rung(&mut cx).is_ready() && bell.poll_rung(&mut cx).is_pending());
    }

    #[test]
    fn the_last_who_listens_is_woken() {
        let (bell, first, last) = (Bell::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        for count in [&first, &last] {
            let waker = Waker::from(Arc::clone(count));
            assert!(bell.poll_rung(&mut Context::from_waker(&waker)).is_pending());
        }
        bell.ring();
        assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
    }
}
