//! Rules about the log entries of ended sessions and revoked tokens: the store writes each entry
//! once.

use std::{num::NonZeroU32, time::Duration};

use super::super::{
    concurrency,
    outcome::{Outcome, ensure},
    sessions,
    user::{LONG, SHORT, User, logged},
};
use crate::{
    clock::Timestamp,
    store::{LogEntry, LogStamp, OpenSession, Revocation, SessionState},
};

pub(super) fn session(user: &User, sid: &str) -> Revocation {
    Revocation::Session { subject: user.name.clone(), sid: sid.into() }
}

pub(super) fn token(user: &User, jti: &str) -> Revocation {
    Revocation::Token { subject: user.name.clone(), jti: jti.into() }
}

pub(in super::super) async fn evictions_are_logged(user: User) -> Outcome {
    sessions::open_four(&user).await?;
    let mut reader = user.reader().await?;
    sessions::evict_two_of_four(&user).await?;
    let logged = reader.revocations().await?;
    ensure!(logged == ["b", "c"].map(|sid| session(&user, sid)), "the log has {logged:?}");
    Ok(())
}

/// Checks that each stamp in an answer is that of the user's last log entry. A store may omit
/// stamps.
pub(in super::super) async fn a_stamp_is_that_of_the_users_last_entry(user: User) -> Outcome {
    user.log()?.allow_staleness(LONG);
    let mut reader = user.reader().await?;
    for kind in ["session", "token", "reuse", "eviction", "all"] {
        let until = user.open(&format!("{kind}: ended")).await?.now.saturating_add(LONG);
        user.open(&format!("{kind}: alive")).await?;
        match kind {
            "session" => drop(user.revoke_session("session: ended").await?),
            "token" => drop(user.revoke_token("j", until).await?),
            "reuse" => {
                user.advance("reuse: ended", 0).await?;
                user.rotate("reuse: ended", 0, Duration::ZERO).await?;
            }
            "all" => drop(user.revoke_all(Some("all: alive")).await?),
            _ => {}
        }
        user.sibling("other").revoke_session(kind).await?;
        let sid = format!("{kind}: next");
        let opened = match kind {
            "eviction" => user.open_capped(&sid, NonZeroU32::MIN).await?,
            _ => user.open(&sid).await?,
        };
        let rotated = user.advance(&sid, 0).await?;
        let is_own = |entry: &&LogEntry| match &entry.revocation {
            Revocation::Session { subject, .. }
            | Revocation::Token { subject, .. }
            | Revocation::Subject { subject, .. } => *subject == user.name,
            Revocation::External { .. } => false,
        };
        let logged = reader.read().await?;
        let last = logged.iter().rfind(is_own).map(LogStamp::from);
        for stamp in [opened.last_revocation, rotated.last_revocation] {
            ensure!(
                stamp.is_none() || stamp == last,
                "{kind}: the stamp is {stamp:?}, that of the last entry is {last:?}"
            );
        }
    }
    Ok(())
}

pub(in super::super) async fn reuse_is_logged(user: User) -> Outcome {
    user.open("s").await?;
    user.open("other").await?;
    user.advance("s", 0).await?;
    user.advance("s", 1).await?;
    let mut reader = user.reader().await?;
    user.rotate("s", 0, Duration::ZERO).await?;
    let logged = reader.revocations().await?;
    ensure!(logged == [session(&user, "s")], "the log has {logged:?}");
    for counter in 0..4 {
        user.rotate("s", counter, LONG).await?;
    }
    let logged = reader.revocations().await?;
    ensure!(logged.is_empty(), "an ended session got another entry: {logged:?}");
    Ok(())
}

pub(in super::super) async fn a_repeated_revocation_writes_nothing_and_names_the_first_entry(user: User) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    user.open("kept").await?;
    let mut reader = user.reader().await?;
    for call in ["token", "session", "absent", "all but one", "all but a dead one", "all"] {
        if call == "all but a dead one" {
            user.revoke_session("kept").await?;
            user.open("opened since").await?;
            reader.read().await?;
        }
        let mut first = None;
        for n in 0..4 {
            let answer = match call {
                "token" => user.revoke_token("j", until).await?,
                "session" => user.revoke_session("s").await?,
                "absent" => user.revoke_session("absent").await?,
                "all" => user.revoke_all(None).await?,
                _ => user.revoke_all(Some("kept")).await?,
            };
            let entries = reader.read().await?;
            let named = logged(&answer)?;
            let first = first.get_or_insert_with(|| named.clone());
            let same = (&named.position, &named.revocation) == (&first.position, &first.revocation);
            ensure!(same, "{call}: the first entry is {first:?}, a repetition returned {answer:?}");
            ensure!(n == 0 || !answer.found, "{call}: a repetition has `found` true: {answer:?}");
            // Only the first of the four calls writes an entry. If `call` is "all", even the first
            // call writes none, because an earlier `revoke_all` has ended all sessions.
            let expected = usize::from(n == 0 && call != "all");
            ensure!(entries.len() == expected, "{call}, call {n}: the log has {entries:?}");
            ensure!(answer.now <= named.until, "{call}: `until` of the entry is in the past: {answer:?}");
        }
        if call == "all but one" {
            user.open("another").await?;
            let again = user.revoke_all(Some("kept")).await?;
            ensure!(
                again.found && reader.read().await?.len() == 1,
                "`revoke_all` did not end a session that was opened since: {again:?}"
            );
        }
    }
    Ok(())
}

