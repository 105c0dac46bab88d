//! Rules about revoking a session, a token, and all sessions of a user.

use super::{
    Broken, Outcome, ensure,
    subject::{LONG, SHORT, Subject},
};
use crate::{
    clock::Timestamp,
    store::{DenyQuery, DenyRequest, ExternalId, Opened, Revocation, Rotated, SessionState},
};

fn session(user: &Subject, sid: &str) -> Revocation {
    Revocation::Session { subject: user.name.clone(), sid: sid.to_owned() }
}

pub(super) async fn a_revoked_session_is_revoked(user: Subject) -> Outcome {
    user.open("s").await?;
    user.open("other").await?;
    let revoked = user.store.revoke_session(&user.name, "s").await?;
    ensure!(revoked.found, "a live session was not found");
    let state = user.state("s").await?;
    ensure!(
        matches!(state, SessionState::Revoked { at } if at.is_none_or(|at| at == revoked.now)),
        "revoked at {}, it is {state:?}",
        revoked.now
    );
    ensure!(user.is_active("other").await?, "another session ended with it");
    let stranger = user.other(format!("{}-stranger", user.name));
    stranger.store.revoke_session(&stranger.name, "other").await?;
    ensure!(user.is_active("other").await?, "a session was revoked as another user's");
    Ok(())
}

pub(super) async fn a_repeated_revocation_writes_nothing_and_names_the_first_entry(user: Subject) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    user.open("kept").await?;
    let mut reader = user.reader().await?;
    for call in ["token", "session", "absent", "all but one", "all but a dead one", "all"] {
        if call == "all but a dead one" {
            user.store.revoke_session(&user.name, "kept").await?;
            user.open("opened since").await?;
            reader.read().await?;
        }
        let mut first = None;
        for n in 0..4 {
            let answer = match call {
                "token" => user.store.revoke_token(&user.name, "j", until).await?,
                "session" => user.store.revoke_session(&user.name, "s").await?,
                "absent" => user.store.revoke_session(&user.name, "absent").await?,
                "all" => user.store.revoke_all(&user.name, None).await?,
                _ => user.store.revoke_all(&user.name, Some("kept")).await?,
            };
            let logged = reader.read().await?;
            let first = first.get_or_insert_with(|| answer.clone());
            let same = (&answer.position, &answer.revocation) == (&first.position, &first.revocation);
            ensure!(same, "{call}: first {first:?}, then {answer:?}");
            ensure!(n == 0 || !answer.found, "{call}: a repetition found something: {answer:?}");
            // To end all sessions but a dead one is to end all.
            let expected = usize::from(n == 0 && call != "all");
            ensure!(logged.len() == expected, "{call}, call {n}: the log says {logged:?}");
            ensure!(answer.now <= answer.until, "{call}: it never mattered: {answer:?}");
        }
        if call == "all but one" {
            user.open("another").await?;
            let again = user.store.revoke_all(&user.name, Some("kept")).await?;
            ensure!(again.found && reader.read().await?.len() == 1, "a session opened since was not ended: {again:?}");
        }
    }
    Ok(())
}

pub(super) async fn what_ended_with_all_sessions_needs_no_entry_of_its_own(user: Subject) -> Outcome {
    user.open("s").await?;
    user.open("kept").await?;
    let all = user.store.revoke_all(&user.name, Some("kept")).await?;
    user.open("since").await?;
    let mut reader = user.reader().await?;
    let answer = user.store.revoke_session(&user.name, "s").await?;
    let right = !answer.found && (&answer.position, &answer.revocation) == (&all.position, &all.revocation);
    ensure!(right, "all ended with {all:?}, one of them with {answer:?}");
    ensure!(reader.read().await?.is_empty(), "it was logged");
    for sid in ["kept", "since"] {
        ensure!(user.is_active(sid).await?, "{sid} is {:?}", user.state(sid).await?);
        ensure!(user.store.revoke_session(&user.name, sid).await?.found, "{sid} was not found");
    }
    ensure!(reader.revocations().await? == [session(&user, "kept"), session(&user, "since")], "they are not logged");
    Ok(())
}

