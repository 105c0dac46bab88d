//! A suite that checks if a store follows the contract of its traits, rule by rule.
//!
//! The name of each [`Rule`] states its demand, and a failure contains the name. Each rule needs
//! one or two [`Part`]s of a store: its sessions, its log, its denylist.
//!
//! * [`run`] checks the parts that the store has.
//! * [`run_parts`] checks the parts that the caller names, and fails if the store lacks one of
//!   them.
//!
//! Requirements of the suite:
//!
//! * It needs a Tokio runtime. Give the runtime several threads, so that calls run in parallel.
//! * The store's clock must run, because the rules wait until short lifetimes have ended.
//! * Each rule uses new subjects or new ids of sessions, so the store may contain other data. The
//!   suite does not delete its own data afterwards.
//!
//! ```
//! use std::sync::Arc;
//! use tower_bearer::store::{
//!     MemoryStore, SessionStore,
//!     conformance::{self, Part},
//! };
//!
//! # #[tokio::main]
//! # async fn main() {
//! let new_store = async || Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>;
//! let parts = [Part::Sessions, Part::Log, Part::Denylist];
//! conformance::run_parts(&parts, new_store).await.unwrap();
//! # }
//! ```
//!
//! This checks a single rule:
//!
//! ```
//! use std::sync::Arc;
//! use tower_bearer::store::{MemoryStore, conformance};
//!
//! # #[tokio::main]
//! # async fn main() {
//! let name = "a_grace_of_zero_never_replays";
//! let rule = conformance::rules().iter().find(|rule| rule.name() == name).unwrap();
//! rule.check(Arc::new(MemoryStore::default())).await.unwrap();
//! # }
//! ```

mod concurrency;
mod denylist;
mod log;
mod names;
mod outcome;
mod revocation;
mod rotation;
mod sessions;
mod user;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use self::outcome::{Broken, Outcome};
use super::{BoxFuture, SessionStore};

/// The time limit of one rule. Each call must end within a deadline of the store, so the suite
/// reports a rule that takes longer as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the violation that the suite reports if it has checked no rule at all.
const AT_LEAST_ONE_RULE: &str = "at_least_one_rule_is_checked";

/// Checks all rules of the parts that the store has. The suite calls `new_store` once for each
/// rule. `new_store` may return a new store, or the same store every time.
///
/// # Errors
///
/// The rules that the store breaks.
pub async fn run(new_store: impl AsyncFn() -> Arc<dyn SessionStore>) -> Result<(), Violations> {
    check_rules(new_store, |rule, store| rule.parts.iter().all(|part| part.is_in(store))).await
}

/// Checks all rules of `parts`. Calls `new_store` as [`run`] does.
///
/// # Errors
///
/// The rules that the store breaks. A store that lacks a part breaks all rules of that part. If
/// `parts` is empty, the error states that no rule was checked.
pub async fn run_parts(parts: &[Part], new_store: impl AsyncFn() -> Arc<dyn SessionStore>) -> Result<(), Violations> {
    check_rules(new_store, |rule, _| rule.parts.iter().all(|part| parts.contains(part))).await
}

async fn check_rules(
    new_store: impl AsyncFn() -> Arc<dyn SessionStore>,
    applies: impl Fn(&Rule, &Arc<dyn SessionStore>) -> bool,
) -> Result<(), Violations> {
    let (mut broken, mut checked) = (Vec::new(), 0);
    for rule in rules() {
        let store = new_store().await;
        if applies(rule, &store) {
            checked += 1;
            broken.extend(rule.check(store).await.err());
        }
    }
    if checked == 0 {
        // A run that has checked nothing must not report success.
        broken.push(Violation {
            rule: AT_LEAST_ONE_RULE,
            what: "the suite checked no rule; name at least one `Part`".to_owned(),
        });
    }
    if broken.is_empty() { Ok(()) } else { Err(Violations { broken, checked: checked.max(1) }) }
}

/// Returns all rules of the suite.
#[must_use]
pub fn rules() -> &'static [Rule] {
    RULES
}

/// A part of a store. Each part is the implementation of one trait.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The implementation of [`SessionStore`], which every store has.
    Sessions,
    /// The store's [`RevocationLog`](super::RevocationLog), if it has one.
    Log,
    /// The store's [`Denylist`](super::Denylist), if it has one.
    Denylist,
}

