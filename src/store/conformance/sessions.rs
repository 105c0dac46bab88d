//! Rules about opening, checking and listing sessions.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use super::{
    outcome::{Outcome, ensure},
    user::{LONG, SHORT, User},
};
use crate::{
    clock::Timestamp,
    ids::SessionId,
    store::{LogQuery, OpenSession, Opened, RotateRefresh, Rotated, SessionState},
};

pub(super) async fn an_opened_session_is_active(user: User) -> Outcome {
    let before = user.store.ping().await?;
    let opening = user.open("s").await?;
    ensure!(before <= opening.now, "the session was opened at {}, before the call at {before}", opening.now);
    ensure!(opening.evicted.is_empty(), "the store evicted {:?} without a cap", opening.evicted);
    ensure!(opening.refresh_end == opening.now.saturating_add(LONG), "the session ends at {}", opening.refresh_end);
    let state = user.state("s").await?;
    let fresh = SessionState::Active { generation: opening.generation, counter: 0, refresh_end: opening.refresh_end };
    ensure!(state == fresh, "the session is {state:?}");
    Ok(())
}

pub(super) async fn an_unknown_session_is_unknown(user: User) -> Outcome {
    ensure!(user.state("s").await? == SessionState::Unknown, "the store returns a session of a user who has none");
    user.open("s").await?;
    ensure!(user.state("t").await? == SessionState::Unknown, "the store returns a session that was never opened");
    let other = user.sibling("other");
    ensure!(other.state("s").await? == SessionState::Unknown, "the store returns the session of another user");
    Ok(())
}

pub(super) async fn an_existing_session_is_never_overwritten(user: User) -> Outcome {
    let open = OpenSession { label: "the first".to_owned(), ..user.session("s") };
    user.open_as(open).await?;
    user.advance("s", 0).await?;
    let answer = user.store.open(user.session("s")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "opening a live session again returned {answer:?}");
    let labels: Vec<_> = user.listing(0).await?.into_iter().map(|session| session.label).collect();
    ensure!(labels == ["the first"], "the label is {labels:?}");
    user.advance("s", 1).await?;

    user.revoke_session("s").await?;
    let answer = user.store.open(user.session("s")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "opening a revoked session again returned {answer:?}");
    ensure!(user.is_revoked("s").await?, "a revoked session is no longer revoked");

    user.open("t").await?;
    user.revoke_all(None).await?;
    let answer = user.store.open(user.session("t")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "opening a session again after `revoke_all` returned {answer:?}");
    ensure!(user.is_revoked("t").await?, "a session that `revoke_all` ended is no longer revoked");
    Ok(())
}

pub(super) async fn a_session_that_is_not_used_ends(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(SHORT), "the session ends at {}", opening.refresh_end);
    loop {
        let checked = user.store.check(&user.name, &"s".into(), &"j".into()).await?;
        if opening.refresh_end <= checked.now {
            // A store may remove a session's record at any time after the session's end.
            let over = matches!(checked.state, SessionState::Expired | SessionState::Unknown);
            ensure!(over, "at its end the session is {:?}", checked.state);
            break;
        }
        ensure!(
            matches!(checked.state, SessionState::Active { .. }),
            "before its end the session is {:?}",
            checked.state
        );
        tokio::time::sleep(SHORT / 30).await;
    }
    ensure!(user.live().await?.is_empty(), "the list has the session after its end");
    Ok(())
}

pub(super) async fn the_absolute_end_bounds_the_idle_one(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: LONG, absolute: SHORT, ..user.session("s") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(SHORT), "the session ends at {}", opening.refresh_end);
    user.wait_until(opening.refresh_end).await?;
    let state = user.state("s").await?;
    ensure!(matches!(state, SessionState::Expired | SessionState::Unknown), "at its end the session is {state:?}");
    // A lifetime that ends after `Timestamp::END_OF_TIME` is valid.
    let opening = user.open_as(OpenSession { idle: LONG, absolute: Duration::MAX, ..user.session("t") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(LONG), "the session ends at {}", opening.refresh_end);
    ensure!(user.is_active("t").await?, "a session without an absolute end is not alive");
    Ok(())
}

/// Opens the sessions a, b, c and d one after the other, and then rotates a.
pub(super) async fn open_four(user: &User) -> Outcome {
    // The sessions need different times of opening, because the store evicts in the order of time.
    for sid in ["a", "b", "c", "d"] {
        let opening = user.open(sid).await?;
        user.wait_until(opening.now.saturating_add(Duration::from_millis(2))).await?;
    }
    let successor = user.advance("a", 0).await?;
    user.wait_until(successor.now.saturating_add(Duration::from_millis(2))).await
}

/// Opens a fifth session, e, with a limit of 3 sessions. Expects that the store evicts b and c.
/// Call [`open_four`] first.
pub(super) async fn evict_two_of_four(user: &User) -> Outcome {
    let opening = user.open_capped("e", NonZeroU32::MIN.saturating_add(2)).await?;
    ensure!(
        opening.evicted == ["b", "c"],
        "the store evicted {:?}, expected b and c, whose last use is longest ago",
        opening.evicted
    );
    Ok(())
}

