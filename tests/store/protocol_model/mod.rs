//! Protocol sections 7 and 8 as executable models, which a search checks within small bounds.
//!
//! Promise: no node accepts a token later than the bound after the confirmation of its revocation.
//! With all rules no state breaks it. Each other test takes one rule out, and demands that the
//! search finds a violation. Tests of a calm world demand that nodes still accept live tokens.
//! `cargo test --test store -- --nocapture protocol_model` prints the traces, each the shortest
//! there is.
//!
//! | model | covers | time step |
//! |--|--|--|
//! | `log` | 7: head start, horizon, reading back, era, own revocations | any |
//! | `sentinels` | 8: majorities, epochs, slow answers | the patience |
//! | `replicas` | 8: proofs by `WAIT`, stopped primaries | one second |
//!
//! Not modelled: Cluster, tokens of other issuers, `revoke_all`, trimmed logs and growth of `keep`,
//! server clocks that step, more than one revoking node that remembers, a node's own frozen
//! process, and limits on the number of questions.

#![allow(clippy::struct_excessive_bools, reason = "states of a model are sets of flags")]

mod log;
mod replicas;
mod rules;
mod search;
mod sentinels;

use std::time::Instant;

use self::{
    log::Log,
    replicas::{BOUND, Replicas},
    rules::{Rule, Rules},
    search::{Model, Report},
    sentinels::{Fault, Sentinels},
};

/// Asserts that no state within `depth` steps breaks the promise.
fn holds(name: &str, model: &impl Model, depth: usize) {
    let report = timed(name, || search::violation(model, depth));
    assert!(report.found.is_none(), "{name}: the promise is broken");
}

/// Asserts that some state within `depth` steps breaks the promise.
fn breaks(name: &str, model: &impl Model, depth: usize) {
    let report = timed(name, || search::violation(model, depth));
    assert!(report.found.is_some(), "{name}: no violation was found");
}

/// Asserts that the search reaches a goal state.
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
    Replicas { rules, has_faults: true, is_healed: false, bound: BOUND }
}

fn breaks_replicas(name: &str, rule: Rule) {
    breaks(name, &replicas(Rules::without(rule)), REPLICAS_DEPTH);
}

/// Also covers runs without a heal.
#[test]
fn with_all_rules_proofs_bound_a_primary_that_was_cut_off_stopped_healed_or_promoted_again() {
    holds("replicas", &Replicas { is_healed: true, ..replicas(Rules::all()) }, REPLICAS_DEPTH);
}

#[test]
fn a_shorter_bound_does_not_hold() {
    breaks("shorter bound", &Replicas { bound: BOUND - 1, ..replicas(Rules::all()) }, REPLICAS_DEPTH);
}

#[test]
fn in_a_calm_world_a_node_believes_its_primary() {
    reaches("replicas, calm", &Replicas { has_faults: false, ..replicas(Rules::all()) }, REPLICAS_DEPTH);
}

#[test]
fn without_the_age_of_the_proof_an_isolated_primary_is_believed() {
    breaks_replicas("age of proof", Rule::ProofAge);
}

#[test]
fn with_a_proof_dated_by_its_answer_a_slow_answer_is_believed_too_long() {
    breaks_replicas("proof dated by question", Rule::ProofDatedByQuestion);
}

#[test]
fn with_one_of_several_replicas_a_primary_without_the_promoted_one_is_believed() {
    breaks_replicas("all replicas", Rule::AllReplicas);
}

#[test]
fn with_acknowledgements_of_earlier_writes_a_stopped_primary_proves_itself() {
    breaks_replicas("ack of this write", Rule::AckOfThisWrite);
}

#[test]
fn without_the_server_of_the_proof_the_new_primary_vouches_for_the_old_one() {
    breaks_replicas("proof of server", Rule::ProofOfServer);
}

#[test]
fn without_the_term_of_the_server_its_second_time_vouches_for_its_first() {
    let model = Replicas { is_healed: true, ..replicas(Rules::without(Rule::ServerOfTerm)) };
    breaks("server of term", &model, REPLICAS_DEPTH);
}

const SENTINELS_DEPTH: usize = 12;

