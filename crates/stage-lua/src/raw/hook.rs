//! A signal to a thread, and Lua's count hook.
//!
//! Why it is sound:
//!
//! - `lua_sethook` may be called from a signal handler: the manual says so, and `lua.c` does it. The
//!   handler does nothing else but load thread-local and atomic words.
//! - The handler runs on the VM's own thread, and `Shared::running` is the coroutine that this thread
//!   executes or null. It is set by the functions below, which Lua calls in that coroutine or, with the
//!   coroutine as argument, before it is resumed; the host clears it when it has the thread back. A
//!   coroutine that is being executed, or that stands on the stack of the one that is, is alive.
//! - `Shared::main` is the own state of the VM whose slice runs, and null between slices: a slice runs within the
//!   VM's time.
//! - The hook yields by `lua_yield` with no values, which is what a count hook may do, only if the coroutine can yield. It raises
//!   errors by `lua_error`, which unwinds by `longjmp`: no frame of ours between has anything to drop.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, ffi};

use super::main_state::{Collected, MainState};
use super::stack;
use crate::preempt::slot::{Slice, Slot, Verdict};
use crate::preempt::{Bounds, sampling, watchdog};

/// Ignored by processes that do not ask for it, and used by others for the same end.
const SIGNAL: c_int = libc::SIGURG;

/// Instructions until the hook looks again at code that cannot be paused.
const SOON: c_int = 1000;

/// Instructions between two looks where the hook is always there.
const REGULARLY: c_int = 10_000;

/// Whether the hook is always there.
static ALWAYS: AtomicBool = AtomicBool::new(false);

const ENDED: &CStr = c"stopped: it has computed for longer than a handler may without waiting \
                       (#limits.busy_ms)";

thread_local! {
    static POST: Cell<*const Shared> = const { Cell::new(ptr::null()) };
    static SHARED_POST: RefCell<Weak<Post>> = const { RefCell::new(Weak::new()) };
}

/// A VM's thread as the watchdog sees it.
pub(crate) struct Beat {
    thread: libc::pthread_t,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    slot: Slot,
    /// The coroutine that the thread executes; null if it is in the host.
    running: AtomicPtr<ffi::lua_State>,
    /// The own state of the VM whose slice runs, in which the host asks an error object for its text.
    main: AtomicPtr<ffi::lua_State>,
    /// The coroutine that the host has resumed.
    top: AtomicPtr<ffi::lua_State>,
    /// Where the code was when the hook yielded.
    place: Mutex<String>,
    /// How many samples of the stack are asked for and not taken.
    samples: AtomicU32,
}

/// A VM's thread under watch, until it is dropped on that thread.
pub(crate) struct Post {
    beat: Beat,
}

/// A call of the host into a VM.
#[derive(Debug)]
pub(crate) struct Entry {
    main: MainState,
    /// The coroutine in which it runs, known once it has begun.
    top: *mut ffi::lua_State,
}

/// What a slice has come to.
pub(crate) struct Sliced<R> {
    /// What the call returned.
    pub(crate) result: R,
    /// If it was preempted, where.
    pub(crate) preempted: Option<String>,
    /// By how many bytes the VM has grown; less than 0 if more was freed.
    pub(crate) grown: i64,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Entry {
    pub(crate) fn new(main: MainState) -> Self {
        Self { main, top: ptr::null_mut() }
    }

    /// Collects garbage of the VM, as if it had grown by so many bytes meanwhile. Between slices.
    pub(crate) fn collect(&mut self, bytes: i64) -> Collected {
        self.main.collect(bytes)
    }
}

impl Post {
    /// Watches the current thread, for all VMs that run on it.
    pub(crate) fn share() -> Rc<Self> {
        SHARED_POST.with_borrow_mut(|shared| {
            shared.upgrade().unwrap_or_else(|| {
                let post = Rc::new(Self::take());
                *shared = Rc::downgrade(&post);
                post
            })
        })
    }

