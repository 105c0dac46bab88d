//! Rules about republished revocations. The suite cannot make a store lose data. So each rule
//! passes a revocation that the store never had, as if the store had lost it.

use std::time::Duration;

use super::{
    super::{
        outcome::{Outcome, ensure},
        user::{LONG, User},
    },
    endings::{session, token},
};
use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    ids::SessionId,
    store::{OpenSession, Opened, Revocation, SessionState},
};

async fn republish(user: &User, revocation: Revocation) -> Outcome {
    let until = user.in_an_hour().await?;
    republish_until(user, revocation, until).await
}

async fn republish_until(user: &User, revocation: Revocation, until: Timestamp) -> Outcome {
    let log = user.log()?;
    Ok(log.republish(log.bucket_of(&user.name), revocation, until).await?)
}

fn all(user: &User, generation: u64, except: Option<&str>) -> Revocation {
    Revocation::Subject { subject: user.name.clone(), generation, except: except.map(SessionId::from) }
}

pub(in super::super) async fn a_lost_end_of_a_session_is_told_again_once(user: User) -> Outcome {
    user.open("came back").await?;
    user.open("another").await?;
    for sid in ["came back", "forgotten"] {
        let mut reader = user.reader().await?;
        let now = user.store.ping().await?;
        republish(&user, session(&user, sid)).await?;
        ensure!(user.is_revoked(sid).await?, "the session {sid} is {:?}", user.state(sid).await?);
        let entries = reader.read().await?;
        let lasts = entries.iter().all(|entry| now.saturating_add(LONG) <= entry.until);
        ensure!(lasts, "the entry ends before tokens that were issued meanwhile: {entries:?}");
        let logged: Vec<_> = entries.into_iter().map(|entry| entry.revocation).collect();
        ensure!(logged == [session(&user, sid)], "the revocation of {sid} was republished, the log has {logged:?}");
        republish(&user, session(&user, sid)).await?;
        let again = reader.revocations().await?;
        ensure!(again.is_empty(), "an existing revocation got another entry: {again:?}");
        let reopened = user.store.open(user.session(sid)).await?;
        ensure!(matches!(reopened, Opened::Exists { .. }), "the store opened {sid} again: {reopened:?}");
    }
    ensure!(user.is_active("another").await?, "the republication also ended another session");
    user.revoke_session("another").await?;
    let mut reader = user.reader().await?;
    republish(&user, session(&user, "another")).await?;
    ensure!(reader.revocations().await?.is_empty(), "a revocation that the store still has got another entry");
    Ok(())
}

pub(in super::super) async fn a_lost_revocation_of_a_token_is_told_again_once(user: User) -> Outcome {
    user.open("s").await?;
    let mut reader = user.reader().await?;
    let mut until = user.store.ping().await?.saturating_add(LONG);
    let mut told = until;
    for (wanted, is_news) in [(until, true), (until, false), (until.saturating_sub(LONG / 2), false)] {
        republish_until(&user, token(&user, "j"), wanted).await?;
        let logged = reader.read().await?;
        let is_logged = logged.iter().any(|entry| entry.revocation == token(&user, "j") && wanted <= entry.until);
        ensure!(
            is_logged == is_news && logged.len() < 2,
            "a revocation until {wanted} was republished, the log has {logged:?}"
        );
        told = logged.iter().map(|entry| entry.until).fold(told, Timestamp::max);
    }
    until = told.saturating_add(LONG);
    republish_until(&user, token(&user, "j"), until).await?;
    ensure!(reader.revocations().await?.len() == 1, "a revocation with a later end than {told} wrote no entry");
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "the token is {state:?}");
    ensure!(user.is_active("s").await?, "the republication also ended the token's session");
    Ok(())
}

