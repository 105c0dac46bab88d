//! Rules about revocations of a session, of a token, and of all sessions of a user.

use super::{
    outcome::{Broken, Outcome, ensure},
    user::{LONG, SHORT, User},
};
use crate::{
    clock::Timestamp,
    store::{OpenSession, Opened, Rotated, SessionState},
};

pub(super) async fn a_revoked_session_is_revoked(user: User) -> Outcome {
    user.open("s").await?;
    user.open("other").await?;
    let revoked = user.revoke_session("s").await?;
    ensure!(revoked.found, "a revocation of a live session has `found` false");
    let state = user.state("s").await?;
    ensure!(
        matches!(state, SessionState::Revoked { at } if at.is_none_or(|at| at == revoked.now)),
        "the session was revoked at {}, its state is {state:?}",
        revoked.now
    );
    ensure!(user.is_active("other").await?, "the revocation of one session also ended another session");
    user.sibling("stranger").revoke_session("other").await?;
    ensure!(user.is_active("other").await?, "the revocation of another user's session ended this user's session");
    Ok(())
}

pub(super) async fn a_repeated_revocation_finds_nothing(user: User) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    user.open("kept").await?;
    user.open("ended with all").await?;
    for call in ["token", "session", "absent", "all but one", "all"] {
        for n in 0..4 {
            let found = match call {
                "token" => user.revoke_token("j", until).await?,
                "session" => user.revoke_session("s").await?,
                "absent" => user.revoke_session("absent").await?,
                "all" => user.revoke_all(None).await?,
                _ => user.revoke_all(Some("kept")).await?,
            }
            .found;
            let expected = n == 0 && call != "absent";
            ensure!(found == expected, "{call}, call {n}: `found` is {found}, expected {expected}");
        }
        let kept = user.is_active("kept").await?;
        ensure!(kept == (call != "all"), "{call}: the excepted session is {:?}", user.state("kept").await?);
        if call == "all but one" {
            user.open("another").await?;
            let again = user.revoke_all(Some("kept")).await?;
            ensure!(again.found, "a session was opened since, but `found` is false: {again:?}");
            ensure!(
                user.is_revoked("another").await?,
                "the session that was opened since is {:?}",
                user.state("another").await?
            );
        }
    }
    Ok(())
}

pub(super) async fn a_session_that_ended_with_all_others_is_not_found(user: User) -> Outcome {
    user.open("s").await?;
    user.open("kept").await?;
    user.revoke_all(Some("kept")).await?;
    user.open("since").await?;
    let answer = user.revoke_session("s").await?;
    ensure!(!answer.found, "the session had ended, but `found` is true: {answer:?}");
    for sid in ["kept", "since"] {
        ensure!(user.is_active(sid).await?, "the session {sid} is {:?}", user.state(sid).await?);
        ensure!(user.revoke_session(sid).await?.found, "the revocation of the live session {sid} has `found` false");
    }
    Ok(())
}

pub(super) async fn every_session_opened_between_two_revoke_alls_is_ended_by_the_second(user: User) -> Outcome {
    // The calls of a round mostly happen in the same millisecond. So a store cannot order them by
    // the clock.
    for n in 0..50 {
        let (one, other) = (format!("{n}.a"), format!("{n}.b"));
        user.open(&one).await?;
        let kept = (n % 2 == 0).then_some(one.as_str());
        user.revoke_all(kept).await?;
        user.revoke_all(kept).await?;
        user.open(&other).await?;
        let revoked = user.revoke_all(kept).await?;
        ensure!(revoked.found, "round {n}: `found` is false: {revoked:?}");
        ensure!(
            user.is_revoked(&other).await?,
            "round {n}: the session that was opened last is {:?}",
            user.state(&other).await?
        );
        ensure!(
            user.is_active(&one).await? == kept.is_some(),
            "round {n}: the session that was opened first is {:?}",
            user.state(&one).await?
        );
    }
    Ok(())
}

