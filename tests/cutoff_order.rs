//! The order in which a stream is registered and looked at, and a revocation is made visible and
//! announced.
//!
//! Loom runs the crate's own registry and deny-set lock through the interleavings that the memory
//! model allows. Beside it stand the orders that the registry warns of. Each of them must fail, or
//! the model proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, dead_code, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::{model::Builder, thread};

use self::{
    lease::Leased,
    registry::{Indexed, Place, Registry},
};

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{
        Mutex, MutexGuard, RwLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}

#[path = "../src/replica/lease.rs"]
mod lease;
#[path = "../src/cutoff/registry.rs"]
mod registry;

use std::sync::Arc;

const KEY: u64 = 7;

struct Stream {
    place: Place,
    is_cut: loom::sync::atomic::AtomicBool,
}

impl Indexed for Stream {
    fn place(&self, number: usize) -> Option<&Place> {
        (number == 0).then_some(&self.place)
    }
}

impl Stream {
    fn new() -> Arc<Self> {
        Arc::new(Self { place: Place::new(KEY, 0), is_cut: loom::sync::atomic::AtomicBool::new(false) })
    }

    fn look(&self, denied: &Leased<bool>) {
        if denied.read(|is_revoked, _| *is_revoked, || 0).0 {
            self.is_cut.store(true, sync::Ordering::Relaxed);
        }
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(sync::Ordering::Relaxed)
    }
}

type Step = fn(&Registry<Stream>, &Leased<bool>);

fn reveals_then_announces(registry: &Registry<Stream>, denied: &Leased<bool>) {
    denied.mutate(|is_revoked| *is_revoked = true);
    registry.announce(KEY, |stream| stream.look(denied));
}

fn announces_then_reveals(registry: &Registry<Stream>, denied: &Leased<bool>) {
    registry.announce(KEY, |stream| stream.look(denied));
    denied.mutate(|is_revoked| *is_revoked = true);
}

fn registers_then_looks(registry: &Registry<Stream>, denied: &Leased<bool>, stream: &Arc<Stream>) {
    registry.register(stream, |stream| stream.look(denied));
}

fn looks_then_registers(registry: &Registry<Stream>, denied: &Leased<bool>, stream: &Arc<Stream>) {
    stream.look(denied);
    registry.insert(stream);
}

fn registers_alone(registry: &Registry<Stream>, _: &Leased<bool>, stream: &Arc<Stream>) {
    registry.insert(stream);
}

/// A stream is registered while a revocation of its token is applied. Others of its key may be
/// open.
fn a_revocation(
    revokes: Step,
    registers: fn(&Registry<Stream>, &Leased<bool>, &Arc<Stream>),
    others: usize,
) -> impl Fn() {
    move || {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(4);
        builder.check(move || {
            let (registry, denied) = (Arc::new(Registry::with_shards(1)), Arc::new(Leased::new(false)));
            let before: Vec<_> = (0..others).map(|_| Stream::new()).collect();
            for stream in &before {
                registers_then_looks(&registry, &denied, stream);
            }
            let revoker = {
                let (registry, denied) = (Arc::clone(&registry), Arc::clone(&denied));
                thread::spawn(move || revokes(&registry, &denied))
            };
            let stream = Stream::new();
            registers(&registry, &denied, &stream);
            // Another one goes meanwhile: its place is given to the one that was added last.
            if let Some(gone) = before.first() {
                registry.remove(gone);
            }
            revoker.join().unwrap();
            assert!(stream.is_cut(), "missed: the stream stays open");
            assert!(before.iter().skip(1).all(|stream| stream.is_cut()), "missed: another one stays open");
            registry.remove(&stream);
            before.iter().skip(1).for_each(|stream| registry.remove(stream));
            assert_eq!(registry.open(), 0);
        });
    }
}

/// Demands that loom finds a stream that stays open.
fn assert_model_fails(model: impl Fn()) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(model)) else { panic!("the model does not see what is wrong") };
    let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(said.starts_with("missed"), "another fault: {said}");
}

#[test]
fn a_stream_that_is_registered_meanwhile_is_cut() {
    a_revocation(reveals_then_announces, registers_then_looks, 0)();
}

#[test]
fn a_stream_is_cut_while_another_one_of_its_subject_goes() {
    a_revocation(reveals_then_announces, registers_then_looks, 2)();
}

#[test]
fn a_look_before_the_registration_is_found() {
    assert_model_fails(a_revocation(reveals_then_announces, looks_then_registers, 0));
}

#[test]
fn a_registration_without_a_look_is_found() {
    assert_model_fails(a_revocation(reveals_then_announces, registers_alone, 0));
}

#[test]
fn an_announcement_before_the_revocation_is_visible_is_found() {
    assert_model_fails(a_revocation(announces_then_reveals, registers_then_looks, 0));
}