pub(in super::super) async fn what_ended_with_all_sessions_needs_no_entry_of_its_own(user: User) -> Outcome {
    user.open("s").await?;
    user.open("kept").await?;
    let all = user.revoke_all(Some("kept")).await?;
    user.open("since").await?;
    let mut reader = user.reader().await?;
    let answer = user.revoke_session("s").await?;
    let (one, all) = (logged(&answer)?, logged(&all)?);
    let same = (&one.position, &one.revocation) == (&all.position, &all.revocation);
    ensure!(!answer.found && same, "`revoke_all` returned {all:?}, a revocation of one of the sessions {answer:?}");
    ensure!(reader.read().await?.is_empty(), "the call wrote an entry");
    for sid in ["kept", "since"] {
        user.revoke_session(sid).await?;
    }
    ensure!(
        reader.revocations().await? == ["kept", "since"].map(|sid| session(&user, sid)),
        "the log lacks the revocations of kept and since"
    );
    Ok(())
}

pub(in super::super) async fn a_revocation_that_finds_nothing_is_logged(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    let session_found = user.revoke_session("s").await?.found;
    let all_found = user.revoke_all(Some("s")).await?.found;
    ensure!(!session_found && !all_found, "a revocation without a session has `found` true");
    let logged = reader.revocations().await?;
    let right = match logged.as_slice() {
        [one, Revocation::Subject { except: None, .. }] => *one == session(&user, "s"),
        _ => false,
    };
    ensure!(right, "the log has {logged:?}");
    Ok(())
}

pub(in super::super) async fn a_token_that_has_expired_is_not_logged(user: User) -> Outcome {
    let now = user.open("s").await?.now;
    let head = user.revoke_session("another").await?;
    let head = &logged(&head)?.position;
    let mut reader = user.reader().await?;
    for until in [now.saturating_sub(LONG), now, Timestamp::default()] {
        let revoked = user.revoke_token("j", until).await?;
        let right = !revoked.found && logged(&revoked)?.position == *head;
        ensure!(right, "a token expired at {until}, the newest entry is {head:?}: {revoked:?}");
    }
    ensure!(reader.read().await?.is_empty(), "the call wrote an entry");
    Ok(())
}

pub(in super::super) async fn a_session_past_its_end_is_logged_once(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.wait_until(opening.refresh_end).await?;
    let mut reader = user.reader().await?;
    for _ in 0..3 {
        user.revoke_session("s").await?;
    }
    let logged = reader.revocations().await?;
    ensure!(logged == [session(&user, "s")], "the log has {logged:?}");
    Ok(())
}

pub(in super::super) async fn no_entry_matters_beyond_the_end_of_time(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    user.revoke_token("j", Timestamp::from_millis(u64::MAX)).await?;
    let logged = reader.read().await?;
    let right = !logged.is_empty() && logged.iter().all(|entry| entry.until == Timestamp::END_OF_TIME);
    ensure!(right, "the log has {logged:?}");
    Ok(())
}

pub(in super::super) async fn no_caller_makes_the_log_of_a_subject_grow_fast(user: User) -> Outcome {
    let until = user.open("mine").await?.now.saturating_add(LONG);
    user.open("other").await?;
    let started = user.store.ping().await?;
    let mut reader = user.reader().await?;
    for _ in 0..200 {
        user.revoke_session("other").await?;
        user.revoke_token("j", until).await?;
        user.revoke_token("expired", started).await?;
        user.revoke_all(Some("mine")).await?;
    }
    let logged = reader.revocations().await?;
    ensure!(logged.len() == 3, "expected the entries of a session, a token and a `revoke_all`: {logged:?}");
    ensure!(user.is_active("mine").await?, "the session is {:?}", user.state("mine").await?);
    Ok(())
}

