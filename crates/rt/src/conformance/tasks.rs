//! What every engine must do alike with time, tasks and randomness.
//!
//! Invariant: nothing here depends on how long a real machine takes, only on order and on the
//! least time that a sleep lasts.

use crate::{Class, Rt, sync};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Runs every body about time and tasks.
pub async fn tasks<R: Rt>(rt: &R) {
    timers_complete_in_order(rt).await;
    a_dropped_sleep_is_forgotten(rt).await;
    yielding_lets_the_others_run(rt).await;
    a_value_passes_between_tasks(rt).await;
    clocks_and_randomness_move(rt).await;
}

/// Sleeps end not before their time and in the order of their ends.
pub async fn timers_complete_in_order<R: Rt>(rt: &R) {
    let ended = Rc::new(RefCell::new(Vec::new()));
    let event = Rc::new(sync::Event::new());
    let begin = rt.monotonic_us();
    for ms in [30u64, 10, 20] {
        let (rt2, ended, event) = (rt.clone(), Rc::clone(&ended), Rc::clone(&event));
        rt.spawn(Class::Housekeeping, async move {
            rt2.sleep(Duration::from_millis(ms)).await;
            assert!(rt2.monotonic_us() - begin >= ms * 1_000, "slept too short");
            ended.borrow_mut().push(ms);
            event.notify();
        });
    }
    while ended.borrow().len() < 3 {
        event.wait().await;
    }
    assert_eq!(*ended.borrow(), [10, 20, 30]);
}

/// A sleep that is dropped wakes nobody and harms nothing.
pub async fn a_dropped_sleep_is_forgotten<R: Rt>(rt: &R) {
    for _ in 0..100 {
        let mut long = std::pin::pin!(rt.sleep(Duration::from_hours(1)));
        std::future::poll_fn(|context| {
            assert!(long.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    rt.sleep(Duration::from_millis(1)).await;
}

/// One yield gives every task that could run its turn.
pub async fn yielding_lets_the_others_run<R: Rt>(rt: &R) {
    let ran = Rc::new(Cell::new(0));
    let classes = [
        Class::Request,
        Class::Flush,
        Class::Dispatch,
        Class::Housekeeping,
    ];
    for class in classes {
        let ran = Rc::clone(&ran);
        rt.spawn(class, async move { ran.set(ran.get() + 1) });
    }
    // An engine may be interrupted in the middle of a turn, but not again and again.
    for _ in 0..3 {
        if ran.get() < classes.len() {
            rt.yield_now().await;
        }
    }
    assert_eq!(ran.get(), classes.len());
}

/// A slot hands a value from one task to another, and tells when it never will.
pub async fn a_value_passes_between_tasks<R: Rt>(rt: &R) {
    let (giver, taker) = sync::oneshot();
    let rt2 = rt.clone();
    rt.spawn(Class::Request, async move {
        rt2.sleep(Duration::from_millis(2)).await;
        giver.give(7);
    });
    assert_eq!(taker.take().await, Some(7));
    let (giver, taker) = sync::oneshot::<u8>();
    rt.spawn(Class::Flush, async move { drop(giver) });
    assert_eq!(taker.take().await, None);
}

/// The monotonic clock never goes back and random numbers differ.
pub async fn clocks_and_randomness_move<R: Rt>(rt: &R) {
    let (wall, begin) = (rt.now_ms(), rt.monotonic_us());
    assert!(wall > 0);
    rt.sleep(Duration::from_millis(3)).await;
    assert!(rt.monotonic_us() >= begin + 3_000);
    assert!(rt.now_ms() >= wall);
    let mut drawn: Vec<_> = (0..64).map(|_| rt.random_u64()).collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 64);
}
