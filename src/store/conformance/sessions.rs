//! Rules about opening, checking and listing.

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
    ensure!(before <= opening.now, "opened at {}, asked at {before}", opening.now);
    ensure!(opening.evicted.is_empty(), "{:?} were evicted without a cap", opening.evicted);
    ensure!(opening.refresh_end == opening.now.saturating_add(LONG), "ends at {}", opening.refresh_end);
    let state = user.state("s").await?;
    let fresh = SessionState::Active { generation: opening.generation, counter: 0, refresh_end: opening.refresh_end };
    ensure!(state == fresh, "it is {state:?}");
    Ok(())
}

pub(super) async fn an_unknown_session_is_unknown(user: User) -> Outcome {
    ensure!(user.state("s").await? == SessionState::Unknown, "a session of a user who has none is known");
    user.open("s").await?;
    ensure!(user.state("t").await? == SessionState::Unknown, "a session that was never opened is known");
    let other = user.sibling("other");
    ensure!(other.state("s").await? == SessionState::Unknown, "a session is known as another user's");
    Ok(())
}

pub(super) async fn an_existing_session_is_never_overwritten(user: User) -> Outcome {
    let open = OpenSession { label: "the first".to_owned(), ..user.session("s") };
    user.open_as(open).await?;
    user.advance("s", 0).await?;
    let answer = user.store.open(user.session("s")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "a live session: {answer:?}");
    let labels: Vec<_> = user.listing(0).await?.into_iter().map(|session| session.label).collect();
    ensure!(labels == ["the first"], "the label is {labels:?}");
    user.advance("s", 1).await?;

    user.revoke_session("s").await?;
    let answer = user.store.open(user.session("s")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "a revoked session: {answer:?}");
    ensure!(user.is_revoked("s").await?, "a revoked session was opened again");

    user.open("t").await?;
    user.revoke_all(None).await?;
    let answer = user.store.open(user.session("t")).await?;
    ensure!(matches!(answer, Opened::Exists { .. }), "a session that ended with all others: {answer:?}");
    ensure!(user.is_revoked("t").await?, "a session that ended with all others was opened again");
    Ok(())
}

pub(super) async fn a_session_that_is_not_used_ends(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("s") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(SHORT), "ends at {}", opening.refresh_end);
    loop {
        let checked = user.store.check(&user.name, &"s".into(), &"j".into()).await?;
        if opening.refresh_end <= checked.now {
            // A store may remove a session at any time after its end.
            let over = matches!(checked.state, SessionState::Expired | SessionState::Unknown);
            ensure!(over, "at its end it is {:?}", checked.state);
            break;
        }
        ensure!(matches!(checked.state, SessionState::Active { .. }), "before its end it is {:?}", checked.state);
        tokio::time::sleep(SHORT / 30).await;
    }
    ensure!(user.live().await?.is_empty(), "it is listed after its end");
    Ok(())
}

