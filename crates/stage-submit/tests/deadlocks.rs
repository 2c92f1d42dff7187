//! Waits that could never end are refused, and only these.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use stage_submit::{Canceller, Deadlock, JobContext, JobError, Key, Limits, Submitter};
use tokio::time::sleep;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_own_key_is_refused_with_the_chain() {
    let submitter = Submitter::new(Limits::default());
    let inner = submitter.clone();
    let outer = async move {
        let again = inner.submit("a", async {}).unwrap();
        again.await
    };
    let refused = submitter.submit("a", outer).unwrap().await.unwrap();
    let chain = vec![Key::from("a"), Key::from("a")];
    assert_eq!(refused, Err(JobError::Deadlock(Deadlock { chain })));
    assert_eq!(submitter.stats().active, 0, "the refused job left the queue");
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_two_keys_and_key_zero_is_refused_with_the_chain() {
    for second in [2, 0] {
        let submitter = Submitter::new(Limits::default());
        let (one, two) = (submitter.clone(), submitter.clone());
        let circle = submitter.submit(1, async move {
            let inner = one.submit(second, async move {
                sleep(ms(1)).await;
                two.submit(1, async {}).unwrap().await
            });
            inner.unwrap().await.unwrap()
        });
        let refused = circle.unwrap().await.unwrap().unwrap_err();
        let chain = [second, 1, second].map(Key::from).to_vec();
        assert_eq!(refused, JobError::Deadlock(Deadlock { chain }));
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_may_wait_for_other_keys_and_for_what_they_cannot_block() {
    let submitter = Submitter::new(Limits::default());
    let inner = submitter.clone();
    let outer = submitter.submit(1, async move {
        let by_two = inner.submit(2, async { 2 }).unwrap();
        let by_zero = inner.submit(0, async { 3 }).unwrap();
        inner.submit(1, sleep(ms(1))).unwrap().detach();
        by_two.await.unwrap() + by_zero.await.unwrap()
    });
    assert_eq!(outer.unwrap().await, Ok(5));
    let other = Submitter::new(Limits::default());
    let across = submitter.submit(1, async move { other.submit(1, async { 4 }).unwrap().await });
    assert_eq!(across.unwrap().await, Ok(Ok(4)), "key 1 of another scheduler is another key");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_continues_in_another_task_waits_on_behalf_of_itself() {
    let submitter = Submitter::new(Limits::default());
    let inner = submitter.clone();
    let outer = submitter.submit(5, async move {
        let this = JobContext::current().unwrap();
        assert_eq!(this.key(), Key::from(5));
        let elsewhere = tokio::spawn(async move {
            assert!(JobContext::current().is_none());
            inner.submit(5, async {}).unwrap().on_behalf_of(this).await
        });
        elsewhere.await.unwrap()
    });
    assert!(matches!(outer.unwrap().await, Ok(Err(JobError::Deadlock(_)))));
    assert!(JobContext::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handle_kept_after_its_waiter_ended_blocks_nobody() {
    let submitter = Submitter::new(Limits::default());
    let slow = submitter.submit(2, sleep(ms(100))).unwrap();
    let (kept, keep) = tokio::sync::oneshot::channel();
    let gives_up = submitter.submit(1, async move {
        let mut slow = slow;
        let waited = tokio::time::timeout(ms(1), &mut slow).await;
        assert!(waited.is_err());
        assert!(kept.send(slow).is_ok());
    });
    gives_up.unwrap().await.unwrap();
    let _slow = keep.await.unwrap();
    let inner = submitter.clone();
    let no_circle = submitter.submit(2, async move { inner.submit(1, async { 1 }).unwrap().await });
    assert_eq!(no_circle.unwrap().await, Ok(Ok(1)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_makes_no_circle() {
    let submitter = Submitter::new(Limits::default());
    let (one, two) = (submitter.clone(), submitter.clone());
    let first = submitter.submit(1, async move {
        one.submit(2, sleep(ms(10))).unwrap().await.unwrap();
        sleep(ms(100)).await;
    });
    sleep(ms(50)).await;
    let second = submitter.submit(2, async move { two.submit(1, async { 7 }).unwrap().await });
    assert_eq!(second.unwrap().await, Ok(Ok(7)));
    first.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_job_that_has_ended_waits_for_its_key_no_more() {
    for queued in [true, false] {
        let submitter = Submitter::new(Limits::default());
        if queued {
            submitter.submit(2, sleep(ms(1))).unwrap().detach();
        }
        let awaited = submitter.submit(2, sleep(ms(10))).unwrap();
        let waits = submitter.submit(1, awaited).unwrap();
        let inner = submitter.clone();
        // Runs before the waiting job has been told.
        let next = submitter.submit(2, async move { inner.submit(1, async { 7 }).unwrap().await });
        assert_eq!(next.unwrap().await, Ok(Ok(7)));
        assert_eq!(waits.await, Ok(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_job_that_was_cancelled_waits_for_its_key_no_more() {
    let submitter = Submitter::new(Limits::default());
    let inner = submitter.clone();
    let (tell, told) = tokio::sync::oneshot::channel::<Canceller>();
    let cancels = submitter.submit(2, async move {
        told.await.unwrap().cancel();
        inner.submit(1, async { 7 }).unwrap().await
    });
    let awaited = submitter.submit(2, async {}).unwrap();
    let canceller = awaited.canceller();
    let waits = submitter.submit(1, awaited).unwrap();
    sleep(ms(1)).await;
    tell.send(canceller).unwrap();
    assert_eq!(cancels.unwrap().await, Ok(Ok(7)));
    assert_eq!(waits.await, Ok(Err(JobError::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_awaited_for_another_job_is_awaited_for_that_one_alone() {
    let submitter = Submitter::new(Limits::default());
    let slow = submitter.submit(2, sleep(ms(100))).unwrap();
    let (hand_over, handed_over) = tokio::sync::oneshot::channel();
    let gives_up = submitter.submit(1, async move {
        let mut slow = slow;
        assert!(tokio::time::timeout(ms(1), &mut slow).await.is_err());
        assert!(hand_over.send(slow).is_ok());
        sleep(ms(200)).await;
    });
    let inner = submitter.clone();
    let after = submitter.submit(2, async move { inner.submit(1, async { 1 }).unwrap().await });
    let takes_over = submitter.submit(3, async move {
        let slow = handed_over.await.unwrap();
        slow.on_behalf_of(JobContext::current().unwrap()).await
    });
    gives_up.unwrap().await.unwrap();
    assert_eq!(takes_over.unwrap().await, Ok(Ok(())));
    assert_eq!(after.unwrap().await, Ok(Ok(1)));
}