pub(super) async fn max_sessions_evicts_those_used_longest_ago(user: User) -> Outcome {
    open_four(&user).await?;
    evict_two_of_four(&user).await?;
    for sid in ["b", "c"] {
        ensure!(user.is_revoked(sid).await?, "the evicted session {sid} is {:?}", user.state(sid).await?);
    }
    let live = user.live().await?;
    ensure!(live == ["a", "d", "e"].map(SessionId::from).into(), "the live sessions are {live:?}");
    Ok(())
}

pub(super) async fn max_sessions_counts_only_the_living(user: User) -> Outcome {
    let short = user.open_as(OpenSession { idle: SHORT, ..user.session("expired") }).await?;
    user.open("ended with all").await?;
    user.revoke_all(Some("expired")).await?;
    user.open("revoked").await?;
    user.revoke_session("revoked").await?;
    user.revoke_token("a token", short.now.saturating_add(LONG)).await?;
    user.open("alive").await?;
    user.wait_until(short.refresh_end).await?;
    let opening = user.open_capped("new", NonZeroU32::MIN.saturating_add(1)).await?;
    ensure!(opening.evicted.is_empty(), "the store evicted {:?}, though only one session was alive", opening.evicted);
    let opening = user.open_capped("newest", NonZeroU32::MIN).await?;
    let evicted: BTreeSet<_> = opening.evicted.iter().map(SessionId::as_str).collect();
    ensure!(evicted == ["alive", "new"].into(), "the store evicted {evicted:?}, expected alive and new");
    let again = user.store.open(OpenSession { max_sessions: Some(NonZeroU32::MIN), ..user.session("newest") }).await?;
    ensure!(matches!(again, Opened::Exists { .. }), "opening the session again returned {again:?}");
    ensure!(user.is_active("newest").await?, "an `open` that opened no session evicted a session");
    Ok(())
}

pub(super) async fn a_new_cap_ends_the_excess_over_some_logins(user: User) -> Outcome {
    const SESSIONS: usize = 300;
    for n in 0..SESSIONS {
        user.open(&format!("session {n}")).await?;
        user.revoke_token(&format!("token {n}"), Timestamp::END_OF_TIME).await?;
    }
    let cap = NonZeroU32::MIN.saturating_add(1);
    let (mut alive, mut evicted) = (SESSIONS, BTreeSet::new());
    for n in 0..100 {
        let opening = user.open_capped(&format!("login {n}"), cap).await?;
        alive = alive.saturating_add(1).saturating_sub(opening.evicted.len());
        for sid in opening.evicted {
            ensure!(
                user.is_revoked(sid.as_str()).await?,
                "the evicted session {sid} is {:?}",
                user.state(sid.as_str()).await?
            );
            ensure!(evicted.insert(sid.clone()), "the store evicted {sid} twice");
        }
        let live = user.live().await?;
        ensure!(live.len() == alive, "login {n}: {} sessions are alive, expected {alive}", live.len());
        ensure!(live.contains(format!("login {n}").as_str()), "login {n} has no session");
        if alive == 2 {
            return Ok(());
        }
    }
    Err(super::Broken(format!("after 100 logins with a cap of 2, {alive} of {SESSIONS} sessions are alive")))
}

pub(super) async fn a_login_that_began_before_a_revoke_all_is_superseded(user: User) -> Outcome {
    let began = user.store.ping().await?;
    let late = |sid, began| OpenSession { auth_time: Some(began), ..user.session(sid) };
    user.open_as(late("before", began)).await?;
    let revoked = user.revoke_all(None).await?;
    for began in [began, revoked.now] {
        let answer = user.store.open(late("late", began)).await?;
        ensure!(
            matches!(answer, Opened::Superseded { .. }),
            "a login that began at {began}, with a `revoke_all` at {}, returned {answer:?}",
            revoked.now
        );
    }
    ensure!(user.state("late").await? == SessionState::Unknown, "a superseded login left a session");
    // A login that begins 10 ms after the `revoke_all` must succeed.
    user.wait_until(revoked.now.saturating_add(Duration::from_millis(10))).await?;
    let began = user.store.ping().await?;
    user.open_as(late("new", began)).await?;
    ensure!(user.is_active("new").await?, "the session of a later login is not alive");
    user.revoke_session("new").await?;
    user.open_as(late("newer", began)).await?;
    Ok(())
}