pub(in super::super) async fn what_is_revoked_is_remembered_for_as_long_as_the_log_is_kept(user: User) -> Outcome {
    let log = user.log()?;
    // A node makes this call if it accepts tokens for up to `LONG * 40` after their issue.
    log.keep_log_for(LONG * 40);
    user.open("s").await?;
    user.open_as(OpenSession { idle: SHORT, ..user.session("t") }).await?;
    let mut reader = user.reader().await?;
    user.revoke_session("t").await?;
    let soon = user.store.ping().await?.saturating_add(SHORT * 6);
    user.revoke_token("j", soon).await?;
    log.republish(log.bucket_of(&user.name), token(&user, "again"), soon).await?;
    let logged = reader.read().await?;
    let lasts = logged.iter().all(|entry| entry.at.saturating_add(LONG * 40) <= entry.until);
    ensure!(lasts && logged.len() == 3, "the log has {logged:?}");
    user.wait_until(soon.saturating_add(SHORT)).await?;
    // A store may remove expired records at each change, so the rule makes some changes.
    for n in 0..4 {
        user.open(&format!("another {n}")).await?;
    }
    for jti in ["j", "again"] {
        let state = user.token_state("s", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti} is {state:?}");
    }
    ensure!(user.is_revoked("t").await?, "the session is {:?}", user.state("t").await?);
    Ok(())
}

pub(in super::super) async fn an_exception_is_logged_with_its_generation(user: User) -> Outcome {
    user.open("kept").await?;
    user.open("ended").await?;
    let mut reader = user.reader().await?;
    user.revoke_all(Some("kept")).await?;
    let logged = reader.revocations().await?;
    let state = user.state("kept").await?;
    let SessionState::Active { generation, .. } = state else {
        return Err(super::super::Broken(format!("the excepted session is {state:?}")));
    };
    let expected = Revocation::Subject { subject: user.name.clone(), generation, except: Some("kept".into()) };
    ensure!(logged == [expected], "the excepted session has the generation {generation}, the log has {logged:?}");
    Ok(())
}

pub(in super::super) async fn an_exception_that_is_not_alive_is_not_named(user: User) -> Outcome {
    for sid in super::super::revocation::dead_sessions(&user).await? {
        user.open(&format!("before {sid}")).await?;
        let mut reader = user.reader().await?;
        user.revoke_all(Some(sid)).await?;
        let logged = reader.revocations().await?;
        let right = matches!(logged.as_slice(), [Revocation::Subject { except: None, .. }]);
        ensure!(right, "the excepted session {sid} is not alive, the log has {logged:?}");
    }
    Ok(())
}

pub(in super::super) async fn a_generation_of_the_log_parts_the_dead_from_the_living(user: User) -> Outcome {
    let mut last = 0;
    for n in 0..20 {
        let opening = user.open(&n.to_string()).await?;
        ensure!(last <= opening.generation, "the generation of a new session is {}, below {last}", opening.generation);
        let mut reader = user.reader().await?;
        user.revoke_all(None).await?;
        let logged = reader.revocations().await?;
        let [Revocation::Subject { generation, .. }] = logged.as_slice() else {
            return Err(super::super::Broken(format!("the log has {logged:?}")));
        };
        ensure!(
            opening.generation < *generation,
            "a session of the generation {} is not below that of the entry, {generation}",
            opening.generation
        );
        last = *generation;
    }
    Ok(())
}

pub(in super::super) async fn revocations_at_once_are_all_logged(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    let users: Vec<_> = (0..50).map(|n| user.sibling(&n.to_string())).collect();
    for one in &users {
        one.open("s").await?;
    }
    let calls = users.iter().cloned().map(|one| async move {
        let mut answers = Vec::new();
        for sid in ["s", "never opened"] {
            answers.push(one.revoke_session(sid).await?);
        }
        answers.push(one.revoke_all(None).await?);
        answers.iter().map(|answer| Ok(logged(answer)?.position.clone())).collect::<Outcome<Vec<_>>>()
    });
    let mut positions: Vec<_> = concurrency::at_once(calls).await?.into_iter().flatten().collect();
    positions.sort_unstable_by_key(|position| (position.bucket, position.sequence));
    positions.dedup();
    ensure!(positions.len() == 150, "150 answers contain {} positions in the log", positions.len());

    let logged = reader.read().await?;
    for one in &users {
        let order: Vec<_> = logged
            .iter()
            .filter_map(|entry| match &entry.revocation {
                Revocation::Session { subject, sid } if *subject == one.name => Some(sid.as_str()),
                Revocation::Subject { subject, .. } if *subject == one.name => Some("all"),
                _ => None,
            })
            .collect();
        ensure!(
            order == ["s", "never opened", "all"],
            "the log has the entries of {} in the order {order:?}",
            one.name
        );
    }
    Ok(())
}

pub(in super::super) async fn evictions_at_once_are_all_logged(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    concurrency::open_a_hundred_at_once_under_a_cap_of_three(&user).await?;
    let logged = reader.revocations().await?;
    ensure!(logged.len() == 97, "the store evicted 97 of 100 sessions, the log has {} entries", logged.len());
    Ok(())
}

pub(in super::super) async fn a_dropped_call_leaves_no_hole(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    concurrency::drop_calls(&user).await?;
    // The reader returns an error if an entry is missing.
    reader.read().await?;
    user.reader().await?;
    Ok(())
}