pub(super) async fn a_session_that_was_revoked_before_it_was_opened_is_never_opened(user: User) -> Outcome {
    let session_found = user.revoke_session("s").await?.found;
    let all_found = user.revoke_all(Some("s")).await?.found;
    ensure!(!session_found && !all_found, "a revocation without a session has `found` true");
    // The store does not know the session, but may have lost its record. The tokens of a lost
    // session may still be valid, so no call may open a session with the same id.
    let reopened = user.store.open(user.session("s")).await?;
    ensure!(matches!(reopened, Opened::Exists { .. }), "the store opened a revoked session: {reopened:?}");
    ensure!(!user.is_active("s").await?, "the session is alive");
    Ok(())
}

pub(super) async fn a_token_that_has_expired_is_not_revoked(user: User) -> Outcome {
    let now = user.open("s").await?.now;
    for until in [now.saturating_sub(LONG), now, Timestamp::default()] {
        let revoked = user.revoke_token("j", until).await?;
        ensure!(!revoked.found, "`found` is true for a token that expired at {until}: {revoked:?}");
    }
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "the session of an expired token is {state:?}");
    Ok(())
}

pub(super) async fn a_session_past_its_end_is_revoked(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.wait_until(opening.refresh_end).await?;
    for _ in 0..3 {
        ensure!(!user.revoke_session("s").await?.found, "`found` is true for an expired session");
    }
    ensure!(user.is_revoked("s").await?, "the session is {:?}", user.state("s").await?);
    Ok(())
}

pub(super) async fn a_revoked_session_is_remembered_past_its_end(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.revoke_session("s").await?;
    user.wait_until(opening.refresh_end.saturating_add(SHORT)).await?;
    // A store may remove expired records at each change, so the rule makes some changes.
    for n in 0..4 {
        user.open(&format!("another {n}")).await?;
    }
    ensure!(user.is_revoked("s").await?, "the session is {:?}", user.state("s").await?);
    let reopened = user.store.open(user.session("s")).await?;
    ensure!(matches!(reopened, Opened::Exists { .. }), "the store opened the session again: {reopened:?}");
    Ok(())
}

pub(super) async fn a_revoked_token_leaves_its_session_alive(user: User) -> Outcome {
    let until = user.open("s").await?.now.saturating_add(LONG);
    user.revoke_token("j", until).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "the token is {state:?}");
    let state = user.token_state("s", "k").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "another token is {state:?}");
    let other = user.sibling("other");
    other.open("s").await?;
    let state = other.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "another user's token is {state:?}");
    user.advance("s", 0).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "after a rotation the token is {state:?}");
    Ok(())
}

pub(super) async fn a_revoked_token_is_remembered_until_its_time(user: User) -> Outcome {
    let now = user.open("s").await?.now;
    let (soon, late) = (now.saturating_add(SHORT), now.saturating_add(LONG));
    user.revoke_token("soon", soon).await?;
    user.revoke_token("longer", soon).await?;
    user.revoke_token("longer", late).await?;
    user.revoke_token("not shorter", late).await?;
    user.revoke_token("not shorter", soon).await?;
    loop {
        // The rule does not check that the store forgets the revocation at `soon`. Another node may
        // accept the token for longer, so the store may keep the revocation.
        let checked = user.store.check(&user.name, &"s".into(), &"soon".into()).await?;
        if soon <= checked.now {
            break;
        }
        let revoked = matches!(checked.state, SessionState::Revoked { .. });
        ensure!(revoked, "the store dropped the revocation of the token too early: {:?}", checked.state);
        tokio::time::sleep(SHORT / 30).await;
    }
    // A store may remove expired records at each change, so the rule makes a change.
    user.open("another").await?;
    for jti in ["longer", "not shorter"] {
        let state = user.token_state("s", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti:?} is {state:?}");
    }
    Ok(())
}

pub(super) async fn a_revoked_token_of_a_lost_session_is_revoked(user: User) -> Outcome {
    let until = user.store.ping().await?.saturating_add(LONG);
    user.revoke_token("j", until).await?;
    let state = user.token_state("lost", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "the token is {state:?}");
    Ok(())
}