fn sentinels(rules: Rules, fault: Fault) -> Sentinels {
    // B's memory of epochs is not in the model, so its promise needs sentinels that remember.
    Sentinels { rules, fault, failovers: 2, promises: (true, fault == Fault::None) }
}

fn breaks_sentinels(name: &str, rule: Rule, fault: Fault, promises: (bool, bool)) {
    let model = Sentinels { promises, failovers: 1, ..sentinels(Rules::without(rule), fault) };
    breaks(name, &model, SENTINELS_DEPTH);
}

#[test]
fn with_all_rules_sentinels_bound_an_isolated_primary() {
    holds("sentinels, two failovers", &sentinels(Rules::all(), Fault::None), 8);
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
        holds(&format!("sentinels, {fault:?}"), &model, 8);
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
    let report = timed("epoch per id", || search::goal(&model, 7));
    assert!(report.found.is_none(), "new sentinels are believed");
}

fn log(rules: Rules) -> Log {
    Log {
        rules,
        is_fresh: false,
        skew: [0, 0],
        failovers: 1,
        flushes: 0,
        entries: 3,
        ticks: 4,
        is_strong: false,
        has_strict_reads: true,
        has_own: true,
        has_pages: false,
        must_notice: true,
    }
}

/// Returns a model in which A only follows the log, without the rule.
fn follower(rule: Rule) -> Log {
    Log { has_strict_reads: false, has_own: false, must_notice: false, ..log(Rules::without(rule)) }
}

fn starter(rule: Rule) -> Log {
    Log { is_fresh: true, failovers: 0, ..follower(rule) }
}

const LOG_DEPTH: usize = 14;

#[test]
fn with_all_rules_a_node_that_follows_the_log_keeps_the_bound() {
    holds("log", &log(Rules::all()), 8);
}

#[test]
fn with_all_rules_a_node_that_starts_keeps_the_bound() {
    holds("log, start", &Log { is_fresh: true, skew: [1, 0], ..log(Rules::all()) }, 8);
}

#[test]
fn with_all_rules_a_flush_keeps_the_bound() {
    holds("log, flush", &Log { failovers: 0, flushes: 1, ..log(Rules::all()) }, 8);
}

#[test]
fn with_all_rules_sessions_that_a_failover_loses_are_asked_of_the_store() {
    holds("log, strong", &Log { is_strong: true, ..log(Rules::all()) }, 8);
}

#[test]
fn in_a_calm_world_a_node_accepts_a_new_token() {
    let follows = Log { has_strict_reads: false, has_own: false, ..log(Rules::all()) };
    let calm = Log { failovers: 0, ..follows };
    reaches("log, calm", &Log { is_fresh: true, ..calm }, LOG_DEPTH);
    reaches("log, after a failover", &follows, LOG_DEPTH);
    reaches("log, after a flush", &Log { flushes: 1, ..calm }, LOG_DEPTH);
}

#[test]
fn with_time_before_the_reads_a_revocation_falls_between_them() {
    breaks("time after reads", &Log { ticks: 5, ..starter(Rule::TimeAfterReads) }, LOG_DEPTH);
}

#[test]
fn without_the_margin_a_fast_clock_makes_tokens_look_young() {
    let model = Log { skew: [1, 0], failovers: 1, ..starter(Rule::ClockMargin) };
    breaks("margin", &model, LOG_DEPTH);
}

#[test]
fn without_the_cursor_the_chain_breaks_for_ever() {
    breaks("cursor", &starter(Rule::Cursor), LOG_DEPTH);
}

#[test]
fn without_the_kept_deny_set_a_break_forgets_a_revocation() {
    breaks("kept deny set", &follower(Rule::KeptDenySet), LOG_DEPTH);
}

#[test]
fn without_the_era_an_old_primary_confirms_a_revoked_token() {
    let base = Log { failovers: 1, entries: 2, ticks: 3, ..starter(Rule::Era) };
    let model = Log { has_strict_reads: true, ..base };
    breaks("era", &model, LOG_DEPTH);
}

#[test]
fn without_the_frozen_list_a_node_finds_its_own_head_as_the_ancestor() {
    let model = Log { failovers: 0, flushes: 1, ..follower(Rule::FrozenList) };
    breaks("frozen list, flush", &model, LOG_DEPTH);
    breaks("frozen list, failover", &follower(Rule::FrozenList), LOG_DEPTH);
}

