//! Time, chance and waiting, as the operating system gives them to this process: replaced, thread by thread.
//!
//! The engine reads clocks, seeds hash maps, makes ids and sleeps by way of `std`, `tokio` and `rand`; all of these end in
//! three calls of libc. A definition of the same name in the executable comes before libc's, so that a simulated thread
//! gets a clock that moves only when told to, bytes from a seed, and a wait that returns at once and says how long it
//! would have been. Nothing of the engine is changed for it (as in madsim's interception of the same calls). Other threads
//! are passed on to the kernel.

#![expect(unsafe_code, reason = "libc's own signatures")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use tokio::runtime::Runtime;

/// 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;
/// A simulated clock begins here: a monotonic clock is never near zero.
pub const BEGIN: u64 = 1_000_000_000_000;
/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

thread_local! {
    /// Nanoseconds; 0 on a thread that is not simulated.
    static NOW: Cell<u64> = const { Cell::new(0) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    /// When the runtime that ran last has something to do without being told.
    static NEXT: Cell<Option<u64>> = const { Cell::new(None) };
    /// The future that ends a run.
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Makes this thread a simulated one.
pub fn simulate(seed: u64) {
    CHANCE.set(seed);
    NOW.set(BEGIN);
}

/// Sets this thread's clock.
pub fn set(now: u64) {
    NOW.set(now);
}

/// Lets a runtime run until all of its tasks wait. Out: when the first of its timers is due, if one is set.
pub fn run_until_idle(runtime: &Runtime) -> Option<u64> {
    NEXT.set(None);
    let mut first = true;
    runtime.block_on(poll_fn(|context| {
        if std::mem::take(&mut first) {
            ROOT.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(())
    }));
    ROOT.set(None);
    NEXT.get()
}

/// `clock_gettime(2)`: every clock of `std`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> libc::c_int {
    let now = NOW.get();
    if now == 0 {
        // SAFETY: the caller's own arguments.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) } as libc::c_int;
    }
    let since = if clock == libc::CLOCK_REALTIME { EPOCH } else { 0 };
    let time = libc::timespec { tv_sec: since + (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 };
    // SAFETY: the caller gives a place to write to.
    unsafe { out.write(time) };
    0
}

/// `getrandom(2)`: hash maps, `rand`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(out: *mut libc::c_void, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if NOW.get() == 0 {
        // SAFETY: the caller's own arguments.
        return unsafe { libc::syscall(libc::SYS_getrandom, out, length, flags) } as libc::ssize_t;
    }
    for at in 0..length {
        let state = CHANCE.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        CHANCE.set(state);
        // SAFETY: the caller gives a place of `length` bytes.
        unsafe { out.cast::<u8>().add(at).write((state >> 33) as u8) };
    }
    length as libc::ssize_t
}

/// `epoll_wait(2)`: where a runtime sleeps. The only descriptor behind it is the runtime's own bell, which is not needed:
/// whoever rings it is on this thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    descriptor: libc::c_int,
    events: *mut libc::epoll_event,
    most: libc::c_int,
    timeout: libc::c_int,
) -> libc::c_int {
    let now = NOW.get();
    if now == 0 {
        let mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: the caller's own arguments.
        let ready = unsafe { libc::syscall(libc::SYS_epoll_pwait, descriptor, events, most, timeout, mask, 8) };
        return ready as libc::c_int;
    }
    if timeout != 0 {
        NEXT.set(u64::try_from(timeout).ok().map(|ms| now + ms * MS));
        ROOT.with_borrow(|root| {
            if let Some(root) = root {
                root.wake_by_ref();
            }
        });
    }
    0
}
