//! The order of reads and writes of a replica's lease and deny set.
//!
//! Loom runs the crate's source file through the interleavings that the memory model allows. The
//! tests also run the wrong orders that the file warns of. Each must fail, or the model proves
//! nothing.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, dead_code, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use self::lease::Leased;

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    };
}

#[path = "../src/replica/lease.rs"]
mod lease;

/// The ends of two leases: the one before the revocation was known, and the one after.
const ENDS: [u64; 2] = [10, 20];

/// The version of the deny set before any change.
const NOTED: u64 = 1;

/// The result of a request: is the session revoked, may the node decide locally, and the time of
/// the clock.
type Found = (bool, bool, u64);
type Known = Leased<bool>;

fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(model);
}

/// Asserts that loom finds a request that decides by outdated data.
fn assert_model_fails(model: impl Fn()) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(model)) else { panic!("the model does not see what is wrong") };
    let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(said.starts_with("decided"), "another fault: {said}");
}

fn grants(known: &Known, end: u64) {
    known.apply_page::<()>(false, |_| Ok(()), Some(end)).unwrap();
}

fn learns_and_is_granted(known: &Known) {
    let learn = |known: &Known| {
        known.mutate(|is_revoked| *is_revoked = true);
        Ok::<_, ()>(())
    };
    known.apply_page(false, learn, Some(ENDS[1])).unwrap();
}

fn tends_and_is_granted(known: &Known) {
    let learn = |known: &Known| {
        known.mutate_if_changed(|is_revoked| {
            *is_revoked = true;
            ((), true)
        });
        Ok::<_, ()>(())
    };
    known.apply_page(false, learn, Some(ENDS[1])).unwrap();
}

fn grants_then_learns(known: &Known) {
    grants(known, ENDS[1]);
    known.mutate(|is_revoked| *is_revoked = true);
}

fn reads(known: &Known, clock: &AtomicU64) -> Found {
    let now = || clock.load(Ordering::SeqCst);
    let ((is_revoked, at), may_decide) = known.read(|is_revoked, _| (*is_revoked, now()), now);
    (is_revoked, may_decide, at)
}

/// Reads a cached verdict from before the revocation.
fn reads_a_note(known: &Known, clock: &AtomicU64) -> Found {
    let at = clock.load(Ordering::SeqCst);
    if known.is_current(NOTED, || clock.load(Ordering::SeqCst)) { (false, true, at) } else { reads(known, clock) }
}

/// Caches its verdict, and then uses the cached one.
fn notes_and_goes_on(known: &Known, clock: &AtomicU64) -> Found {
    let ((is_revoked, version), _) = known.read(|is_revoked, version| (*is_revoked, version), || 0);
    if is_revoked {
        return (true, false, 0);
    }
    let at = clock.load(Ordering::SeqCst);
    if known.is_current(version, || clock.load(Ordering::SeqCst)) { (false, true, at) } else { reads(known, clock) }
}

fn compares_before_it_loads_the_lease(known: &Known, clock: &AtomicU64) -> Found {
    let at = clock.load(Ordering::SeqCst);
    let is_as_noted = known.is_current(NOTED, || 0);
    let ((), may_decide) = known.read(|_, _| (), || clock.load(Ordering::SeqCst));
    if is_as_noted { (false, may_decide, at) } else { reads(known, clock) }
}

fn looks_before_it_loads_the_lease(known: &Known, clock: &AtomicU64) -> Found {
    let now = || clock.load(Ordering::SeqCst);
    let ((is_revoked, at), _) = known.read(|is_revoked, _| (*is_revoked, now()), now);
    let ((), may_decide) = known.read(|_, _| (), now);
    (is_revoked, may_decide, at)
}

fn reads_the_clock_first(known: &Known, clock: &AtomicU64) -> Found {
    let now = || clock.load(Ordering::SeqCst);
    let early = now();
    let ((is_revoked, at), may_decide) = known.read(|is_revoked, _| (*is_revoked, now()), || early);
    (is_revoked, may_decide, at)
}

/// Runs the clock, an applier that adds a revocation and then the next lease, and a request. A
/// request that misses the revocation may decide only under the earlier lease.
fn a_revocation(applies: fn(&Known), request: fn(&Known, &AtomicU64) -> Found) {
    in_every_order(move || {
        let (known, clock) = (Arc::new(Leased::new(false)), Arc::new(AtomicU64::new(1)));
        grants(&known, ENDS[0]);
        let time = {
            let clock = Arc::clone(&clock);
            thread::spawn(move || clock.store(ENDS[0], Ordering::SeqCst))
        };
        let applier = {
            let known = Arc::clone(&known);
            thread::spawn(move || applies(&known))
        };
        let (is_revoked, may_decide, at) = request(&known, &clock);
        assert!(is_revoked || !may_decide || at < ENDS[0], "decided by what was outdated");
        time.join().unwrap();
        applier.join().unwrap();
    });
}

#[test]
fn no_request_is_let_decide_by_what_was_known_before_its_lease() {
    a_revocation(learns_and_is_granted, reads);
}

#[test]
fn no_request_is_let_go_on_by_a_note_of_before() {
    a_revocation(learns_and_is_granted, reads_a_note);
}

#[test]
fn a_note_is_of_the_value_that_was_looked_at() {
    a_revocation(learns_and_is_granted, notes_and_goes_on);
    a_revocation(tends_and_is_granted, notes_and_goes_on);
}

#[test]
fn a_lease_before_the_change_is_found_by_notes_too() {
    assert_model_fails(|| a_revocation(grants_then_learns, reads_a_note));
}

#[test]
fn a_version_that_is_compared_before_the_lease_is_loaded_is_found() {
    assert_model_fails(|| a_revocation(learns_and_is_granted, compares_before_it_loads_the_lease));
}

#[test]
fn a_lease_before_the_change_that_it_stands_for_is_found() {
    assert_model_fails(|| a_revocation(grants_then_learns, reads));
}

#[test]
fn a_look_before_the_lease_is_found() {
    assert_model_fails(|| a_revocation(learns_and_is_granted, looks_before_it_loads_the_lease));
}

#[test]
fn a_clock_that_is_read_before_the_look_is_found() {
    assert_model_fails(|| a_revocation(learns_and_is_granted, reads_the_clock_first));
}

/// Runs an own revocation that returns, beside a request.
fn a_revocation_made_here(revokes: fn(&Known, &AtomicBool)) {
    in_every_order(move || {
        let (known, has_returned) = (Arc::new(Leased::new(false)), Arc::new(AtomicBool::new(false)));
        grants(&known, ENDS[0]);
        let revoker = {
            let (known, has_returned) = (Arc::clone(&known), Arc::clone(&has_returned));
            thread::spawn(move || revokes(&known, &has_returned))
        };
        let starts_later = has_returned.load(Ordering::Acquire);
        let ((), may_decide) = known.read(|_, _| (), || 1);
        assert!(!starts_later || !may_decide, "decided after the lease had ended");
        revoker.join().unwrap();
    });
}

#[test]
fn a_request_that_starts_after_the_lease_was_ended_does_not_decide() {
    a_revocation_made_here(|known, has_returned| {
        known.end_lease();
        has_returned.store(true, Ordering::Release);
    });
}

#[test]
fn a_lease_that_is_ended_after_the_answer_is_found() {
    assert_model_fails(|| {
        a_revocation_made_here(|known, has_returned| {
            has_returned.store(true, Ordering::Release);
            known.end_lease();
        });
    });
}