pub(super) async fn every_session_opened_between_two_revoke_alls_is_ended_by_the_second(user: Subject) -> Outcome {
    // Within one millisecond too, in which the clock cannot order them.
    for n in 0..50 {
        let (one, other) = (format!("{n}.a"), format!("{n}.b"));
        user.open(&one).await?;
        let kept = (n % 2 == 0).then_some(one.as_str());
        user.store.revoke_all(&user.name, kept).await?;
        user.store.revoke_all(&user.name, kept).await?;
        user.open(&other).await?;
        let revoked = user.store.revoke_all(&user.name, kept).await?;
        ensure!(revoked.found, "round {n}: {revoked:?}");
        ensure!(user.is_revoked(&other).await?, "round {n}: {:?}", user.state(&other).await?);
        ensure!(user.is_active(&one).await? == kept.is_some(), "round {n}: {:?}", user.state(&one).await?);
    }
    Ok(())
}

pub(super) async fn a_revocation_that_finds_nothing_is_logged(user: Subject) -> Outcome {
    let mut reader = user.reader().await?;
    let session_found = user.store.revoke_session(&user.name, "s").await?.found;
    let all_found = user.store.revoke_all(&user.name, Some("s")).await?.found;
    ensure!(!session_found && !all_found, "something was found");
    let logged = reader.revocations().await?;
    let right = match logged.as_slice() {
        [one, Revocation::Subject { except: None, .. }] => *one == session(&user, "s"),
        _ => false,
    };
    ensure!(right, "the log says {logged:?}");
    // Its record may have been lost while its tokens live: so it is never opened again.
    let reopened = user.store.open(user.session("s")).await?;
    ensure!(matches!(reopened, Opened::Exists { .. }), "what was revoked was opened: {reopened:?}");
    ensure!(!user.is_active("s").await?, "it is alive");
    Ok(())
}

pub(super) async fn a_token_that_has_expired_is_not_logged(user: Subject) -> Outcome {
    let now = user.open("s").await?.now;
    let head = user.store.revoke_session(&user.name, "another").await?.position;
    let mut reader = user.reader().await?;
    for until in [now.saturating_sub(LONG), now, Timestamp::default()] {
        let revoked = user.store.revoke_token(&user.name, "j", until).await?;
        ensure!(!revoked.found && revoked.position == head, "until {until}, the head is {head:?}: {revoked:?}");
    }
    ensure!(reader.read().await?.is_empty(), "it was logged");
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "it was marked: {state:?}");
    Ok(())
}

pub(super) async fn a_session_past_its_end_is_revoked_and_logged_once(user: Subject) -> Outcome {
    let opening = user.open_as(crate::store::OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.wait_until(opening.refresh_end).await?;
    let mut reader = user.reader().await?;
    for _ in 0..3 {
        ensure!(!user.store.revoke_session(&user.name, "s").await?.found, "it was alive");
    }
    let logged = reader.revocations().await?;
    ensure!(logged == [session(&user, "s")], "the log says {logged:?}");
    ensure!(user.is_revoked("s").await?, "it is {:?}", user.state("s").await?);
    Ok(())
}

pub(super) async fn no_caller_makes_the_log_of_a_subject_grow_fast(user: Subject) -> Outcome {
    let until = user.open("mine").await?.now.saturating_add(LONG);
    user.open("other").await?;
    let issuer = format!("https://issuer.example/{}", user.name);
    let started = user.store.ping().await?;
    let mut reader = user.reader().await?;
    for _ in 0..200 {
        user.store.revoke_session(&user.name, "other").await?;
        user.store.revoke_token(&user.name, "j", until).await?;
        user.store.revoke_token(&user.name, "expired", started).await?;
        user.store.revoke_all(&user.name, Some("mine")).await?;
        for id in [ExternalId::Subject("u".to_owned()), ExternalId::Session("s".to_owned())] {
            user.store.deny(DenyRequest { issuer: issuer.clone(), id, keep: LONG }).await?;
        }
    }
    let lasted = user.store.ping().await?.saturating_since(started);
    let logged = reader.read().await?.into_iter().map(|entry| entry.revocation);
    let (denied, own): (Vec<_>, Vec<_>) = logged.partition(|entry| matches!(entry, Revocation::External { .. }));
    ensure!(own.len() == 3, "one session, one token, all but one: the log says {own:?}");
    let windows = lasted.as_millis() / 500 + 2;
    ensure!(denied.len() as u128 <= 2 * windows, "in {lasted:?} two ids have {} entries", denied.len());
    ensure!(user.is_active("mine").await?, "it is {:?}", user.state("mine").await?);
    Ok(())
}

pub(super) async fn a_revoked_token_leaves_its_session_alive(user: Subject) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    user.store.revoke_token(&user.name, "j", until).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "the token is {state:?}");
    let state = user.token_state("s", "k").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "another token is {state:?}");
    let other = user.other(format!("{}-other", user.name));
    other.open("s").await?;
    let state = other.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "another user's token is {state:?}");
    user.advance("s", 0).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "after a rotation the token is {state:?}");
    Ok(())
}

