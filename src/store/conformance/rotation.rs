//! Rules about rotations: see [`RotateRefresh`].

use std::time::Duration;

use super::{
    outcome::{Broken, Outcome, ensure},
    user::{LONG, SHORT, User},
};
use crate::store::{OpenSession, RotateRefresh, Rotated, SessionState, Successor};

/// Returns true if two answers describe the same tokens. The time `now` and the stamp may differ.
fn same(one: &Successor, other: &Successor) -> bool {
    Successor { now: one.now, last_revocation: one.last_revocation, ..*other } == *one
}

pub(super) async fn a_rotation_moves_the_counter_on(user: User) -> Outcome {
    let opening = user.open("s").await?;
    for counter in 0..5 {
        let successor = user.advance("s", counter).await?;
        let expected = Successor {
            counter: counter + 1,
            generation: opening.generation,
            issued_at: successor.now,
            refresh_end: successor.now.saturating_add(LONG),
            now: successor.now,
            last_revocation: successor.last_revocation,
        };
        ensure!(successor == expected, "expected {expected:?}, the answer is {successor:?}");
    }
    ensure!(user.is_active("s").await?, "the session is {:?}", user.state("s").await?);
    Ok(())
}

pub(super) async fn a_rotation_prolongs_the_session_but_not_beyond_its_absolute_end(user: User) -> Outcome {
    let prolonged = user.open_as(OpenSession { idle: SHORT * 3, ..user.session("prolonged") }).await?;
    let bounded = user.open_as(OpenSession { absolute: SHORT * 3, ..user.session("bounded") }).await?;
    let successor = user.advance("prolonged", 0).await?;
    ensure!(
        successor.refresh_end == successor.now.saturating_add(LONG),
        "the session ends at {}",
        successor.refresh_end
    );
    let successor = user.advance("bounded", 0).await?;
    ensure!(successor.refresh_end == bounded.refresh_end, "the session ends at {}", successor.refresh_end);
    user.wait_until(bounded.refresh_end.max(prolonged.refresh_end)).await?;
    ensure!(user.is_active("prolonged").await?, "a rotated session is {:?}", user.state("prolonged").await?);
    let state = user.state("bounded").await?;
    ensure!(matches!(state, SessionState::Expired | SessionState::Unknown), "at its end the session is {state:?}");
    Ok(())
}

pub(super) async fn a_replay_within_the_grace_gets_the_same_successor(user: User) -> Outcome {
    user.open("s").await?;
    for counter in 0..3 {
        let first = user.advance("s", counter).await?;
        user.wait_until(first.now.saturating_add(Duration::from_millis(2))).await?;
        for idle in [LONG, LONG * 2] {
            let rotate = RotateRefresh::new(&user.name, "s".into(), counter, idle, LONG);
            match user.store.rotate(rotate).await? {
                Rotated::Replayed(again) => {
                    ensure!(same(&first, &again), "the replay of {first:?} is {again:?}");
                    ensure!(first.now < again.now, "the replay has the time {} of the rotation", again.now);
                }
                other => return Err(Broken(format!("the rotation returned {other:?}"))),
            }
        }
    }
    Ok(())
}

pub(super) async fn the_grace_does_not_slide(user: User) -> Outcome {
    user.open("s").await?;
    let first = user.advance("s", 0).await?;
    let end = first.issued_at.saturating_add(SHORT);
    loop {
        match user.rotate("s", 0, SHORT).await? {
            Rotated::Replayed(again) if again.now < end => {
                ensure!(same(&first, &again), "the replay of {first:?} is {again:?}");
            }
            Rotated::Reused { now } if end <= now => return Ok(()),
            other => return Err(Broken(format!("a rotation around the end of the grace at {end} returned {other:?}"))),
        }
        tokio::time::sleep(SHORT / 30).await;
    }
}

pub(super) async fn a_grace_of_zero_never_replays(user: User) -> Outcome {
    for n in 0..10 {
        let sid = n.to_string();
        user.open(&sid).await?;
        user.advance(&sid, 0).await?;
        let answer = user.rotate(&sid, 0, Duration::ZERO).await?;
        ensure!(matches!(answer, Rotated::Reused { .. }), "expected `Reused`: {answer:?}");
    }
    Ok(())
}