pub(super) async fn revoke_all_ends_every_session_of_the_user_only(user: User) -> Outcome {
    let other = user.sibling("other");
    other.open("s").await?;
    for sid in ["s", "t", "u"] {
        user.open(sid).await?;
    }
    user.advance("t", 0).await?;
    let revoked = user.revoke_all(None).await?;
    ensure!(revoked.found, "a revocation of live sessions has `found` false");
    for sid in ["s", "t", "u"] {
        ensure!(user.is_revoked(sid).await?, "the session {sid} is {:?}", user.state(sid).await?);
    }
    ensure!(user.live().await?.is_empty(), "the list still has sessions");
    ensure!(other.is_active("s").await?, "another user's session ended");
    user.open("new").await?;
    ensure!(user.is_active("new").await?, "a session that was opened afterwards is {:?}", user.state("new").await?);
    Ok(())
}

pub(super) async fn revoke_all_spares_the_exception_but_not_its_revoked_tokens(user: User) -> Outcome {
    let opening = user.open("kept").await?;
    user.open("ended").await?;
    user.revoke_token("j", opening.now.saturating_add(LONG)).await?;
    ensure!(user.revoke_all(Some("kept")).await?.found, "a revocation of a live session has `found` false");
    let state = user.state("kept").await?;
    let SessionState::Active { generation, .. } = state else {
        return Err(Broken(format!("the excepted session is {state:?}")));
    };
    ensure!(
        opening.generation < generation,
        "the generation of the excepted session did not rise from {}: {state:?}",
        opening.generation
    );
    ensure!(user.is_revoked("ended").await?, "the other session is {:?}", user.state("ended").await?);
    let state = user.token_state("kept", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "the revoked token of the excepted session is {state:?}");
    let successor = user.advance("kept", 0).await?;
    ensure!(successor.generation == generation, "expected the generation {generation}: {successor:?}");
    ensure!(!user.revoke_all(Some("kept")).await?.found, "only the excepted session was alive, but `found` is true");
    ensure!(user.is_active("kept").await?, "the session was excepted twice and is {:?}", user.state("kept").await?);
    user.revoke_all(None).await?;
    ensure!(
        user.is_revoked("kept").await?,
        "the session was excepted only before and is {:?}",
        user.state("kept").await?
    );
    Ok(())
}

/// Makes sessions that are not alive, and returns their ids. The user must be new. The id "never
/// opened" has no session, and "another's" is a session of another user.
pub(super) async fn dead_sessions(user: &User) -> Outcome<[&'static str; 5]> {
    user.sibling("other").open("another's").await?;
    user.open("revoked").await?;
    user.revoke_session("revoked").await?;
    user.open("ended with all").await?;
    user.revoke_all(None).await?;
    let expired = user.open_as(OpenSession { idle: SHORT, ..user.session("expired") }).await?;
    user.wait_until(expired.refresh_end).await?;
    Ok(["revoked", "ended with all", "expired", "never opened", "another's"])
}

pub(super) async fn an_exception_that_is_not_alive_stays_dead(user: User) -> Outcome {
    for sid in dead_sessions(&user).await? {
        user.open(&format!("before {sid}")).await?;
        user.revoke_all(Some(sid)).await?;
        ensure!(!user.is_active(sid).await?, "the ended session {sid} is active again");
        let answer = user.rotate(sid, 0, LONG).await?;
        ensure!(!matches!(answer, Rotated::Rotated(_)), "the ended session {sid} still rotates");
    }
    Ok(())
}

pub(super) async fn generations_only_rise(user: User) -> Outcome {
    let mut last = None;
    for n in 0..20 {
        let sid = n.to_string();
        let generation = user.open(&sid).await?.generation;
        ensure!(
            last < Some(generation),
            "after `revoke_all` a session has the generation {generation}, before it {last:?}"
        );
        let second = user.open(&format!("{n} again")).await?.generation;
        ensure!(generation <= second, "the generation sank from {generation} to {second}");
        user.revoke_all(None).await?;
        ensure!(user.is_revoked(&sid).await?, "the session {n} is {:?}", user.state(&sid).await?);
        last = Some(second);
    }
    Ok(())
}