    /// Watches the current thread, which nobody watches yet.
    pub(crate) fn take() -> Self {
        listen();
        let shared = Arc::<Shared>::default();
        POST.set(Arc::as_ptr(&shared));
        // SAFETY: no precondition.
        let thread = unsafe { libc::pthread_self() };
        let beat = Beat { thread, shared };
        watchdog::watch(Beat { thread, shared: Arc::clone(&beat.shared) });
        Self { beat }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        watchdog::leave(&self.beat);
        POST.set(ptr::null());
    }
}

impl Entry {
    /// Runs a slice of a call of the host.
    pub(crate) fn slice<R>(
        &mut self,
        slice: &mut Slice,
        bounds: Bounds,
        run: impl FnOnce() -> R,
    ) -> Sliced<R> {
        let Some(shared) = shared() else {
            let began = Instant::now();
            let result = run();
            return Sliced { result, preempted: None, grown: 0, took: began.elapsed() };
        };
        let before = self.main.used_memory();
        shared.main.store(self.main.0, Ordering::Relaxed);
        shared.top.store(self.top, Ordering::Relaxed);
        shared.running.store(self.top, Ordering::Relaxed);
        shared.slot.begin(slice, bounds);
        let result = run();
        let (preempted, took) = shared.slot.end(slice);
        shared.running.store(ptr::null_mut(), Ordering::Relaxed);
        shared.main.store(ptr::null_mut(), Ordering::Relaxed);
        self.top = shared.top.swap(ptr::null_mut(), Ordering::Relaxed);
        let preempted = preempted.then(|| std::mem::take(&mut *shared.place()));
        Sliced { result, preempted, grown: self.main.used_memory() - before, took }
    }
}

impl Entry {
    /// Gives up a call that has not ended. What its loops have to close runs for as long as a slice may.
    pub(crate) fn give_up(&mut self, bounds: Bounds, drop: impl FnOnce()) {
        let Some(shared) = shared().filter(|_| !self.top.is_null()) else { return drop() };
        if !shared.slot.is_running() {
            self.slice(&mut Slice::default(), bounds, drop);
            return;
        }
        // Another call gives it up within its own slice.
        let outer = shared.running.swap(self.top, Ordering::Relaxed);
        drop();
        shared.running.store(outer, Ordering::Relaxed);
    }
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, String> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat {
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.shared.slot.is_overdue()
    }

    /// Has the thread note its stack, if it executes.
    pub(crate) fn ask_for_sample(&self) {
        if self.shared.slot.is_running() {
            self.shared.samples.fetch_add(1, Ordering::Relaxed);
            self.knock();
        }
    }

    /// Has the thread look at its slice.
    pub(crate) fn knock(&self) {
        // SAFETY: the thread is alive: it leaves the watch before it ends, and the watchdog holds the
        // list meanwhile. A failure means that no signal was sent, and the next look tries again.
        unsafe { libc::pthread_kill(self.thread, SIGNAL) };
    }
}

/// The functions by which Lua says which coroutine runs.
///
/// # Errors
/// The VM's own.
pub(crate) fn functions(lua: &Lua) -> mlua::Result<[(&'static str, Function); 5]> {
    // SAFETY: each of these leaves the stack as it found it but for what it returns.
    let function = |function| unsafe { lua.create_c_function(function) };
    Ok([
        ("call", function(call)?),
        ("enter", function(enter)?),
        ("leave", function(leave)?),
        ("preempted", function(preempted)?),
        ("over", function(over)?),
    ])
}

/// From now on, every coroutine that says it runs gets the hook.
pub(crate) fn hook_always() {
    ALWAYS.store(true, Ordering::Relaxed);
}

/// Sets the hook if it is to be there always, or none.
///
/// # Safety
/// The state is that of a coroutine that is alive.
unsafe fn set_usual_hook(state: *mut ffi::lua_State) {
    // SAFETY: as required.
    unsafe {
        if ALWAYS.load(Ordering::Relaxed) {
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, REGULARLY);
        } else {
            ffi::lua_sethook(state, None, 0, 0);
        }
    }
}

fn shared() -> Option<&'static Shared> {
    let shared = POST.get();
    // SAFETY: it points into the `Arc` of the thread's `Post`, which clears it before it goes, and
    // nobody keeps the reference beyond a call on this thread.
    unsafe { shared.as_ref() }
}

