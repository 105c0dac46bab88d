//! Rules about revoking a session, a token, and all sessions of a user.

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
    ensure!(revoked.found, "a live session was not found");
    let state = user.state("s").await?;
    ensure!(
        matches!(state, SessionState::Revoked { at } if at.is_none_or(|at| at == revoked.now)),
        "revoked at {}, it is {state:?}",
        revoked.now
    );
    ensure!(user.is_active("other").await?, "another session ended with it");
    user.sibling("stranger").revoke_session("other").await?;
    ensure!(user.is_active("other").await?, "a session was revoked as another user's");
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
            ensure!(found == expected, "{call}, call {n}: found is {found}, expected {expected}");
        }
        let kept = user.is_active("kept").await?;
        ensure!(kept == (call != "all"), "{call}: the exception is {:?}", user.state("kept").await?);
        if call == "all but one" {
            user.open("another").await?;
            let again = user.revoke_all(Some("kept")).await?;
            ensure!(again.found, "a session opened since was not found: {again:?}");
            ensure!(user.is_revoked("another").await?, "opened since: {:?}", user.state("another").await?);
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
    ensure!(!answer.found, "it was alive: {answer:?}");
    for sid in ["kept", "since"] {
        ensure!(user.is_active(sid).await?, "{sid} is {:?}", user.state(sid).await?);
        ensure!(user.revoke_session(sid).await?.found, "{sid} was not found");
    }
    Ok(())
}

pub(super) async fn every_session_opened_between_two_revoke_alls_is_ended_by_the_second(user: User) -> Outcome {
    // Also within one millisecond, in which the clock cannot order them.
    for n in 0..50 {
        let (one, other) = (format!("{n}.a"), format!("{n}.b"));
        user.open(&one).await?;
        let kept = (n % 2 == 0).then_some(one.as_str());
        user.revoke_all(kept).await?;
        user.revoke_all(kept).await?;
        user.open(&other).await?;
        let revoked = user.revoke_all(kept).await?;
        ensure!(revoked.found, "round {n}: {revoked:?}");
        ensure!(user.is_revoked(&other).await?, "round {n}: {:?}", user.state(&other).await?);
        ensure!(user.is_active(&one).await? == kept.is_some(), "round {n}: {:?}", user.state(&one).await?);
    }
    Ok(())
}

pub(super) async fn a_session_that_was_revoked_before_it_was_opened_is_never_opened(user: User) -> Outcome {
    let session_found = user.revoke_session("s").await?.found;
    let all_found = user.revoke_all(Some("s")).await?.found;
    ensure!(!session_found && !all_found, "something was found");
    // The store may have lost its record while its tokens live, so it is never opened again.
    let reopened = user.store.open(user.session("s")).await?;
    ensure!(matches!(reopened, Opened::Exists { .. }), "what was revoked was opened: {reopened:?}");
    ensure!(!user.is_active("s").await?, "it is alive");
    Ok(())
}

pub(super) async fn a_token_that_has_expired_is_not_revoked(user: User) -> Outcome {
    let now = user.open("s").await?.now;
    for until in [now.saturating_sub(LONG), now, Timestamp::default()] {
        let revoked = user.revoke_token("j", until).await?;
        ensure!(!revoked.found, "until {until}: {revoked:?}");
    }
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Active { .. }), "it was marked: {state:?}");
    Ok(())
}

pub(super) async fn a_session_past_its_end_is_revoked(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.wait_until(opening.refresh_end).await?;
    for _ in 0..3 {
        ensure!(!user.revoke_session("s").await?.found, "it was alive");
    }
    ensure!(user.is_revoked("s").await?, "it is {:?}", user.state("s").await?);
    Ok(())
}

pub(super) async fn a_revoked_session_is_remembered_past_its_end(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    user.revoke_session("s").await?;
    user.wait_until(opening.refresh_end.saturating_add(SHORT)).await?;
    // A store may remove expired records at each change.
    for n in 0..4 {
        user.open(&format!("another {n}")).await?;
    }
    ensure!(user.is_revoked("s").await?, "it is {:?}", user.state("s").await?);
    let reopened = user.store.open(user.session("s")).await?;
    ensure!(matches!(reopened, Opened::Exists { .. }), "it was opened again: {reopened:?}");
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
        // A store may remember it for longer: another node may accept the token for longer.
        let checked = user.store.check(&user.name, &"s".into(), &"soon".into()).await?;
        if soon <= checked.now {
            break;
        }
        let revoked = matches!(checked.state, SessionState::Revoked { .. });
        ensure!(revoked, "before its time the mark says {:?}", checked.state);
        tokio::time::sleep(SHORT / 30).await;
    }
    // A store may remove expired records at each change.
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
    ensure!(matches!(state, SessionState::Revoked { .. }), "it is {state:?}");
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

pub(super) async fn revoke_all_spares_the_exception_but_not_its_revoked_tokens(user: User) -> Outcome {
    let opening = user.open("kept").await?;
    user.open("ended").await?;
    user.revoke_token("j", opening.now.saturating_add(LONG)).await?;
    ensure!(user.revoke_all(Some("kept")).await?.found, "a live session was not found");
    let state = user.state("kept").await?;
    let SessionState::Active { generation, .. } = state else {
        return Err(Broken(format!("the exception is {state:?}")));
    };
    ensure!(opening.generation < generation, "its generation was {}, it is {state:?}", opening.generation);
    ensure!(user.is_revoked("ended").await?, "the other one is {:?}", user.state("ended").await?);
    let state = user.token_state("kept", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "its revoked token is {state:?}");
    let successor = user.advance("kept", 0).await?;
    ensure!(successor.generation == generation, "in generation {generation}: {successor:?}");
    ensure!(!user.revoke_all(Some("kept")).await?.found, "there was only the exception");
    ensure!(user.is_active("kept").await?, "kept twice, it is {:?}", user.state("kept").await?);
    user.revoke_all(None).await?;
    ensure!(user.is_revoked("kept").await?, "kept before, it is {:?}", user.state("kept").await?);
    Ok(())
}

/// Makes sessions that are dead in each way, and returns their ids. Their user must not exist yet.
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
        ensure!(!user.is_active(sid).await?, "{sid}: it came back");
        let answer = user.rotate(sid, 0, LONG).await?;
        ensure!(!matches!(answer, Rotated::Rotated(_)), "{sid}: it rotates");
    }
    Ok(())
}

pub(super) async fn generations_only_rise(user: User) -> Outcome {
    let mut last = None;
    for n in 0..20 {
        let sid = n.to_string();
        let generation = user.open(&sid).await?.generation;
        ensure!(last < Some(generation), "after a revocation of all, {generation} came after {last:?}");
        let second = user.open(&format!("{n} again")).await?.generation;
        ensure!(generation <= second, "{second} came after {generation}");
        user.revoke_all(None).await?;
        ensure!(user.is_revoked(&sid).await?, "session {n} is {:?}", user.state(&sid).await?);
        last = Some(second);
    }
    Ok(())
}
