//! Shared steps that are owed although nobody asks for them any more.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(10);

/// At most one task that tries again.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    running: Arc<AtomicBool>,
}

impl Retry {
    /// Tries after a pause, and again, until an attempt gives `true`. Does
    /// nothing if that is being done already.
    pub(crate) fn until_ok<F, Fut>(&self, attempt: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = bool> + Send,
    {
        if self.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                if attempt().await {
                    break;
                }
            }
            running.store(false, Ordering::SeqCst);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_task_tries_until_it_works() {
        let retry = Retry::default();
        let count = Arc::new(AtomicU32::new(0));
        for _ in 0..2 {
            let count = Arc::clone(&count);
            retry.until_ok(move || {
                let attempt = count.fetch_add(1, Ordering::SeqCst);
                async move { attempt == 2 }
            });
        }
        tokio::time::sleep(PAUSE * 10).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
        assert!(!retry.running.load(Ordering::SeqCst));
    }
}