impl Part {
    /// Returns true if the store has this part.
    fn is_in(self, store: &Arc<dyn SessionStore>) -> bool {
        match self {
            Self::Sessions => true,
            Self::Log => store.clone().revocation_log().is_some(),
            Self::Denylist => store.clone().denylist().is_some(),
        }
    }
}

/// One demand of the contract, and its check.
pub struct Rule {
    name: &'static str,
    parts: &'static [Part],
    check: fn(Arc<dyn SessionStore>) -> BoxFuture<Outcome>,
}

impl Rule {
    /// Returns the name of the rule, which states its demand.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the parts of a store that the rule needs: a single part, or the log and the
    /// denylist.
    #[must_use]
    pub fn parts(&self) -> &'static [Part] {
        self.parts
    }

    /// Checks that a store follows the rule.
    ///
    /// # Errors
    ///
    /// * The store gives a wrong answer, returns an error, or panics.
    /// * The check does not end within 60 s.
    /// * The store lacks one of the rule's [`parts`](Self::parts).
    pub async fn check(&self, store: Arc<dyn SessionStore>) -> Result<(), Violation> {
        if let Some(part) = self.parts.iter().find(|part| !part.is_in(&store)) {
            return Err(Violation { rule: self.name, what: format!("the store lacks the part {part:?}") });
        }
        let mut task = tokio::spawn((self.check)(store));
        let what = match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(Broken(what)))) => what,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                task.abort();
                format!("the rule did not end within {} s", PATIENCE.as_secs())
            }
        };
        Err(Violation { rule: self.name, what })
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

/// A rule that a store has broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    rule: &'static str,
    what: String,
}

