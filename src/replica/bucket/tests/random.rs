//! Tests of the promises for random steps in random order.

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::node::{Step, World};

const CASES: u32 = 2500;
const STEPS: usize = 60;
/// Seed of the random search; `PROPTEST_RNG_SEED` overrides it. If a sequence fails, proptest
/// prints a short one that also fails.
const SEED: u64 = 1;

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..6u8;
    let time = || prop_oneof![Just(1u8), Just(3), 0..30u8, Just(60)];
    let lifetime = || prop_oneof![Just(10u8), Just(20), Just(30), Just(40), Just(80)];
    let happens = prop_oneof![
        2 => any().prop_map(Step::Open),
        4 => (any(), lifetime()).prop_map(|(session, lifetime)| Step::Mint(session, lifetime)),
        2 => (any(), lifetime()).prop_map(|(subject, lifetime)| Step::MintForeign(subject, lifetime)),
        4 => any().prop_map(Step::RevokeSession),
        1 => any().prop_map(Step::RevokeToken),
        3 => (any(), proptest::option::of(any())).prop_map(|(subject, except)| Step::RevokeAll(subject, except)),
        1 => any().prop_map(Step::RevokeForeign),
        1 => any().prop_map(Step::RevokeForeignToken),
        2 => (0..24u8).prop_map(Step::RevokeHere),
        2 => Just(Step::Confirm),
        1 => Just(Step::RequireLast),
    ];
    let is_lost = prop_oneof![
        2 => any().prop_map(Step::Trim),
        2 => any().prop_map(Step::Remove),
        1 => Just(Step::TrimAll),
        1 => Just(Step::LoseAll),
        2 => Just(Step::Save),
        2 => any().prop_map(Step::RollBack),
        1 => prop_oneof![Just(30u8), Just(40), Just(80)].prop_map(Step::Grow),
        1 => Just(Step::FailOver),
        1 => Just(Step::Restart),
    ];
    let is_read = prop_oneof![
        2 => Just(Step::Ask),
        1 => (0..2u8).prop_map(Step::Begin),
        2 => (0..3u8).prop_map(Step::Answer),
        3 => (0..3u8).prop_map(Step::Deliver),
        5 => Just(Step::Round),
        3 => Just(Step::AskBack),
        3 => Just(Step::DeliverBack),
        2 => any().prop_map(Step::Check),
    ];
    let passes = prop_oneof![time().prop_map(Step::Later), time().prop_map(Step::Elapse)];
    prop_oneof![5 => happens, 2 => is_lost, 6 => is_read, 3 => passes]
}

#[test]
fn nobody_is_accepted_against_a_revocation_that_the_store_has_and_everybody_is_served_again() {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 0..STEPS))| {
        World::run(&steps).settles();
    });
}
