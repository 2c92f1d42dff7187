//! A callback whose ticket is granted waits for its VM like a message in its queue, and counts as one.

use stage_route::{Arrival, Meter};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Notes when what a task waits for comes about. From the moment in which the task is woken it waits for its VM only.
pub(crate) struct Due(Arc<Bell>);

/// Stands between a future and the task that waits for it.
struct Bell {
    meter: Meter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whom to wake; nobody before the task waits and after its wait.
    task: Option<Waker>,
    /// Since when it waits for its VM.
    arrival: Option<Arrival>,
}

impl Due {
    /// For a task that is about to be started.
    pub(crate) fn new(meter: &Meter) -> Self {
        let state = State { task: None, arrival: Some(meter.arrived()) };
        Self(Arc::new(Bell { meter: meter.clone(), state: Mutex::new(state) }))
    }

    /// Waits for a future. What it came to waits in the VM's queue since it came about, until it is started.
    pub(crate) async fn of<T>(self, future: impl Future<Output = T>) -> (T, Queued) {
        let Self(bell) = self;
        let waker = Waker::from(Arc::clone(&bell));
        let mut future = pin!(future);
        poll_fn(move |context| {
            let arrival = bell.listen(context);
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => {
                    let woken = std::mem::take(&mut *bell.lock()).arrival;
                    let queued = Queued::new(&bell.meter, arrival, woken);
                    Poll::Ready((output, queued))
                }
                Poll::Pending => {
                    // It was woken for nothing.
                    arrival.into_iter().for_each(|arrival| bell.meter.dropped(arrival));
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Bell {
    /// Has this task woken from now on. Since when it waits for its VM, if it was woken.
    fn listen(&self, context: &Context<'_>) -> Option<Arrival> {
        let mut state = self.lock();
        match &mut state.task {
            Some(task) => task.clone_from(context.waker()),
            task => *task = Some(context.waker().clone()),
        }
        state.arrival.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        let Some(task) = state.task.clone() else { return };
        state.arrival.get_or_insert_with(|| self.meter.arrived());
        drop(state);
        task.wake();
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.arrival.take().into_iter().for_each(|arrival| self.meter.dropped(arrival));
    }
}

/// What waits in a VM's queue. Dropped, it has left that without being started.
pub(crate) struct Queued {
    meter: Meter,
    arrival: Option<Arrival>,
}

impl Queued {
    /// Waits since the first of these, or since now.
    fn new(meter: &Meter, first: Option<Arrival>, second: Option<Arrival>) -> Self {
        let mut arrivals = first.into_iter().chain(second);
        let arrival = arrivals.next().unwrap_or_else(|| meter.arrived());
        arrivals.for_each(|again| meter.dropped(again));
        Self { meter: meter.clone(), arrival: Some(arrival) }
    }

    /// It runs from now on, and whoever says so says later that it has [finished](Meter::finished).
    pub(crate) fn started(mut self) {
        self.arrival.take().into_iter().for_each(|arrival| self.meter.started(arrival));
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.arrival.take().into_iter().for_each(|arrival| self.meter.dropped(arrival));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stage_route::{Config, Route, WINDOW};
    use tokio::sync::oneshot;

    use super::*;

    /// What the control sees in the next window, which is as short as can be: its clock stands still.
    async fn next_window(route: &Route) -> stage_route::View {
        route.clone().run(tokio::time::sleep(WINDOW / 2)).await;
        route.view()
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_about_waits_for_its_vm_from_then_on() {
        let route = Route::new("a", Config::default());
        let meter = route.meter("stage");
        // The VM is busy with something else.
        let busy = meter.arrived();
        meter.started(busy);
        let (grant, granted) = oneshot::channel();
        let mut waits = Box::pin(Due::new(&meter).of(granted));
        assert!(futures_util::FutureExt::now_or_never(waits.as_mut()).is_none());
        next_window(&route).await;
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(next_window(&route).await.delay, Duration::ZERO, "nothing waits for the VM");

        grant.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let stalled = next_window(&route).await.delay;
        assert!(stalled >= Duration::from_millis(5), "{stalled:?}");
        std::thread::sleep(Duration::from_millis(5));
        let (result, queued) = waits.await;
        result.unwrap();
        queued.started();
        let waited = next_window(&route).await.delay;
        assert!(waited >= Duration::from_millis(10), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_leaves_the_queue() {
        let route = Route::new("a", Config::default());
        let meter = route.meter("stage");
        meter.started(meter.arrived());
        next_window(&route).await;
        let (grant, granted) = oneshot::channel();
        let mut waits = Box::pin(Due::new(&meter).of(granted));
        assert!(futures_util::FutureExt::now_or_never(waits.as_mut()).is_none());
        grant.send(()).unwrap();
        drop(waits);
        drop(Due::new(&meter));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(next_window(&route).await.delay, Duration::ZERO);
    }
}