impl Violation {
    /// Returns the rule's name.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

impl Error for Violation {}

/// The rules that a store has broken, as the error of a run of the suite.
#[derive(Clone, Eq, PartialEq)]
pub struct Violations {
    broken: Vec<Violation>,
    checked: usize,
}

impl Violations {
    /// Returns an iterator over the violations.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.broken.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store breaks {} of {} rules", self.broken.len(), self.checked)?;
        self.broken.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

impl fmt::Debug for Violations {
    /// Formats the violations like `Display`, because `unwrap()` in a test prints the `Debug` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Violations {}

use log::{denials, endings, names as logged_names, republish};

macro_rules! rules {
    ($($parts:tt { $($module:ident { $($name:ident,)+ })+ })+) => {
        const RULES: &[Rule] = &[$($($(
            Rule {
                name: stringify!($name),
                parts: {
                    use Part::*;
                    &$parts
                },
                check: |store| Box::pin($module::$name(user::User::new(store))),
            },
        )+)+)+];
    };
}

rules! {
    [Sessions] {
        sessions {
            an_opened_session_is_active,
            an_unknown_session_is_unknown,
            an_existing_session_is_never_overwritten,
            a_session_that_is_not_used_ends,
            the_absolute_end_bounds_the_idle_one,
            max_sessions_evicts_those_used_longest_ago,
            max_sessions_counts_only_the_living,
            a_new_cap_ends_the_excess_over_some_logins,
            a_login_that_began_before_a_revoke_all_is_superseded,
            the_listing_tells_what_is_known_of_a_session,
            the_listing_holds_live_sessions_only,
            the_listing_can_be_read_in_pages,
            no_end_lies_beyond_the_end_of_time,
            time_does_not_go_back,
        }
        rotation {
            a_rotation_moves_the_counter_on,
            a_rotation_prolongs_the_session_but_not_beyond_its_absolute_end,
            a_replay_within_the_grace_gets_the_same_successor,
            the_grace_does_not_slide,
            a_grace_of_zero_never_replays,
            more_than_one_behind_is_reuse_even_within_the_grace,
            reuse_ends_the_session,
            a_counter_ahead_of_the_record_is_adopted,
            a_counter_never_wraps,
            only_a_live_session_rotates,
        }
        revocation {
            a_revoked_session_is_revoked,
            a_repeated_revocation_finds_nothing,
            a_session_that_ended_with_all_others_is_not_found,
            every_session_opened_between_two_revoke_alls_is_ended_by_the_second,
            a_session_that_was_revoked_before_it_was_opened_is_never_opened,
            a_token_that_has_expired_is_not_revoked,
            a_session_past_its_end_is_revoked,
            a_revoked_session_is_remembered_past_its_end,
            a_revoked_token_leaves_its_session_alive,
            a_revoked_token_is_remembered_until_its_time,
            a_revoked_token_of_a_lost_session_is_revoked,
            revoke_all_ends_every_session_of_the_user_only,
            revoke_all_spares_the_exception_but_not_its_revoked_tokens,
            an_exception_that_is_not_alive_stays_dead,
            generations_only_rise,
        }
        names {
            subjects_of_any_text_are_kept_apart,
            sessions_and_tokens_of_any_text_are_kept_apart,
            the_longest_names_are_kept_apart,
            names_that_no_token_can_have_are_rejected,
        }
        concurrency {
            fifty_rotations_at_once_yield_one_successor,
            rotations_at_once_without_grace_leave_nothing_alive,
            a_session_is_opened_once,
            opens_at_once_never_exceed_max_sessions,
            revocations_and_rotations_at_once_leave_nothing_alive,
            what_was_answered_is_seen,
            what_was_revoked_never_comes_back,
            a_dropped_call_is_done_or_not_done,
        }
    }
    [Log] {
        log {
            the_log_is_dense_and_chained,
            the_log_holds_the_changes_in_their_order,
            an_answer_says_where_in_the_log_it_stands_and_what_is_written_there,
            an_unknown_bucket_or_cursor_does_no_harm,
            the_log_tells_for_how_long_it_is_kept,
            the_longest_staleness_is_told_and_only_grows,
            a_subject_has_one_bucket,
        }
        endings {
            evictions_are_logged,
            reuse_is_logged,
            a_stamp_is_that_of_the_users_last_entry,
            a_repeated_revocation_writes_nothing_and_names_the_first_entry,
            what_ended_with_all_sessions_needs_no_entry_of_its_own,
            a_revocation_that_finds_nothing_is_logged,
            a_token_that_has_expired_is_not_logged,
            a_session_past_its_end_is_logged_once,
            no_entry_matters_beyond_the_end_of_time,
            no_caller_makes_the_log_of_a_subject_grow_fast,
            what_is_revoked_is_remembered_for_as_long_as_the_log_is_kept,
            an_exception_is_logged_with_its_generation,
            an_exception_that_is_not_alive_is_not_named,
            a_generation_of_the_log_parts_the_dead_from_the_living,
            revocations_at_once_are_all_logged,
            evictions_at_once_are_all_logged,
            a_dropped_call_leaves_no_hole,
        }
        logged_names {
            subjects_of_any_text_are_logged_by_their_name,
            sessions_of_any_text_are_logged_by_their_name,
            names_that_no_token_can_have_are_not_logged,
        }
        republish {
            a_lost_end_of_a_session_is_told_again_once,
            a_lost_revocation_of_a_token_is_told_again_once,
            a_lost_revoke_all_spares_what_was_opened_after_it,
            a_lost_revoke_all_supersedes_logins_that_began_before_it_only,
            an_exception_that_is_lost_or_dead_is_not_named_again,
            what_is_over_is_not_told_again,
        }
    }
    [Denylist] {
        denylist {
            a_denied_token_is_denied,
            a_denied_subject_or_session_is_denied_up_to_the_last_denial,
            issuers_and_kinds_are_kept_apart,
            a_denial_is_remembered_for_its_time,
            a_denial_is_remembered_for_as_long_as_denials_are_kept,
            a_repeated_denial_finds_nothing_within_half_a_second,
            names_that_no_token_can_have_are_not_denied,
        }
    }
    [Log, Denylist] {
        denials {
            a_denial_is_logged,
            a_repeated_denial_writes_nothing_within_half_a_second,
            the_log_calls_what_is_denied_by_its_name,
            no_caller_makes_the_log_of_an_external_id_grow_fast,
            what_is_denied_is_remembered_for_as_long_as_the_log_is_kept,
            what_was_denied_before_the_log_was_kept_longer_is_told_as_such,
            a_lost_denial_is_told_again_once,
            a_denial_that_is_over_is_not_told_again,
            denials_of_names_that_no_token_can_have_are_not_logged,
        }
    }
}