/// `call(f, ...)`: the host calls a function in this coroutine.
///
/// An error is caught here and raised again. What is to be closed then is closed on the way, while the hook is heard: in
/// a coroutine that an error of the hook has ended it never is again.
unsafe extern "C-unwind" fn call(state: *mut ffi::lua_State) -> c_int {
    if let Some(shared) = shared() {
        shared.top.store(state, Ordering::Relaxed);
        shared.running.store(state, Ordering::Relaxed);
        if ALWAYS.load(Ordering::Relaxed) {
            // SAFETY: the coroutine that calls this.
            unsafe { set_usual_hook(state) };
        }
    }
    // SAFETY: the function and its arguments are all that is on the stack, and a C function always has room for one more.
    unsafe {
        ffi::lua_pushcfunction(state, stack::trace);
        ffi::lua_insert(state, 1);
        let args = ffi::lua_gettop(state) - 2;
        let status = ffi::lua_pcallk(state, args, ffi::LUA_MULTRET, 1, 0, Some(called));
        called(state, status, 0)
    }
}

/// Goes on with `call` when its function has ended.
unsafe extern "C-unwind" fn called(
    state: *mut ffi::lua_State,
    status: c_int,
    _: ffi::lua_KContext,
) -> c_int {
    // SAFETY: behind the message handler there are the results, or the error.
    unsafe {
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - 1
    }
}

/// `enter(co)`: this coroutine is about to resume another.
unsafe extern "C-unwind" fn enter(state: *mut ffi::lua_State) -> c_int {
    if let Some(shared) = shared() {
        // SAFETY: Lua's own API on its own state; `lua_tothread` is null for what is no coroutine.
        let (other, can_yield) =
            unsafe { (ffi::lua_tothread(state, 1), ffi::lua_isyieldable(state)) };
        if can_yield == 0 {
            shared.slot.block();
        }
        if !other.is_null() {
            shared.running.store(other, Ordering::Relaxed);
            if ALWAYS.load(Ordering::Relaxed) {
                // SAFETY: an argument of the call, so it is alive.
                unsafe { set_usual_hook(other) };
            }
        }
    }
    0
}

/// `leave()`: the other coroutine has given the thread back to this one.
unsafe extern "C-unwind" fn leave(state: *mut ffi::lua_State) -> c_int {
    if let Some(shared) = shared() {
        // SAFETY: as above.
        if unsafe { ffi::lua_isyieldable(state) } == 0 {
            shared.slot.unblock();
        }
        shared.running.store(state, Ordering::Relaxed);
        if shared.slot.has_ended() {
            // It would resume the next one, and that one would be looked at in its turn.
            // SAFETY: the coroutine that calls this.
            unsafe { call_again_at_once(state) };
        }
    }
    0
}

/// `preempted()`: whether the hook has just yielded, so that this is to be passed on to the host.
unsafe extern "C-unwind" fn preempted(state: *mut ffi::lua_State) -> c_int {
    let preempted = shared().is_some_and(|shared| shared.slot.is_preempted());
    // SAFETY: a C function always has room for this.
    unsafe { ffi::lua_pushboolean(state, c_int::from(preempted)) };
    1
}

/// `over()`: whether the handler is being ended for good.
unsafe extern "C-unwind" fn over(state: *mut ffi::lua_State) -> c_int {
    let over = shared().is_some_and(|shared| shared.slot.verdict() == Verdict::End);
    // SAFETY: a C function always has room for this.
    unsafe { ffi::lua_pushboolean(state, c_int::from(over)) };
    1
}

