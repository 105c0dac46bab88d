//! Rotation of refresh tokens: successors, replays, and reuse.

use std::time::Duration;

use tower_bearer::store::{OpenSession, Opened, Rotated};

use super::{AGE, HOUR};
use crate::support::{
    self, TextStore,
    redis_fixture::{Fixture, GRACE, IDLE, rotation, session, successor},
};

#[tokio::test]
async fn a_rotation_moves_on_and_a_replay_within_the_grace_gets_the_same_successor() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let first = successor(f.rotate("alice", "s1", 0).await);
    assert_eq!((first.counter, first.issued_at), (1, first.now));
    let Rotated::Replayed(again) = f.rotate("alice", "s1", 0).await else { panic!() };
    assert_eq!((again.counter, again.issued_at, again.refresh_end), (1, first.issued_at, first.refresh_end));
    assert_eq!(successor(f.rotate("alice", "s1", 1).await).counter, 2);
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Reused { .. }), "two behind is reuse, grace or not");
    assert!(f.is_revoked("alice", "s1").await);
    assert!(matches!(f.rotate("alice", "s1", 2).await, Rotated::Revoked { .. }));
    assert_eq!(f.log().await.len(), 1, "reuse is logged once");
}

#[tokio::test]
async fn a_replay_does_not_move_the_window() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let grace = Duration::from_millis(150);
    let first = successor(f.store.rotate(rotation("alice", "s1", 0, grace)).await.unwrap());
    let outcome = support::eventually("the window closes", async || {
        match f.store.rotate(rotation("alice", "s1", 0, grace)).await.unwrap() {
            Rotated::Replayed(again) => {
                assert!(again.now.saturating_since(first.issued_at) < grace);
                None
            }
            other => Some(other),
        }
    })
    .await;
    let Rotated::Reused { now } = outcome else { panic!("{outcome:?}") };
    assert!(now.saturating_since(first.issued_at) >= grace);
}

#[tokio::test]
async fn a_grace_of_zero_never_replays() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    successor(f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap());
    let again = f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap();
    assert!(matches!(again, Rotated::Reused { .. }));
}

#[tokio::test]
async fn a_counter_ahead_of_the_record_is_adopted() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    assert_eq!(successor(f.rotate("alice", "s1", 7).await).counter, 8);
    assert!(matches!(f.rotate("alice", "s1", 7).await, Rotated::Replayed(next) if next.counter == 8));
    assert_eq!(successor(f.rotate("alice", "s1", u32::MAX - 1).await).counter, u32::MAX);
    assert!(matches!(f.rotate("alice", "s1", u32::MAX).await, Rotated::Reused { .. }), "no counter follows the last");
}

#[tokio::test]
async fn a_rotation_never_moves_the_absolute_end() {
    let f = Fixture::new().await;
    let absolute = Duration::from_secs(5);
    let open = OpenSession::new("alice", "s1".into(), Duration::from_secs(3), absolute);
    let Opened::Opened { now, refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert_eq!(refresh_end, now.saturating_add(Duration::from_secs(3)));
    let next = successor(f.rotate("alice", "s1", 0).await);
    assert_eq!(next.refresh_end, now.saturating_add(absolute));
}

#[tokio::test]
async fn fifty_rotations_of_one_counter_give_one_successor() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let rotations = (0..50).map(|_| {
        let store = f.store.clone();
        tokio::spawn(async move { store.rotate(rotation("alice", "s1", 0, GRACE)).await.unwrap() })
    });
    let outcomes: Vec<Rotated> =
        futures_util::future::join_all(rotations).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Rotated::Rotated(_))).count(), 1);
    let identities: std::collections::HashSet<_> = outcomes
        .into_iter()
        .map(successor)
        .map(|next| (next.counter, next.generation, next.issued_at, next.refresh_end))
        .collect();
    assert_eq!(identities.len(), 1);
}

#[tokio::test]
async fn a_grace_of_zero_never_replays_though_the_clock_was_put_back() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    successor(f.rotate("alice", "s1", 0).await);
    // Simulates a rotation one hour in the future.
    f.redis::<i32>(&["EVAL", AGE, "1", "tb:{0}:u:alice", "-3600000"]).await;
    let again = f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap();
    assert!(matches!(again, Rotated::Reused { .. }), "{again:?}");
}

#[tokio::test]
async fn a_rotation_keeps_the_user_and_its_label_as_long_as_the_session() {
    let f = Fixture::new().await;
    let mut open = session("alice", "s1");
    (open.idle, open.label) = (HOUR, "Firefox".into());
    f.store.open(open).await.unwrap();
    f.rotate("alice", "s1", 0).await;
    for key in ["tb:{0}:u:alice", "tb:{0}:i:alice"] {
        let ttl: i64 = f.redis(&["TTL", key]).await;
        assert!(ttl >= IDLE.as_secs().cast_signed(), "{key}: {ttl}");
    }
}
