//! Rules about simultaneous calls.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};

use super::{
    outcome::{Broken, Outcome, ensure},
    user::{LONG, User},
};
use crate::{
    ids::SessionId,
    store::{Opened, RotateRefresh, Rotated, SessionState, Successor},
};

/// Starts these calls simultaneously, each in a separate task, and waits for all of them.
pub(super) async fn at_once<T, F>(calls: impl IntoIterator<Item = F>) -> Outcome<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    let calls: Vec<_> = calls.into_iter().collect();
    let barrier = Arc::new(Barrier::new(calls.len()));
    let mut tasks = JoinSet::new();
    for call in calls {
        let barrier = barrier.clone();
        tasks.spawn(async move {
            barrier.wait().await;
            call.await
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

pub(super) async fn fifty_rotations_at_once_yield_one_successor(user: User) -> Outcome {
    user.open("s").await?;
    for counter in 0..5 {
        let calls = (0..50).map(|_| {
            let user = user.clone();
            async move { user.rotate("s", counter, LONG).await }
        });
        let mut rotated = 0;
        let mut successors = Vec::new();
        for answer in at_once(calls).await? {
            let successor = match answer {
                Rotated::Rotated(successor) => {
                    rotated += 1;
                    successor
                }
                Rotated::Replayed(successor) => successor,
                other => return Err(Broken(format!("a rotation returned {other:?}"))),
            };
            successors.push(Successor { now: successor.issued_at, ..successor });
        }
        ensure!(rotated == 1, "{rotated} of 50 rotations of counter {counter} returned `Rotated`, expected one");
        successors.dedup();
        ensure!(successors.len() == 1, "the counter {counter} has several successors: {successors:?}");
    }
    Ok(())
}

pub(super) async fn rotations_at_once_without_grace_leave_nothing_alive(user: User) -> Outcome {
    for n in 0..10 {
        let sid = n.to_string();
        user.open(&sid).await?;
        let calls = (0..10).map(|_| {
            let (user, sid) = (user.clone(), sid.clone());
            async move { user.rotate(&sid, 0, Duration::ZERO).await }
        });
        let answers = at_once(calls).await?;
        let rotated = answers.iter().filter(|answer| matches!(answer, Rotated::Rotated(_))).count();
        let reused = answers.iter().filter(|answer| matches!(answer, Rotated::Reused { .. })).count();
        let revoked = answers.iter().filter(|answer| matches!(answer, Rotated::Revoked { .. })).count();
        ensure!(
            (rotated, reused, revoked) == (1, 1, 8),
            "expected one `Rotated`, one `Reused` and eight `Revoked`: {answers:?}"
        );
        ensure!(user.is_revoked(&sid).await?, "the session is {:?}", user.state(&sid).await?);
    }
    ensure!(user.live().await?.is_empty(), "the list has {:?}", user.live().await?);
    Ok(())
}

pub(super) async fn a_session_is_opened_once(user: User) -> Outcome {
    for n in 0..10 {
        let calls = (0..10).map(|_| {
            let (user, open) = (user.clone(), user.session(&n.to_string()));
            async move { Ok(user.store.open(open).await?) }
        });
        let answers = at_once(calls).await?;
        let opened = answers.iter().filter(|answer| matches!(answer, Opened::Opened { .. })).count();
        ensure!(opened == 1, "ten calls opened the session {opened} times");
    }
    Ok(())
}

pub(super) async fn opens_at_once_never_exceed_max_sessions(user: User) -> Outcome {
    open_a_hundred_at_once_under_a_cap_of_three(&user).await
}

pub(super) async fn open_a_hundred_at_once_under_a_cap_of_three(user: &User) -> Outcome {
    let cap = NonZeroU32::MIN.saturating_add(2);
    let mut evicted = BTreeSet::new();
    for round in 0..10 {
        let calls = (0..10).map(|n| {
            let (user, sid) = (user.clone(), format!("{round}.{n}"));
            async move {
                let opening = user.open_capped(&sid, cap).await?;
                Ok((opening.evicted, user.live().await?.len()))
            }
        });
        for (ended, alive) in at_once(calls).await? {
            ensure!(alive <= 3, "{alive} sessions were alive at the same time, the cap is 3");
            evicted.extend(ended);
        }
    }
    ensure!(user.live().await?.len() == 3, "after all calls {:?} are alive, expected 3", user.live().await?);
    ensure!(evicted.len() == 97, "the answers contain {} evicted sessions, expected 97 of 100", evicted.len());
    Ok(())
}

pub(super) async fn revocations_and_rotations_at_once_leave_nothing_alive(user: User) -> Outcome {
    for round in 0..60 {
        let sid = round.to_string();
        user.open(&sid).await?;
        let calls = (0..9).map(|n| {
            let (user, sid) = (user.clone(), sid.clone());
            async move {
                match n {
                    // A third of the rounds calls `revoke_session`, a third `revoke_all`, and a
                    // third both.
                    0 if round % 3 != 1 => drop(user.revoke_session(&sid).await?),
                    0 | 1 if round % 3 != 0 => drop(user.revoke_all(None).await?),
                    n => drop(user.rotate(&sid, n % 3, LONG).await?),
                }
                Ok(())
            }
        });
        at_once(calls).await?;
        ensure!(user.is_revoked(&sid).await?, "round {round}: the session is {:?}", user.state(&sid).await?);
        for counter in 0..5 {
            let answer = user.rotate(&sid, counter, LONG).await?;
            ensure!(
                matches!(answer, Rotated::Revoked { .. }),
                "round {round}: a rotation of counter {counter} returned {answer:?}"
            );
        }
        ensure!(user.live().await?.is_empty(), "round {round}: the list has {:?}", user.live().await?);
    }
    Ok(())
}

pub(super) async fn what_was_answered_is_seen(user: User) -> Outcome {
    for n in 0..50 {
        let (sid, one) = (n.to_string(), user.clone());
        let opened = {
            let sid = sid.clone();
            tokio::spawn(async move { one.open(&sid).await.map(|_| ()) })
        };
        opened.await??;
        let (one, other) = (user.clone(), sid.clone());
        let seen = tokio::spawn(async move { one.is_active(&other).await }).await??;
        ensure!(seen, "round {n}: a later call did not find an opened session");
        let (one, other) = (user.clone(), sid.clone());
        tokio::spawn(async move {
            match n % 3 {
                0 => one.revoke_session(&other).await?,
                1 => one.revoke_all(None).await?,
                _ => {
                    let until = one.in_an_hour().await?;
                    one.revoke_token(&format!("{other}.j"), until).await?
                }
            };
            Ok::<_, Broken>(())
        })
        .await??;
        let checks = (0..4).map(|_| {
            let (one, sid) = (user.clone(), sid.clone());
            async move { one.token_state(&sid, &format!("{sid}.j")).await }
        });
        for state in at_once(checks).await? {
            ensure!(
                matches!(state, SessionState::Revoked { .. }),
                "round {n}: after the revocation the state is {state:?}"
            );
        }
    }
    Ok(())
}

pub(super) async fn what_was_revoked_never_comes_back(user: User) -> Outcome {
    for round in 0..20 {
        let sid = round.to_string();
        user.open(&sid).await?;
        let over = Arc::new(AtomicBool::new(false));
        let (one, watched, end) = (user.clone(), SessionId::from(&sid), over.clone());
        let watch = tokio::spawn(async move {
            let (mut revoked, mut last) = (false, one.store.ping().await?);
            while !end.load(Ordering::SeqCst) {
                let checked = one.store.check(&one.name, &watched, &"j".into()).await?;
                ensure!(last <= checked.now, "the store's time went back from {last} to {}", checked.now);
                last = checked.now;
                match checked.state {
                    SessionState::Active { .. } => ensure!(!revoked, "the revoked session is active again"),
                    SessionState::Revoked { .. } => revoked = true,
                    other => return Err(Broken(format!("the session is {other:?}"))),
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        let calls = (0..4).map(|n| {
            let (user, sid) = (user.clone(), sid.clone());
            async move {
                match n {
                    0 => drop(user.revoke_session(&sid).await?),
                    1 => drop(user.revoke_all(Some(&sid)).await?),
                    2 => drop(user.rotate(&sid, 0, LONG).await?),
                    _ => drop(user.store.open(user.session(&sid)).await?),
                }
                Ok(())
            }
        });
        let ended = at_once(calls).await;
        over.store(true, Ordering::SeqCst);
        watch.await??;
        ended?;
        ensure!(user.is_revoked(&sid).await?, "the session is {:?}", user.state(&sid).await?);
    }
    Ok(())
}

pub(super) async fn a_dropped_call_is_done_or_not_done(user: User) -> Outcome {
    drop_calls(&user).await
}

/// Starts calls, drops their futures after different times, and repeats the calls.
pub(super) async fn drop_calls(user: &User) -> Outcome {
    for n in 0..30u64 {
        // The time grows from 0 to 1.45 ms. So the first calls are dropped at once, and the last
        // ones when most calls have ended.
        let patience = Duration::from_micros(n * 50);
        let (sid, fresh) = (format!("s{n}"), format!("t{n}"));
        user.open(&sid).await?;
        drop(tokio::time::timeout(patience, user.store.open(user.session(&fresh)).into_future()).await);
        let rotate = RotateRefresh::new(&user.name, sid.as_str().into(), 0, LONG, LONG);
        drop(tokio::time::timeout(patience, user.store.rotate(rotate).into_future()).await);
        // The repeated call gets the same successor, even if the dropped call was successful.
        let successor = match user.rotate(&sid, 0, LONG).await? {
            Rotated::Rotated(successor) | Rotated::Replayed(successor) => successor,
            other => return Err(Broken(format!("the retry of a rotation returned {other:?}"))),
        };
        ensure!(successor.counter == 1, "expected the counter 1: {successor:?}");
        drop(tokio::time::timeout(patience, user.revoke_session(&sid)).await);
        let state = user.state(&sid).await?;
        ensure!(
            matches!(state, SessionState::Active { .. } | SessionState::Revoked { .. }),
            "the session is {state:?}"
        );
        user.revoke_session(&sid).await?;
        user.revoke_session(&fresh).await?;
        ensure!(user.is_revoked(&sid).await?, "the session is not revoked after a repeated revocation");
    }
    Ok(())
}