pub(super) async fn the_listing_tells_what_is_known_of_a_session(user: User) -> Outcome {
    ensure!(user.listing(0).await?.is_empty(), "the list of a user without a session is not empty");
    let label = "é\r\n\0\"".repeat(146);
    let opening = user.open_as(OpenSession { label: label.clone(), ..user.session("s") }).await?;
    let absolute_end = opening.now.saturating_add(24 * LONG);
    for successor in [None, Some(0)] {
        let (rotated, expires) = match successor {
            None => (opening.now, opening.refresh_end),
            Some(counter) => {
                user.wait_until(opening.now.saturating_add(Duration::from_millis(2))).await?;
                let successor = user.advance("s", counter).await?;
                (successor.issued_at, successor.refresh_end)
            }
        };
        let listing = user.listing(0).await?;
        let [session] = listing.as_slice() else {
            return Err(super::Broken(format!("the list is {listing:?}, expected one session")));
        };
        ensure!(session.sid == "s" && session.label == label, "the id or the label in the list is wrong: {session:?}");
        ensure!(
            session.opened_at == opening.now,
            "the session was opened at {}, the list has {session:?}",
            opening.now
        );
        ensure!(session.last_rotated_at == rotated, "the session was rotated at {rotated}, the list has {session:?}");
        ensure!(session.expires_at == expires, "the session expires at {expires}, the list has {session:?}");
        ensure!(session.absolute_end == absolute_end, "the absolute end is {absolute_end}, the list has {session:?}");
    }
    Ok(())
}

pub(super) async fn the_listing_holds_live_sessions_only(user: User) -> Outcome {
    let short = user.open_as(OpenSession { idle: SHORT, ..user.session("expired") }).await?;
    user.open("ended with all").await?;
    user.revoke_all(Some("expired")).await?;
    user.open("revoked").await?;
    user.revoke_session("revoked").await?;
    user.open("reused").await?;
    user.advance("reused", 5).await?;
    user.rotate("reused", 0, Duration::ZERO).await?;
    user.revoke_token("alive", short.now.saturating_add(LONG)).await?;
    user.open("alive").await?;
    user.wait_until(short.refresh_end).await?;
    let live = user.live().await?;
    ensure!(live == [SessionId::from("alive")].into(), "the list has {live:?}");
    Ok(())
}

pub(super) async fn the_listing_can_be_read_in_pages(user: User) -> Outcome {
    let mut opened = BTreeSet::new();
    for n in 0..250 {
        let sid = format!("session {n}");
        user.open(&sid).await?;
        opened.insert(SessionId::from(sid));
    }
    for limit in [0, 1, 7, 250, u32::MAX] {
        let listed: BTreeSet<_> = user.listing(limit).await?.into_iter().map(|session| session.sid).collect();
        ensure!(listed == opened, "pages of {limit} contain {} of {} sessions", listed.len(), opened.len());
    }
    // Cursors come from clients, so the store must return the first page for an invalid one.
    for cursor in ["", "~", "-1", "no cursor", "18446744073709551616", "*"] {
        let listed = user.listing_from(Some(cursor.to_owned()), 7).await?;
        let listed: BTreeSet<_> = listed.into_iter().map(|session| session.sid).collect();
        ensure!(
            listed == opened,
            "from the cursor {cursor:?}, the pages contain {} of {} sessions",
            listed.len(),
            opened.len()
        );
    }
    Ok(())
}

pub(super) async fn no_end_lies_beyond_the_end_of_time(user: User) -> Outcome {
    let end = Timestamp::END_OF_TIME;
    let open = OpenSession { idle: Duration::MAX, absolute: Duration::MAX, ..user.session("s") };
    let opening = user.open_as(open).await?;
    ensure!(opening.refresh_end == end, "the session ends at {}", opening.refresh_end);
    let rotate = RotateRefresh::new(&user.name, "s".into(), 0, Duration::MAX, Duration::MAX);
    match user.store.rotate(rotate).await? {
        Rotated::Rotated(successor) => {
            ensure!(successor.refresh_end == end, "the rotated session does not end at the end of time: {successor:?}");
        }
        other => return Err(super::Broken(format!("the rotation returned {other:?}"))),
    }
    user.revoke_token("j", Timestamp::from_millis(u64::MAX)).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(
        matches!(state, SessionState::Revoked { .. }),
        "a token that was revoked until the end of time is {state:?}"
    );
    Ok(())
}

pub(super) async fn time_does_not_go_back(user: User) -> Outcome {
    let log = user.store.clone().revocation_log();
    let mut last = user.store.ping().await?;
    for n in 0..50 {
        let known = user.store.now();
        let now = match n % 5 {
            0 => user.store.ping().await?,
            1 => user.store.check(&user.name, &"s".into(), &"j".into()).await?.now,
            2 => user.revoke_session("s").await?.now,
            3 => user.open(&n.to_string()).await?.now,
            _ => match &log {
                Some(log) => log.read(0, LogQuery::from_start()).await?.now,
                None => user.store.ping().await?,
            },
        };
        ensure!(last <= now, "the store's time went back from {last} to {now}");
        ensure!(known <= now, "`now()` returned {known}, later than the time {now} of the next answer");
        last = now;
    }
    Ok(())
}
