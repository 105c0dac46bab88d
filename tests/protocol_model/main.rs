//! Protocol 7.1 and 7.2 as executable models, which a search checks within small bounds.
//!
//! With all rules no state breaks the promise: no node accepts a token later than the bound after
//! the confirmation of its revocation. Each test takes one rule out, and demands that the search
//! finds a violation. `cargo test --test protocol_model -- --nocapture` prints the traces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::struct_excessive_bools,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod replicas;
mod rules;
mod search;
mod sentinels;

use std::time::Instant;

use self::{
    replicas::{Faults, Replicas},
    rules::{Rule, Rules},
    search::{Model, Report},
    sentinels::{Fault, Sentinels},
};

/// Demands that no state within `depth` steps breaks the promise.
fn holds(name: &str, model: &impl Model, depth: usize) {
    let report = timed(name, || search::violation(model, depth));
    assert!(report.found.is_none(), "{name}: the promise is broken");
}

/// Demands that some state within `depth` steps breaks the promise.
fn breaks(name: &str, model: &impl Model, depth: usize) {
    let report = timed(name, || search::violation(model, depth));
    assert!(report.found.is_some(), "{name}: no violation was found");
}

/// Demands that a goal state is reached.
fn reaches(name: &str, model: &impl Model, depth: usize) {
    let report = timed(name, || search::goal(model, depth));
    assert!(report.found.is_some(), "{name}: the goal was not reached");
}

fn timed(name: &str, search: impl FnOnce() -> Report) -> Report {
    let start = Instant::now();
    let report = search();
    let Report { states, depth, is_complete, ref found } = report;
    let end = if is_complete { "all states" } else { "to this depth" };
    println!("{name}: {states} states, depth {depth}, {end}, {:?}", start.elapsed());
    if let Some((what, steps)) = found {
        println!("  {what}, after {} steps:\n    {}", steps.len(), steps.join("\n    "));
    }
    report
}

const REPLICAS_DEPTH: usize = 200;

fn replicas(rules: Rules) -> Replicas {
    Replicas { rules, faults: Faults::CutAndStop }
}

#[test]
fn with_all_rules_min_replicas_bounds_an_isolated_primary() {
    holds("replicas", &replicas(Rules::all()), REPLICAS_DEPTH);
}

#[test]
fn without_stops_the_lag_and_two_seconds_bound_an_isolated_primary() {
    let model = Replicas { rules: Rules::all(), faults: Faults::Cut };
    holds("replicas, no stops", &model, REPLICAS_DEPTH);
}

#[test]
fn in_a_calm_world_a_node_believes_its_primary() {
    reaches("replicas, calm", &Replicas { rules: Rules::all(), faults: Faults::None }, REPLICAS_DEPTH);
}

#[test]
fn without_the_write_check_an_isolated_primary_is_believed() {
    breaks("write check", &replicas(Rules::without(Rule::WriteCheck)), REPLICAS_DEPTH);
}

#[test]
fn without_the_gap_rule_a_stopped_primary_accepts_the_queued_check() {
    breaks("gap rule", &replicas(Rules::without(Rule::GapRule)), REPLICAS_DEPTH);
}

#[test]
fn with_two_seconds_of_waiting_a_queued_acknowledgement_outlasts_them() {
    breaks("wait covers lag", &replicas(Rules::without(Rule::WaitCoversLag)), REPLICAS_DEPTH);
}

#[test]
fn with_gaps_measured_from_answers_a_stop_hides_in_a_slow_answer() {
    breaks("gap by question", &replicas(Rules::without(Rule::GapByQuestion)), REPLICAS_DEPTH);
}

#[test]
fn with_another_replica_an_isolated_primary_writes_for_ever() {
    breaks("all replicas", &replicas(Rules::without(Rule::AllReplicas)), REPLICAS_DEPTH);
}

const SENTINELS_DEPTH: usize = 12;

fn sentinels(rules: Rules, fault: Fault) -> Sentinels {
    // B's memory of epochs is not in the model, so its promise needs sentinels that remember.
    Sentinels { rules, fault, failovers: 2, promises: (true, fault == Fault::None) }
}

fn breaks_sentinels(name: &str, rule: Rule, fault: Fault, promises: (bool, bool)) {
    let model = Sentinels { promises, ..sentinels(Rules::without(rule), fault) };
    breaks(name, &model, SENTINELS_DEPTH);
}

#[test]
fn with_all_rules_sentinels_bound_an_isolated_primary() {
    holds("sentinels, two failovers", &sentinels(Rules::all(), Fault::None), 9);
}

#[test]
fn with_all_rules_all_states_of_one_failover_keep_the_bound() {
    let model = Sentinels { failovers: 1, ..sentinels(Rules::all(), Fault::None) };
    holds("sentinels, one failover", &model, 60);
}

#[test]
fn with_all_rules_a_node_survives_what_sentinels_forget() {
    for fault in [Fault::Forgets, Fault::CreatedAnew, Fault::KnowsNoOthers] {
        let model = Sentinels { failovers: 1, ..sentinels(Rules::all(), fault) };
        holds(&format!("sentinels, {fault:?}"), &model, 9);
    }
}

#[test]
fn in_a_calm_world_a_node_believes_the_primary_that_sentinels_name() {
    reaches("sentinels, calm", &sentinels(Rules::all(), Fault::None), SENTINELS_DEPTH);
}

#[test]
fn without_the_majority_of_readers_a_replaced_primary_is_read() {
    breaks_sentinels("reader majority", Rule::ReaderMajority, Fault::None, (true, false));
}

#[test]
fn without_the_majority_of_writers_two_lagging_sentinels_deceive_a_reader() {
    breaks_sentinels("writer majority", Rule::WriterMajority, Fault::None, (true, false));
}

#[test]
fn with_the_majority_tested_before_the_reply_a_replaced_primary_confirms() {
    breaks_sentinels("majority after reply", Rule::MajorityAfterReply, Fault::None, (false, true));
}

#[test]
fn with_answers_dated_by_their_arrival_a_slow_answer_is_believed_too_long() {
    breaks_sentinels("dated by question", Rule::DatedByQuestion, Fault::None, (true, false));
}

#[test]
fn without_the_highest_epoch_a_sentinel_that_forgot_is_believed() {
    breaks_sentinels("highest epoch", Rule::HighestEpoch, Fault::Forgets, (true, false));
}

#[test]
fn with_the_lowest_count_one_sentinel_is_a_majority() {
    breaks_sentinels("count", Rule::CountNeverShrinks, Fault::KnowsNoOthers, (true, false));
}

#[test]
fn without_the_epoch_of_each_id_new_sentinels_are_never_believed() {
    let fault = Fault::CreatedAnew;
    reaches("sentinels created anew", &sentinels(Rules::all(), fault), SENTINELS_DEPTH);
    let model = sentinels(Rules::without(Rule::EpochPerId), fault);
    let report = timed("epoch per id", || search::goal(&model, 8));
    assert!(report.found.is_none(), "new sentinels are believed");
}
