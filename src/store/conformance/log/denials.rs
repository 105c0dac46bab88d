//! Rules about the log entries of denials, for stores with a log and a denylist.

use std::time::Duration;

use super::super::{
    denylist::{HALF_A_SECOND, denials_of, denied, deny, is_moment_of, issuer, session, subject, token},
    names::BAD_LENGTHS,
    outcome::{Outcome, ensure},
    user::{LONG, SHORT, User, logged},
};
use crate::{
    clock::Timestamp,
    store::{ExternalId, ExternalName, LogQuery, Revocation, Revoked},
};

/// Returns the name of another issuer's id in the log.
fn log_name(user: &User, id: &ExternalId) -> Outcome<ExternalName> {
    Ok(user.denylist()?.log_name(&issuer(user), id))
}

async fn republish(user: &User, id: &ExternalId, before: Option<Timestamp>, until: Timestamp) -> Outcome {
    let name = log_name(user, id)?;
    Ok(user.log()?.republish(name.bucket, Revocation::External { id: name.id, before }, until).await?)
}

pub(in super::super) async fn a_denial_is_logged(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    let mut ids = Vec::new();
    for (id, has_moment) in [(token("x"), false), (session("x"), true), (subject("x"), true), (subject("y"), true)] {
        let answer = deny(&user, id.clone(), LONG).await?;
        let named = logged(&answer)?;
        let entries = reader.read().await?;
        let right = match entries.as_slice() {
            [entry] if entry.revocation != named.revocation || entry.until != named.until => false,
            [entry] => match &entry.revocation {
                Revocation::External { id, before } => {
                    ids.push(id.clone());
                    let right =
                        before.is_some() == has_moment && before.is_none_or(|before| is_moment_of(before, answer.now));
                    right && answer.now.saturating_add(LONG) <= entry.until
                }
                _ => false,
            },
            _ => false,
        };
        ensure!(right, "the entries of a denial of {id:?} at {} are wrong: {entries:?}", answer.now);
    }
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 4, "four denied ids have {} names in the log", ids.len());
    // The log entry and the denylist must contain the same moment.
    let answer = deny(&user, subject("z"), LONG).await?;
    let denial = denied(&user, ["j", "s", "z"]).await?;
    let Revocation::External { before, .. } = logged(&answer)?.revocation else {
        return Err(super::super::Broken(format!("the answer contains no denial: {answer:?}")));
    };
    ensure!(before == denial.revoked_before, "the moment in the log is {before:?}, the denylist returned {denial:?}");
    Ok(())
}

pub(in super::super) async fn a_repeated_denial_writes_nothing_within_half_a_second(user: User) -> Outcome {
    for id in [token("x"), session("x"), subject("x")] {
        let mut reader = user.reader().await?;
        let mut answers: Vec<Revoked> = Vec::new();
        for _ in 0..50 {
            answers.push(deny(&user, id.clone(), LONG).await?);
        }
        let last = answers.last().map(|answer| answer.now).unwrap_or_default();
        let entries = reader.read().await?;
        let lasted = answers.first().map(|first| last.saturating_since(first.now)).unwrap_or_default();
        let windows = lasted.as_millis() / HALF_A_SECOND.as_millis() + 2;
        ensure!(
            !entries.is_empty() && entries.len() as u128 <= windows,
            "{id:?}: wrong number of entries within {lasted:?}: {entries:?}"
        );
        for answer in &answers {
            let named = logged(answer)?;
            let entry = entries.iter().find(|entry| entry.sequence == named.position.sequence);
            ensure!(
                entry.is_some_and(|entry| entry.revocation == named.revocation),
                "the revocation in {answer:?} is not that of its entry {entry:?}"
            );
        }
        let found = answers.iter().filter(|answer| answer.found).count();
        ensure!((1..=entries.len()).contains(&found), "`found` was true {found} times for {} entries", entries.len());
    }
    // If `keep` is zero, the store writes nothing.
    let mut reader = user.reader().await?;
    let nothing = deny(&user, token("over"), Duration::ZERO).await?;
    ensure!(
        !nothing.found && reader.read().await?.is_empty(),
        "a denial with a `keep` of zero wrote an entry or has `found` true: {nothing:?}"
    );
    ensure!(!denied(&user, ["over", "s", "u"]).await?.token, "the store denies a token whose denial is over");
    Ok(())
}

pub(in super::super) async fn the_log_calls_what_is_denied_by_its_name(user: User) -> Outcome {
    for id in [token("x"), session("x"), subject("x")] {
        let name = log_name(&user, &id)?;
        ensure!(name.bucket < user.log()?.buckets(), "the bucket of {name:?} does not exist");
        let mut reader = user.reader().await?;
        let answer = deny(&user, id, LONG).await?;
        let position = &logged(&answer)?.position;
        let entries = reader.read().await?;
        let named = |revocation: &Revocation| matches!(revocation, Revocation::External { id, .. } if *id == name.id);
        ensure!(position.bucket == name.bucket, "the denial of {name:?} is in another bucket: {position:?}");
        ensure!(
            entries.iter().all(|entry| named(&entry.revocation)) && entries.len() == 1,
            "expected one entry with the name {name:?}: {entries:?}"
        );
    }
    Ok(())
}