pub(super) async fn the_absolute_end_bounds_the_idle_one(user: User) -> Outcome {
    let opening = user.open_as(OpenSession { idle: LONG, absolute: SHORT, ..user.session("s") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(SHORT), "ends at {}", opening.refresh_end);
    user.wait_until(opening.refresh_end).await?;
    let state = user.state("s").await?;
    ensure!(matches!(state, SessionState::Expired | SessionState::Unknown), "at its end it is {state:?}");
    // A lifetime that ends beyond the end of time does no harm.
    let opening = user.open_as(OpenSession { idle: LONG, absolute: Duration::MAX, ..user.session("t") }).await?;
    ensure!(opening.refresh_end == opening.now.saturating_add(LONG), "ends at {}", opening.refresh_end);
    ensure!(user.is_active("t").await?, "a session without an absolute end is not alive");
    Ok(())
}

/// Opens a, b, c and d, and then uses a.
pub(super) async fn open_four(user: &User) -> Outcome {
    // Each at a moment of its own: otherwise their order would be undefined.
    for sid in ["a", "b", "c", "d"] {
        let opening = user.open(sid).await?;
        user.wait_until(opening.now.saturating_add(Duration::from_millis(2))).await?;
    }
    let successor = user.advance("a", 0).await?;
    user.wait_until(successor.now.saturating_add(Duration::from_millis(2))).await
}

/// Opens e under a cap of three, after [`open_four`].
pub(super) async fn evict_two_of_four(user: &User) -> Outcome {
    let opening = user.open_capped("e", NonZeroU32::MIN.saturating_add(2)).await?;
    ensure!(opening.evicted == ["b", "c"], "evicted were {:?}, used longest ago were b and c", opening.evicted);
    Ok(())
}

pub(super) async fn max_sessions_evicts_those_used_longest_ago(user: User) -> Outcome {
    open_four(&user).await?;
    evict_two_of_four(&user).await?;
    for sid in ["b", "c"] {
        ensure!(user.is_revoked(sid).await?, "{sid} was evicted and is {:?}", user.state(sid).await?);
    }
    let live = user.live().await?;
    ensure!(live == ["a", "d", "e"].map(SessionId::from).into(), "alive are {live:?}");
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
    ensure!(opening.evicted.is_empty(), "evicted were {:?}, though only one session was alive", opening.evicted);
    let opening = user.open_capped("newest", NonZeroU32::MIN).await?;
    let evicted: BTreeSet<_> = opening.evicted.iter().map(SessionId::as_str).collect();
    ensure!(evicted == ["alive", "new"].into(), "evicted were {evicted:?}");
    let again = user.store.open(OpenSession { max_sessions: Some(NonZeroU32::MIN), ..user.session("newest") }).await?;
    ensure!(matches!(again, Opened::Exists { .. }), "{again:?}");
    ensure!(user.is_active("newest").await?, "an open that was refused evicted something");
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
                "{sid} was evicted and is {:?}",
                user.state(sid.as_str()).await?
            );
            ensure!(evicted.insert(sid.clone()), "{sid} was evicted twice");
        }
        let live = user.live().await?;
        ensure!(live.len() == alive, "login {n}: {} are alive, and not {alive}", live.len());
        ensure!(live.contains(format!("login {n}").as_str()), "login {n} has no session");
        if alive == 2 {
            return Ok(());
        }
    }
    Err(super::Broken(format!("100 logins under a cap of 2 leave {alive} of {SESSIONS} sessions")))
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
            "began at {began}, revoked at {}: {answer:?}",
            revoked.now
        );
    }
    ensure!(user.state("late").await? == SessionState::Unknown, "a superseded login left a session");
    // The contract allows 10 ms, because the generation may be a little ahead of the clock.
    user.wait_until(revoked.now.saturating_add(Duration::from_millis(10))).await?;
    let began = user.store.ping().await?;
    user.open_as(late("new", began)).await?;
    ensure!(user.is_active("new").await?, "a login that began after is not alive");
    user.revoke_session("new").await?;
    user.open_as(late("newer", began)).await?;
    Ok(())
}

pub(super) async fn the_listing_tells_what_is_known_of_a_session(user: User) -> Outcome {
    ensure!(user.listing(0).await?.is_empty(), "a user who has no session has a listing");
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
        let [session] = listing.as_slice() else { return Err(super::Broken(format!("listed are {listing:?}"))) };
        ensure!(session.sid == "s" && session.label == label, "listed is {session:?}");
        ensure!(session.opened_at == opening.now, "opened at {}: {session:?}", opening.now);
        ensure!(session.last_rotated_at == rotated, "rotated at {rotated}: {session:?}");
        ensure!(session.expires_at == expires, "expires at {expires}: {session:?}");
        ensure!(session.absolute_end == absolute_end, "ends at {absolute_end}: {session:?}");
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
    ensure!(live == [SessionId::from("alive")].into(), "listed are {live:?}");
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
        ensure!(listed == opened, "in pages of {limit}, {} of {} are listed", listed.len(), opened.len());
    }
    // A cursor may come from a client, so an invalid one is no error.
    for cursor in ["", "~", "-1", "no cursor", "18446744073709551616", "*"] {
        let listed = user.listing_from(Some(cursor.to_owned()), 7).await?;
        let listed: BTreeSet<_> = listed.into_iter().map(|session| session.sid).collect();
        ensure!(listed == opened, "from the cursor {cursor:?}, {} of {} are listed", listed.len(), opened.len());
    }
    Ok(())
}

pub(super) async fn no_end_lies_beyond_the_end_of_time(user: User) -> Outcome {
    let end = Timestamp::END_OF_TIME;
    let open = OpenSession { idle: Duration::MAX, absolute: Duration::MAX, ..user.session("s") };
    let opening = user.open_as(open).await?;
    ensure!(opening.refresh_end == end, "it ends at {}", opening.refresh_end);
    let rotate = RotateRefresh::new(&user.name, "s".into(), 0, Duration::MAX, Duration::MAX);
    match user.store.rotate(rotate).await? {
        Rotated::Rotated(successor) => ensure!(successor.refresh_end == end, "then it ends at {successor:?}"),
        other => return Err(super::Broken(format!("{other:?}"))),
    }
    user.revoke_token("j", Timestamp::from_millis(u64::MAX)).await?;
    let state = user.token_state("s", "j").await?;
    ensure!(matches!(state, SessionState::Revoked { .. }), "a token that was revoked for all time is {state:?}");
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
        ensure!(last <= now, "{now} came after {last}");
        ensure!(known <= now, "without asking the time was {known}, by the answer it is {now}");
        last = now;
    }
    Ok(())
}
