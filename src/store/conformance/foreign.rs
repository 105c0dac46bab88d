//! Tokens of other issuers.

use std::time::Duration;

use super::{
    Broken, Outcome, ensure,
    subject::{LONG, SHORT, Subject},
};
use crate::{
    clock::Timestamp,
    store::{Denial, DenyQuery, DenyRequest, ExternalId, Revocation, Revoked},
};

/// Returns an issuer that no other rule uses.
fn issuer(user: &Subject) -> String {
    format!("https://issuer.example/{}", user.name)
}

async fn deny(user: &Subject, id: ExternalId, keep: Duration) -> Outcome<Revoked> {
    Ok(user.store.deny(DenyRequest { issuer: issuer(user), id, keep }).await?)
}

async fn denied(user: &Subject, [jti, sid, subject]: [&str; 3]) -> Outcome<Denial> {
    let [jti, sid, subject] = [jti, sid, subject].map(|id| Some(id.to_owned()));
    Ok(user.store.denied(DenyQuery { issuer: issuer(user), jti, sid, subject }).await?)
}

/// The length of the windows in which a denial changes nothing if it was made before.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn moment_after(moment: Timestamp) -> Timestamp {
    moment.saturating_add(Duration::from_millis(2))
}

pub(super) async fn a_denied_token_is_denied(user: Subject) -> Outcome {
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "nothing was denied yet: {denial:?}");
    ensure!(denial.born <= denial.now, "the store was born after now: {denial:?}");
    for expected in [true, false] {
        let found = deny(&user, ExternalId::Token("j".to_owned()), LONG).await?.found;
        ensure!(found == expected, "found is {found}, expected {expected}");
    }
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.token && denial.revoked_before.is_none(), "the token was denied: {denial:?}");
    let denial = denied(&user, ["k", "j", "j"]).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "another token: {denial:?}");
    let query = DenyQuery { issuer: issuer(&user), jti: None, sid: None, subject: None };
    let denial = user.store.denied(query).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "a token that says nothing: {denial:?}");
    Ok(())
}

/// Returns the moment up to which an answer ends tokens: half a second after it at most.
fn moment_of(answer: &Revoked) -> Outcome<Timestamp> {
    let Revocation::External { before: Some(before), .. } = &answer.revocation else {
        return Err(Broken(format!("it names no moment: {answer:?}")));
    };
    let right = answer.now <= *before && *before < answer.now.saturating_add(HALF_A_SECOND);
    ensure!(right, "denied at {}: {before}", answer.now);
    Ok(*before)
}

pub(super) async fn a_denied_subject_or_session_is_denied_up_to_the_last_denial(user: Subject) -> Outcome {
    let first = moment_of(&deny(&user, ExternalId::Subject("u".to_owned()), LONG).await?)?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(first), "the subject was denied until {first}: {denial:?}");
    ensure!(!denial.token, "no token was denied: {denial:?}");
    user.wait_until(moment_after(first)).await?;
    let second = moment_of(&deny(&user, ExternalId::Session("s".to_owned()), LONG).await?)?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(second), "then its session until {second}: {denial:?}");
    let denial = denied(&user, ["j", "t", "u"]).await?;
    ensure!(denial.revoked_before == Some(first), "another of its sessions: {denial:?}");
    user.wait_until(moment_after(second)).await?;
    let third = moment_of(&deny(&user, ExternalId::Subject("u".to_owned()), LONG).await?)?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(third), "then the subject again until {third}: {denial:?}");
    Ok(())
}

pub(super) async fn a_repeated_denial_writes_nothing_within_half_a_second(user: Subject) -> Outcome {
    for id in [ExternalId::Token("x".into()), ExternalId::Session("x".into()), ExternalId::Subject("x".into())] {
        let mut reader = user.reader().await?;
        let mut answers: Vec<Revoked> = Vec::new();
        for _ in 0..50 {
            answers.push(deny(&user, id.clone(), LONG).await?);
        }
        let last = answers.last().map(|answer| answer.now).unwrap_or_default();
        let logged = reader.read().await?;
        let lasted = answers.first().map(|first| last.saturating_since(first.now)).unwrap_or_default();
        let windows = lasted.as_millis() / HALF_A_SECOND.as_millis() + 2;
        ensure!(!logged.is_empty() && logged.len() as u128 <= windows, "{id:?}, in {lasted:?}: {logged:?}");
        for answer in &answers {
            let entry = logged.iter().find(|entry| entry.sequence == answer.position.sequence);
            ensure!(entry.is_some_and(|entry| entry.revocation == answer.revocation), "{answer:?} names {entry:?}");
        }
        let found = answers.iter().filter(|answer| answer.found).count();
        ensure!((1..=logged.len()).contains(&found), "{found} of {} entries found something", logged.len());
    }
    // Nothing is to be remembered.
    let mut reader = user.reader().await?;
    let nothing = deny(&user, ExternalId::Token("over".to_owned()), Duration::ZERO).await?;
    ensure!(!nothing.found && reader.read().await?.is_empty(), "what is over was logged: {nothing:?}");
    ensure!(!denied(&user, ["over", "s", "u"]).await?.token, "what is over was denied");
    Ok(())
}