pub(super) async fn a_revoked_token_is_remembered_until_its_time(user: Subject) -> Outcome {
    let now = user.open("s").await?.now;
    let (soon, late) = (now.saturating_add(SHORT), now.saturating_add(LONG));
    user.store.revoke_token(&user.name, "soon", soon).await?;
    user.store.revoke_token(&user.name, "longer", soon).await?;
    user.store.revoke_token(&user.name, "longer", late).await?;
    user.store.revoke_token(&user.name, "not shorter", late).await?;
    user.store.revoke_token(&user.name, "not shorter", soon).await?;
    loop {
        // Not only until then: another node may accept the token for longer.
        let checked = user.store.check(&user.name, "s", "soon").await?;
        if soon <= checked.now {
            break;
        }
        let revoked = matches!(checked.state, SessionState::Revoked { .. });
        ensure!(revoked, "before its time the mark says {:?}", checked.state);
        tokio::time::sleep(SHORT / 30).await;
    }
    // A store removes records whose time is over when it makes changes.
    user.open("another").await?;
    for jti in ["longer", "not shorter"] {
        let state = user.token_state("s", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti:?} is {state:?}");
    }
    Ok(())
}

pub(super) async fn a_revoked_token_of_a_lost_session_is_revoked(user: Subject) -> Outcome {
    let until = user.store.ping().await?.saturating_add(LONG);
    user.store.revoke_token(&user.name, "j", until).await?;
    let state = user.token_state("lost", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "it is {state:?}");
    Ok(())
}

pub(super) async fn revoke_all_ends_every_session_of_the_user_only(user: Subject) -> Outcome {
    let other = user.other(format!("{}-other", user.name));
    other.open("s").await?;
    for sid in ["s", "t", "u"] {
        user.open(sid).await?;
    }
    user.advance("t", 0).await?;
    let revoked = user.store.revoke_all(&user.name, None).await?;
    ensure!(revoked.found, "live sessions were not found");
    for sid in ["s", "t", "u"] {
        ensure!(user.is_revoked(sid).await?, "{sid} is {:?}", user.state(sid).await?);
    }
    ensure!(user.live().await?.is_empty(), "some are listed");
    ensure!(other.is_active("s").await?, "another user's session ended");
    user.open("new").await?;
    ensure!(user.is_active("new").await?, "a session opened after is {:?}", user.state("new").await?);
    Ok(())
}

pub(super) async fn revoke_all_spares_the_exception_but_not_its_revoked_tokens(user: Subject) -> Outcome {
    let until = user.open("kept").await?.now.saturating_add(LONG);
    user.open("ended").await?;
    user.store.revoke_token(&user.name, "j", until).await?;
    let mut reader = user.reader().await?;
    ensure!(user.store.revoke_all(&user.name, Some("kept")).await?.found, "a live session was not found");
    let logged = reader.revocations().await?;
    let generation = match logged.as_slice() {
        [Revocation::Subject { generation, except: Some(except), .. }] if except == "kept" => *generation,
        _ => return Err(Broken(format!("the log says {logged:?}"))),
    };
    let state = user.state("kept").await?;
    let alive = matches!(state, SessionState::Active { generation: stands_in, .. } if stands_in == generation);
    ensure!(alive, "in generation {generation} it is {state:?}");
    ensure!(user.is_revoked("ended").await?, "the other one is {:?}", user.state("ended").await?);
    let state = user.token_state("kept", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "its revoked token is {state:?}");
    let successor = user.advance("kept", 0).await?;
    ensure!(successor.generation == generation, "in generation {generation}: {successor:?}");
    ensure!(!user.store.revoke_all(&user.name, Some("kept")).await?.found, "there was only the exception");
    ensure!(user.is_active("kept").await?, "kept twice, it is {:?}", user.state("kept").await?);
    user.store.revoke_all(&user.name, None).await?;
    ensure!(user.is_revoked("kept").await?, "kept before, it is {:?}", user.state("kept").await?);
    Ok(())
}