pub(super) async fn more_than_one_behind_is_reuse_even_within_the_grace(user: User) -> Outcome {
    user.open("s").await?;
    for counter in 0..3 {
        user.advance("s", counter).await?;
    }
    let answer = user.rotate("s", 1, LONG).await?;
    ensure!(matches!(answer, Rotated::Reused { .. }), "expected `Reused`: {answer:?}");
    ensure!(user.is_revoked("s").await?, "the session is {:?}", user.state("s").await?);
    Ok(())
}

pub(super) async fn reuse_ends_the_session(user: User) -> Outcome {
    user.open("s").await?;
    user.open("other").await?;
    user.advance("s", 0).await?;
    user.advance("s", 1).await?;
    let answer = user.rotate("s", 0, Duration::ZERO).await?;
    ensure!(matches!(answer, Rotated::Reused { .. }), "expected `Reused`: {answer:?}");
    ensure!(user.is_revoked("s").await?, "after reuse the session is {:?}", user.state("s").await?);
    for counter in 0..4 {
        let answer = user.rotate("s", counter, LONG).await?;
        ensure!(matches!(answer, Rotated::Revoked { .. }), "a rotation of counter {counter} returned {answer:?}");
    }
    ensure!(user.is_active("other").await?, "reuse in one session also ended another session");
    Ok(())
}

pub(super) async fn a_counter_ahead_of_the_record_is_adopted(user: User) -> Outcome {
    user.open("s").await?;
    let successor = user.advance("s", 7).await?;
    ensure!(successor.counter == 8, "expected the counter 8: {successor:?}");
    let answer = user.rotate("s", 7, LONG).await?;
    ensure!(
        matches!(answer, Rotated::Replayed(again) if same(&successor, &again)),
        "expected a replay of {successor:?}: {answer:?}"
    );
    user.advance("s", 8).await?;
    let answer = user.rotate("s", 0, LONG).await?;
    ensure!(matches!(answer, Rotated::Reused { .. }), "an old counter is not reuse: {answer:?}");
    Ok(())
}

pub(super) async fn a_counter_never_wraps(user: User) -> Outcome {
    user.open("s").await?;
    user.advance("s", u32::MAX - 2).await?;
    user.advance("s", u32::MAX - 1).await?;
    for _ in 0..2 {
        let answer = user.rotate("s", u32::MAX, LONG).await?;
        let went_on = matches!(answer, Rotated::Rotated(_) | Rotated::Replayed(_));
        ensure!(!went_on, "the counter `u32::MAX` has a successor: {answer:?}");
    }
    Ok(())
}

pub(super) async fn only_a_live_session_rotates(user: User) -> Outcome {
    let answer = user.rotate("never opened", 0, LONG).await?;
    ensure!(
        matches!(answer, Rotated::Unknown { .. }),
        "the rotation of a session that was never opened returned {answer:?}"
    );
    user.open("s").await?;
    let other = user.sibling("other");
    let answer = other.rotate("s", 0, LONG).await?;
    ensure!(matches!(answer, Rotated::Unknown { .. }), "the rotation as another user returned {answer:?}");

    let at = user.revoke_session("s").await?.now;
    let answer = user.rotate("s", 0, LONG).await?;
    ensure!(
        matches!(answer, Rotated::Revoked { at: told, .. } if told.is_none_or(|told| told == at)),
        "the session was revoked at {at}, a rotation returned {answer:?}"
    );
    user.open("t").await?;
    user.revoke_all(None).await?;
    for counter in 0..2 {
        let answer = user.rotate("t", counter, LONG).await?;
        ensure!(
            matches!(answer, Rotated::Revoked { .. }),
            "after `revoke_all` a rotation of counter {counter} returned {answer:?}"
        );
    }

    let opening = user.open_as(OpenSession { idle: SHORT, ..user.session("u") }).await?;
    user.wait_until(opening.refresh_end).await?;
    for counter in 0..2 {
        let answer = user.rotate("u", counter, LONG).await?;
        let over = matches!(answer, Rotated::Expired { .. } | Rotated::Unknown { .. });
        ensure!(over, "after the session's end a rotation of counter {counter} returned {answer:?}");
    }
    Ok(())
}