pub(super) async fn issuers_and_kinds_are_kept_apart(user: Subject) -> Outcome {
    deny(&user, ExternalId::Subject("1".to_owned()), LONG).await?;
    let denial = denied(&user, ["1", "1", "2"]).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "only a subject was denied: {denial:?}");

    let one = |name: &str| Some(name.to_owned());
    let other = DenyQuery { issuer: format!("{}/", issuer(&user)), jti: one("1"), sid: one("1"), subject: one("1") };
    let denial = user.store.denied(other).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "another issuer was denied: {denial:?}");
    // The end of the issuer must not run into the beginning of the id.
    let joined = DenyQuery { issuer: format!("{}1", issuer(&user)), jti: None, sid: None, subject: one("") };
    let denial = user.store.denied(joined).await?;
    ensure!(denial.revoked_before.is_none(), "issuer and id run together: {denial:?}");

    user.open("s").await?;
    user.store
        .deny(DenyRequest { issuer: issuer(&user), id: ExternalId::Subject(user.name.clone()), keep: LONG })
        .await?;
    ensure!(user.is_active("s").await?, "a foreign subject ended a session of ours");
    Ok(())
}

pub(super) async fn a_denial_is_remembered_for_its_time(user: Subject) -> Outcome {
    let ids = || {
        [ExternalId::Token("x".to_owned()), ExternalId::Session("x".to_owned()), ExternalId::Subject("x".to_owned())]
    };
    let mut until = Timestamp::default();
    for id in ids() {
        until = deny(&user, id, SHORT).await?.now.saturating_add(SHORT);
    }
    // The longer time counts, whichever comes first.
    deny(&user, ExternalId::Token("longer".to_owned()), LONG).await?;
    deny(&user, ExternalId::Token("longer".to_owned()), SHORT).await?;
    loop {
        // Not only until then: another node may accept the token for longer.
        let denial = denied(&user, ["x", "x", "x"]).await?;
        if until <= denial.now {
            break;
        }
        ensure!(denial.token && denial.revoked_before.is_some(), "before its time: {denial:?}");
        tokio::time::sleep(SHORT / 30).await;
    }
    deny(&user, ExternalId::Token("another".to_owned()), LONG).await?;
    ensure!(denied(&user, ["longer", "x", "x"]).await?.token, "the longer time does not count");
    for id in ids() {
        deny(&user, id, LONG).await?;
    }
    let denial = denied(&user, ["x", "x", "x"]).await?;
    ensure!(denial.token && denial.revoked_before.is_some(), "denied again: {denial:?}");
    Ok(())
}

pub(super) async fn a_denial_is_logged(user: Subject) -> Outcome {
    let mut reader = user.reader().await?;
    let mut ids = Vec::new();
    let denials = [
        (ExternalId::Token("x".to_owned()), false),
        (ExternalId::Session("x".to_owned()), true),
        (ExternalId::Subject("x".to_owned()), true),
        (ExternalId::Subject("y".to_owned()), true),
    ];
    for (id, has_moment) in denials {
        let answer = deny(&user, id.clone(), LONG).await?;
        let logged = reader.read().await?;
        let right = match logged.as_slice() {
            [entry] if entry.revocation != answer.revocation || entry.until != answer.until => false,
            [entry] => match &entry.revocation {
                Revocation::External { id, before } => {
                    ids.push(id.clone());
                    let right = if has_moment { moment_of(&answer).is_ok() } else { before.is_none() };
                    right && answer.now.saturating_add(LONG) <= entry.until
                }
                _ => false,
            },
            _ => false,
        };
        ensure!(right, "{id:?} was denied at {}: {logged:?}", answer.now);
    }
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 4, "what was denied has {} names in the log, and not four", ids.len());
    Ok(())
}

pub(super) async fn the_log_calls_what_is_denied_by_its_name(user: Subject) -> Outcome {
    let ids =
        [ExternalId::Token("x".to_owned()), ExternalId::Session("x".to_owned()), ExternalId::Subject("x".to_owned())];
    for id in ids {
        let name = user.store.foreign_name(&issuer(&user), &id);
        ensure!(name.bucket < user.store.buckets(), "there is no bucket for {name:?}");
        let mut reader = user.reader().await?;
        let position = deny(&user, id, LONG).await?.position;
        let logged = reader.read().await?;
        let named = |revocation: &Revocation| matches!(revocation, Revocation::External { id, .. } if *id == name.id);
        ensure!(position.bucket == name.bucket, "{name:?} is at {position:?}");
        ensure!(logged.iter().all(|entry| named(&entry.revocation)) && logged.len() == 1, "{name:?}: {logged:?}");
    }
    Ok(())
}