/// Makes the process hear the signal; others of its handlers stay as they are.
fn listen() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let handler: extern "C" fn(c_int) = on_signal;
        // SAFETY: a zeroed `sigaction` is one with an empty mask; the handler is safe to run at any
        // moment, see the top.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(SIGNAL, &raw const action, ptr::null_mut());
        }
    });
}

extern "C" fn on_signal(_: c_int) {
    let Some(shared) = shared() else { return };
    if !shared.slot.is_running() {
        // What ran when a sample was asked for does not run any more.
        shared.samples.store(0, Ordering::Relaxed);
        return;
    }
    for state in [&shared.running, &shared.main] {
        let state = state.load(Ordering::Relaxed);
        if !state.is_null() {
            // SAFETY: see the top. One that is there is called soon, and only this file sets any.
            unsafe {
                if ffi::lua_gethookmask(state) == 0 {
                    ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
                }
            }
        }
    }
}

/// Takes the samples that are asked for. A call that took long was asked for several, which are of one stack.
///
/// # Safety
/// As for a hook.
unsafe fn take_samples(shared: &Shared, state: *mut ffi::lua_State) {
    let times = shared.samples.swap(0, Ordering::Relaxed);
    if times == 0 {
        return;
    }
    let mut frames = Vec::new();
    let top = shared.top.load(Ordering::Relaxed);
    // SAFETY: the coroutine that runs, and the one that the host resumed, which runs or waits for what it has resumed.
    unsafe {
        stack::walk(state, &mut frames);
        if !top.is_null() && top != state {
            stack::walk(top, &mut frames);
        }
    }
    // `call` is no call of a script's.
    frames.pop_if(|outermost| outermost.source == "=[C]");
    sampling::add(&frames, times.into());
}

/// Has the hook called at the next instruction. To set a hook takes time for each call that the coroutine is in, and a
/// runaway recursion is in many: one that is set so already is left alone.
///
/// # Safety
/// As for a hook.
unsafe fn call_again_at_once(state: *mut ffi::lua_State) {
    // SAFETY: the coroutine that runs.
    unsafe {
        if ffi::lua_gethookmask(state) == 0 || ffi::lua_gethookcount(state) != 1 {
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
        }
    }
}

unsafe extern "C-unwind" fn hook(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    let shared = shared();
    if let Some(shared) = shared {
        if state != shared.main.load(Ordering::Relaxed) {
            // An error may have kept it from saying so itself.
            shared.running.store(state, Ordering::Relaxed);
        }
        // SAFETY: the coroutine that runs.
        unsafe { take_samples(shared, state) };
    }
    let verdict = shared.map_or(Verdict::GoOn, |shared| shared.slot.verdict());
    // SAFETY: Lua calls the hook in the coroutine that runs; see the top for yields and errors.
    unsafe {
        match (verdict, shared) {
            (Verdict::GoOn, _) | (_, None) => set_usual_hook(state),
            // This one passes on that one within was stopped: stopped as well, it would take that for a return.
            (Verdict::Pause, Some(shared)) if shared.slot.is_preempted() => set_usual_hook(state),
            (Verdict::Pause, Some(shared)) => {
                if ffi::lua_isyieldable(state) != 0 && shared.slot.can_pause() {
                    // It stays, so that mlua sees by it who yielded, until the next slice's first
                    // instructions, where it finds that all is well.
                    call_again_at_once(state);
                    *shared.place() = stack::place(state);
                    shared.slot.preempt();
                    ffi::lua_yield(state, 0);
                } else {
                    ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, SOON);
                }
            }
            (Verdict::End, Some(shared)) => {
                // At every instruction from now on, so that no `pcall` outlives it.
                shared.slot.end_for_good();
                call_again_at_once(state);
                ffi::luaL_where(state, 0);
                ffi::lua_pushstring(state, ENDED.as_ptr());
                ffi::lua_concat(state, 2);
                ffi::lua_error(state);
            }
        }
    }
}