#[test]
fn without_the_epoch_of_a_page_an_old_page_hides_a_loss() {
    let model = Log { flushes: 1, must_notice: true, ..starter(Rule::PageOfEpoch) };
    breaks("page of epoch", &Log { has_pages: true, ..model }, LOG_DEPTH);
}

#[test]
fn without_the_gap_of_a_join_a_lost_session_is_accepted() {
    breaks("gap of join", &Log { is_strong: true, ..follower(Rule::GapOfJoin) }, LOG_DEPTH);
}

#[test]
fn without_the_gap_of_a_move_a_session_is_lost_without_a_break() {
    breaks("gap of move", &Log { is_strong: true, ..follower(Rule::GapOfMove) }, LOG_DEPTH);
}

#[test]
fn without_the_margins_of_a_gap_a_late_login_on_the_old_primary_is_accepted() {
    let model = Log { is_strong: true, skew: [1, 0], ..follower(Rule::GapMargins) };
    breaks("gap margins", &model, LOG_DEPTH);
}

#[test]
fn without_keeping_the_gap_a_second_break_forgets_it() {
    let base = Log { is_strong: true, failovers: 2, ..follower(Rule::GapKept) };
    breaks("gap kept", &Log { ticks: 6, ..base }, 15);
}

#[test]
fn with_numbers_instead_of_nonces_another_entry_goes_unread() {
    breaks("nonce chain", &follower(Rule::NonceChain), LOG_DEPTH);
}

#[test]
fn without_judging_at_the_end_a_lost_own_revocation_is_seen_by_its_number() {
    let model = Log { has_own: true, must_notice: true, ..follower(Rule::OwnJudgedAtEnd) };
    breaks("own judged at end", &model, LOG_DEPTH);
}

#[test]
fn with_judging_at_the_head_everything_known_is_republished() {
    breaks("missing judged at end", &follower(Rule::MissingJudgedAtEnd), LOG_DEPTH);
}

#[test]
fn with_time_after_a_strict_read_a_revocation_falls_between_them() {
    let model = Log { has_strict_reads: true, ..starter(Rule::StrictDatedBefore) };
    breaks("strict read dated before", &model, LOG_DEPTH);
}

/// Searches further than the other tests: `PROTOCOL_MODEL_DEPTH` steps, in each configuration.
#[test]
#[ignore = "takes minutes and gigabytes; for changes of the protocol"]
fn with_all_rules_the_bound_is_kept_in_deep_searches() {
    let depth = std::env::var("PROTOCOL_MODEL_DEPTH").map_or(10, |depth| depth.parse().unwrap());
    let all = Log { ticks: 5, entries: 4, ..log(Rules::all()) };
    let follows = Log { has_strict_reads: false, has_own: false, ..all };
    let flush = Log { failovers: 0, flushes: 1, ..follows };
    for (name, model, more) in [
        ("follows", follows, 3),
        ("follows, fast first", Log { skew: [1, 0], ..follows }, 3),
        ("follows, fast second", Log { skew: [0, 1], ..follows }, 3),
        ("two failovers", Log { failovers: 2, ..follows }, 3),
        ("failover and flush", Log { flushes: 1, ..follows }, 3),
        ("strong, two failovers", Log { is_strong: true, failovers: 2, ..follows }, 3),
        ("strong, fast first", Log { is_strong: true, skew: [1, 0], ..follows }, 3),
        ("own", Log { has_own: true, ..follows }, 2),
        ("own, flush", Log { has_own: true, ..flush }, 3),
        ("own, two failovers", Log { has_own: true, failovers: 2, entries: 5, ..follows }, 2),
        ("start", Log { is_fresh: true, skew: [1, 0], ..follows }, 3),
        ("start, flush", Log { is_fresh: true, ..flush }, 3),
        ("pages", Log { has_pages: true, ..follows }, 2),
        ("pages, flush", Log { has_pages: true, is_fresh: true, ..flush }, 2),
        ("strict", Log { has_strict_reads: true, entries: 3, ..follows }, 1),
        ("strict, start", Log { has_strict_reads: true, is_fresh: true, ..follows }, 1),
        ("all", all, 0),
    ] {
        holds(name, &model, depth + more);
    }
}