pub(in super::super) async fn no_caller_makes_the_log_of_an_external_id_grow_fast(user: User) -> Outcome {
    let started = user.store.ping().await?;
    let mut reader = user.reader().await?;
    for _ in 0..200 {
        for id in [subject("u"), session("s")] {
            deny(&user, id, LONG).await?;
        }
    }
    let lasted = user.store.ping().await?.saturating_since(started);
    let logged = reader.read().await?;
    let windows = lasted.as_millis() / HALF_A_SECOND.as_millis() + 2;
    ensure!(
        logged.len() as u128 <= 2 * windows,
        "within {lasted:?} the log got {} entries about two ids",
        logged.len()
    );
    Ok(())
}

pub(in super::super) async fn what_is_denied_is_remembered_for_as_long_as_the_log_is_kept(user: User) -> Outcome {
    // A node makes this call if it accepts tokens for up to `LONG * 40` after their issue.
    user.log()?.keep_log_for(LONG * 40);
    let mut reader = user.reader().await?;
    for id in [subject("u"), token("x")] {
        deny(&user, id, SHORT).await?;
    }
    let soon = user.store.ping().await?.saturating_add(SHORT * 6);
    republish(&user, &token("again"), None, soon).await?;
    let logged = reader.read().await?;
    let lasts = logged.iter().all(|entry| entry.at.saturating_add(LONG * 40) <= entry.until);
    ensure!(lasts && logged.len() == 3, "the log has {logged:?}");
    user.wait_until(soon.saturating_add(SHORT)).await?;
    // A store may remove expired records at each change, so the rule makes some changes.
    for n in 0..4 {
        user.open(&format!("another {n}")).await?;
    }
    for jti in ["x", "again"] {
        let denial = denied(&user, [jti, "s", "u"]).await?;
        ensure!(denial.token && denial.revoked_before.is_some(), "the store dropped a denial too early: {denial:?}");
    }
    Ok(())
}

pub(in super::super) async fn what_was_denied_before_the_log_was_kept_longer_is_told_as_such(user: User) -> Outcome {
    let log = user.log()?;
    let answer = deny(&user, token("j"), LONG).await?;
    let bucket = logged(&answer)?.position.bucket;
    let before = log.read(bucket, LogQuery::from_start()).await?.keep;
    log.keep_log_for(before.saturating_add(LONG));
    let asked = user.store.ping().await?;
    for _ in 0..2 {
        let denial = denied(&user, ["j", "s", "u"]).await?;
        let now = user.store.ping().await?;
        // The answer may include changes after `denial.now`. So `since` can be later than
        // `denial.now`.
        let right = denial.kept_longer.is_some_and(|kept| kept.before <= before && kept.since <= now);
        ensure!(right, "denials were kept for {before:?} before {asked}, but `kept_longer` is wrong: {denial:?}");
        let keep = log.read(bucket, LogQuery::from_start()).await?.keep;
        ensure!(keep >= before.saturating_add(LONG), "the log keeps entries only for {keep:?}");
    }
    Ok(())
}

pub(in super::super) async fn a_lost_denial_is_told_again_once(user: User) -> Outcome {
    let now = user.store.ping().await?;
    let (until, before) = (now.saturating_add(LONG), now.saturating_sub(SHORT));
    for (id, before) in [(token("x"), None), (subject("x"), Some(before))] {
        let mut reader = user.reader().await?;
        let revocation = Revocation::External { id: log_name(&user, &id)?.id, before };
        for expected in [1, 0] {
            republish(&user, &id, before, until).await?;
            let logged: Vec<_> =
                reader.read().await?.into_iter().filter(|entry| entry.revocation == revocation).collect();
            let right = logged.len() == expected && logged.iter().all(|entry| until <= entry.until);
            ensure!(right, "{id:?}: expected {expected} entries, the log has {logged:?}");
        }
        // A republished denial with an earlier moment and end changes nothing.
        let earlier = before.map(|before| before.saturating_sub(SHORT));
        republish(&user, &id, earlier, until.saturating_sub(SHORT)).await?;
        ensure!(reader.read().await?.is_empty(), "{id:?}: a republished denial with an earlier moment wrote an entry");
    }
    let denial = denied(&user, ["x", "x", "x"]).await?;
    ensure!(
        denial.token && denial.revoked_before == Some(before),
        "the republished denials are not in force: {denial:?}"
    );
    Ok(())
}

pub(in super::super) async fn a_denial_that_is_over_is_not_told_again(user: User) -> Outcome {
    let now = user.store.ping().await?;
    let mut reader = user.reader().await?;
    republish(&user, &token("j"), None, now).await?;
    let logged = reader.read().await?;
    ensure!(logged.is_empty(), "the log has {logged:?}");
    ensure!(!denied(&user, ["j", "s", "u"]).await?.token, "the store denies a token whose denial is over");
    Ok(())
}

pub(in super::super) async fn denials_of_names_that_no_token_can_have_are_not_logged(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    for length in BAD_LENGTHS {
        denials_of(&user, &"x".repeat(length)).await?;
    }
    let logged = reader.read().await?;
    ensure!(logged.is_empty(), "the log has {logged:?}");
    Ok(())
}
