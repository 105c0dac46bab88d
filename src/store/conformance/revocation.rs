//! Revoking a session, a token, all of a user's.

use super::{
    Broken, Outcome, ensure,
    subject::{LONG, SHORT, Subject},
};
use crate::store::{Revocation, Rotated, SessionState};

fn session(user: &Subject, sid: &str) -> Revocation {
    Revocation::Session { subject: user.name.clone(), sid: sid.to_owned() }
}

fn token(user: &Subject, jti: &str) -> Revocation {
    Revocation::Token { subject: user.name.clone(), jti: jti.to_owned() }
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

pub(super) async fn a_revocation_is_idempotent_and_logged_each_time(user: Subject) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    let mut reader = user.reader().await?;
    for expected in [true, false] {
        let found = user.store.revoke_token(&user.name, "j", until).await?.found;
        ensure!(found == expected, "the token: found is {found}, expected {expected}");
    }
    for expected in [true, false] {
        let found = user.store.revoke_session(&user.name, "s").await?.found;
        ensure!(found == expected, "the session: found is {found}, expected {expected}");
    }
    user.open("t").await?;
    for expected in [true, false] {
        let found = user.store.revoke_all(&user.name, None).await?.found;
        ensure!(found == expected, "all: found is {found}, expected {expected}");
    }
    let logged = reader.revocations().await?;
    let (singly, all) = logged.split_at_checked(4).unwrap_or_default();
    let right = singly == [token(&user, "j"), token(&user, "j"), session(&user, "s"), session(&user, "s")]
        && matches!(all, [Revocation::Subject { except: None, .. }, Revocation::Subject { except: None, .. }]);
    ensure!(right, "the log says {logged:?}");
    Ok(())
}

pub(super) async fn a_revocation_that_finds_nothing_is_logged(user: Subject) -> Outcome {
    let now = user.store.ping().await?;
    let mut reader = user.reader().await?;
    let session_found = user.store.revoke_session(&user.name, "s").await?.found;
    // Over already: there is nothing to remember.
    user.store.revoke_token(&user.name, "j", now.saturating_sub(LONG)).await?;
    let all_found = user.store.revoke_all(&user.name, Some("s")).await?.found;
    ensure!(!session_found && !all_found, "something was found");
    let logged = reader.revocations().await?;
    let right = match logged.as_slice() {
        [a, b, Revocation::Subject { except: None, .. }] => *a == session(&user, "s") && *b == token(&user, "j"),
        _ => false,
    };
    ensure!(right, "the log says {logged:?}");
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
        let checked = user.store.check(&user.name, "s", "soon").await?;
        if soon <= checked.now {
            let state = checked.state;
            ensure!(matches!(state, SessionState::Active { .. }), "after its time the mark says {state:?}");
            break;
        }
        let revoked = matches!(checked.state, SessionState::Revoked { .. });
        ensure!(revoked, "before its time the mark says {:?}", checked.state);
        tokio::time::sleep(SHORT / 30).await;
    }
    // Changes are when a store lets go of what is over.
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
    let expired = user.open_as(crate::store::Open { idle: SHORT, ..user.session("expired") }).await?;
    user.wait_until(expired.refresh_end).await?;
    for sid in ["revoked", "ended with all", "expired", "never opened", "another's"] {
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