pub(in super::super) async fn a_lost_revoke_all_spares_what_was_opened_after_it(user: User) -> Outcome {
    let old = user.open("old").await?;
    let spared = user.open("spared").await?;
    user.wait_until(old.now.max(spared.now).saturating_add(Duration::from_millis(3))).await?;
    let generation = old.generation.max(spared.generation).saturating_add(1);
    let new = user.open("new").await?;
    ensure!(new.generation >= generation, "a later session has the generation {}, below {generation}", new.generation);
    let mut reader = user.reader().await?;
    republish(&user, all(&user, generation, Some("spared"))).await?;
    ensure!(user.is_revoked("old").await?, "the session that was opened before is {:?}", user.state("old").await?);
    ensure!(user.is_active("new").await?, "the session that was opened after is {:?}", user.state("new").await?);
    ensure!(user.is_active("spared").await?, "the excepted session is {:?}", user.state("spared").await?);
    let logged = reader.revocations().await?;
    ensure!(logged == [all(&user, generation, Some("spared"))], "the log has {logged:?}");
    for known in [generation, generation.saturating_sub(1)] {
        republish(&user, all(&user, known, None)).await?;
    }
    let again = reader.revocations().await?;
    ensure!(again.is_empty(), "an existing revocation got another entry: {again:?}");
    ensure!(user.is_active("spared").await?, "republishing an existing generation ended a session");
    user.advance("spared", 0).await?;
    user.open("later").await?;
    ensure!(user.is_active("later").await?, "the session of a later login is not alive");
    Ok(())
}

pub(in super::super) async fn a_lost_revoke_all_supersedes_logins_that_began_before_it_only(user: User) -> Outcome {
    let before = user.store.ping().await?;
    user.wait_until(before.saturating_add(Duration::from_millis(3))).await?;
    let revoked = before.saturating_add(Duration::from_millis(1));
    republish(&user, all(&user, revoked.as_millis().saturating_add(1), None)).await?;
    let began = |moment| OpenSession { auth_time: Some(moment), ..user.session("s") };
    let opened = user.store.open(began(before)).await?;
    ensure!(matches!(opened, Opened::Superseded { .. }), "the answer to a login that began before is {opened:?}");
    let opened = user.store.open(began(revoked.saturating_add(Duration::from_millis(1)))).await?;
    ensure!(matches!(opened, Opened::Opened { .. }), "the answer to a login that began after is {opened:?}");
    Ok(())
}

pub(in super::super) async fn an_exception_that_is_lost_or_dead_is_not_named_again(user: User) -> Outcome {
    user.open("dead").await?;
    user.revoke_session("dead").await?;
    let mut generation = user.store.ping().await?.as_millis();
    for sid in ["dead", "lost"] {
        generation = generation.saturating_add(1);
        let mut reader = user.reader().await?;
        republish(&user, all(&user, generation, Some(sid))).await?;
        let logged = reader.revocations().await?;
        ensure!(
            logged == [all(&user, generation, None)],
            "the excepted session {sid} is not alive, the log has {logged:?}"
        );
        ensure!(!user.is_active(sid).await?, "the session {sid} is alive");
    }
    Ok(())
}

pub(in super::super) async fn what_is_over_is_not_told_again(user: User) -> Outcome {
    user.open("s").await?;
    let now = user.store.ping().await?;
    let mut reader = user.reader().await?;
    let generation = now.as_millis().saturating_add(1_000_000);
    for revocation in [session(&user, "s"), token(&user, "j"), all(&user, generation, None)] {
        republish_until(&user, revocation, now).await?;
    }
    let logged = reader.read().await?;
    ensure!(logged.is_empty(), "the log has {logged:?}");
    ensure!(user.is_active("s").await?, "a revocation whose `until` is over ended a session");
    let log = user.log()?;
    let bucket = log.buckets();
    let answer = log.republish(bucket, token(&user, "j"), now.saturating_add(LONG)).await;
    let rejected = answer.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Rejected);
    ensure!(rejected, "the bucket {bucket} does not exist, but was not rejected: {answer:?}");
    Ok(())
}