pub(super) async fn an_exception_that_is_not_alive_is_not_named(user: Subject) -> Outcome {
    let other = user.other(format!("{}-other", user.name));
    other.open("another's").await?;
    user.open("revoked").await?;
    user.store.revoke_session(&user.name, "revoked").await?;
    user.open("ended with all").await?;
    user.store.revoke_all(&user.name, None).await?;
    let expired = user.open_as(crate::store::OpenSession { idle: SHORT, ..user.session("expired") }).await?;
    user.wait_until(expired.refresh_end).await?;
    for sid in ["revoked", "ended with all", "expired", "never opened", "another's"] {
        user.open(&format!("before {sid}")).await?;
        let mut reader = user.reader().await?;
        user.store.revoke_all(&user.name, Some(sid)).await?;
        let logged = reader.revocations().await?;
        let right = matches!(logged.as_slice(), [Revocation::Subject { except: None, .. }]);
        ensure!(right, "{sid}: the log says {logged:?}");
        ensure!(!user.is_active(sid).await?, "{sid}: it came back");
        let answer = user.rotate(sid, 0, LONG).await?;
        ensure!(!matches!(answer, Rotated::Rotated(_)), "{sid}: it rotates");
    }
    Ok(())
}

pub(super) async fn generations_only_rise(user: Subject) -> Outcome {
    let mut last = 0;
    for n in 0..20 {
        let sid = n.to_string();
        let opening = user.open(&sid).await?;
        ensure!(last <= opening.generation, "a session of generation {} came after {last}", opening.generation);
        let mut reader = user.reader().await?;
        user.store.revoke_all(&user.name, None).await?;
        let logged = reader.revocations().await?;
        let [Revocation::Subject { generation, .. }] = logged.as_slice() else {
            return Err(Broken(format!("the log says {logged:?}")));
        };
        ensure!(opening.generation < *generation, "a session of {} outlives {generation}", opening.generation);
        ensure!(user.is_revoked(&sid).await?, "session {n} is {:?}", user.state(&sid).await?);
        last = *generation;
    }
    Ok(())
}

pub(super) async fn what_is_revoked_is_remembered_for_as_long_as_the_log_is_kept(user: Subject) -> Outcome {
    // Another node accepts tokens for this long.
    user.store.keep_log_for(LONG * 40);
    user.open("s").await?;
    user.open_as(crate::store::OpenSession { idle: SHORT, ..user.session("t") }).await?;
    let mut reader = user.reader().await?;
    let issuer = format!("https://issuer.example/{}", user.name);
    let (id, token) = (ExternalId::Subject("u".to_owned()), ExternalId::Token("x".to_owned()));
    user.store.revoke_session(&user.name, "t").await?;
    for id in [id, token] {
        user.store.deny(DenyRequest { issuer: issuer.clone(), id, keep: SHORT }).await?;
    }
    let soon = user.store.ping().await?.saturating_add(SHORT * 6);
    user.store.revoke_token(&user.name, "j", soon).await?;
    user.store.republish(user.store.bucket_of(&user.name), token_of(&user, "again"), soon).await?;
    let name = user.store.foreign_name(&issuer, &ExternalId::Token("again".to_owned()));
    user.store.republish(name.bucket, Revocation::External { id: name.id, before: None }, soon).await?;
    let logged = reader.read().await?;
    let lasts = logged.iter().all(|entry| entry.at.saturating_add(LONG * 40) <= entry.until);
    ensure!(lasts && logged.len() == 6, "the log says {logged:?}");
    user.wait_until(soon.saturating_add(SHORT)).await?;
    // A store removes records whose time is over when it makes changes.
    for n in 0..4 {
        user.open(&format!("another {n}")).await?;
    }
    for jti in ["j", "again"] {
        let state = user.token_state("s", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti} is {state:?}");
    }
    ensure!(user.is_revoked("t").await?, "the session is {:?}", user.state("t").await?);
    for jti in ["x", "again"] {
        let (jti, subject) = (Some(jti.to_owned()), Some("u".to_owned()));
        let denial = user.store.denied(DenyQuery { issuer: issuer.clone(), jti, sid: None, subject }).await?;
        ensure!(denial.token && denial.revoked_before.is_some(), "{denial:?}");
    }
    Ok(())
}

fn token_of(user: &Subject, jti: &str) -> Revocation {
    Revocation::Token { subject: user.name.clone(), jti: jti.to_owned() }
}
