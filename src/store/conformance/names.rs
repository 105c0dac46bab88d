//! Rules about names (subjects and ids): any text of 1 to 255 bytes. A store must not confuse two
//! names.

use super::{
    outcome::{Outcome, ensure},
    user::{LONG, User},
};
use crate::{
    error::{StoreError, StoreErrorKind},
    ids::SessionId,
    store::{RotateRefresh, Rotated, SessionState},
};

/// Names that a careless store could misread: as patterns, protocol text, scripts, separators, or
/// names of its own fields.
pub(super) const ODD: &[&str] = &[
    "*",
    "?",
    "[a-z]",
    "a*",
    "ab",
    "\\",
    "\\*",
    "{",
    "}",
    "{}",
    "{0}",
    "{a}",
    ":",
    "::",
    "a:b",
    "a:b:c",
    "u:a",
    "m",
    "log",
    "g",
    "c",
    "o",
    "i",
    "u",
    "d",
    "!",
    "!x",
    "!!x",
    "x",
    "=",
    "=g",
    "==g",
    "=!x",
    "=x",
    "-",
    "+",
    "$",
    "0",
    "1",
    "-1",
    "01",
    "1.0",
    "\r\n",
    "\n",
    "\r\n$1\r\nx\r\n",
    "a\r\nb",
    " ",
    " a",
    "a ",
    "\t",
    "\0",
    "a\0",
    "a\0b",
    "\u{1}",
    "\u{7f}",
    "'",
    "\"",
    "';",
    "]]",
    "--",
    "return redis.call('FLUSHALL')",
    "' .. redis.call('FLUSHALL') .. '",
    "ARGV[1]",
    "%s",
    "%d%n",
    "%00",
    "nil",
    "null",
    "true",
    "é",
    "e\u{301}",
    "ß",
    "SS",
    "ss",
    "ı",
    "I",
    "İ",
    "日本語",
    "🔑",
    "🔑🔑",
    "\u{202e}abc",
    "\u{feff}",
    "a\u{feff}",
    "a/b",
    "../a",
    "a,b",
    "a;b",
    "a|b",
    "a&b",
    "<a>",
    "A",
    "a",
];

pub(super) async fn subjects_of_any_text_are_kept_apart(user: User) -> Outcome {
    // The subjects are exactly these names, because a prefix would make some of them harmless. Only
    // the session's id is unique to this run.
    let sid = user.name.as_str();
    for name in ODD {
        user.other(*name).open(sid).await?;
    }
    for (n, name) in ODD.iter().enumerate() {
        let one = user.other(*name);
        // If the store confused this subject with an earlier one, its session would be revoked
        // already.
        ensure!(one.is_active(sid).await?, "the store confuses the subject {name:?} with one of {:?}", ODD.get(..n));
        ensure!(one.live().await?.contains(sid), "the session of the subject {name:?} is not in the list");
        ensure!(
            matches!(one.rotate(sid, 0, LONG).await?, Rotated::Rotated(_)),
            "the session of the subject {name:?} does not rotate"
        );
        if n % 2 == 0 {
            one.revoke_all(None).await?;
        } else {
            one.revoke_session(sid).await?;
        }
        ensure!(one.is_revoked(sid).await?, "the session of the subject {name:?} is {:?}", one.state(sid).await?);
    }
    Ok(())
}

pub(super) async fn sessions_and_tokens_of_any_text_are_kept_apart(user: User) -> Outcome {
    for sid in ODD {
        user.open(sid).await?;
    }
    let live = user.live().await?;
    ensure!(live == ODD.iter().copied().map(SessionId::from).collect(), "the list has {live:?}");

    let until = user.in_an_hour().await?;
    for (n, jti) in ODD.iter().enumerate() {
        let state = user.token_state("a", jti).await?;
        let active = matches!(state, SessionState::Active { .. });
        ensure!(active, "the store confuses the token {jti:?} with one of {:?}: {state:?}", ODD.get(..n));
        user.revoke_token(jti, until).await?;
        let state = user.token_state("a", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti:?} is {state:?}");
    }
    for (n, sid) in ODD.iter().enumerate() {
        ensure!(user.is_active(sid).await?, "the store confuses the session {sid:?} with one of {:?}", ODD.get(..n));
        let successor = user.advance(sid, 0).await?;
        ensure!(successor.counter == 1, "{sid:?}: expected the counter 1: {successor:?}");
        user.revoke_session(sid).await?;
        ensure!(user.is_revoked(sid).await?, "the session {sid:?} is {:?}", user.state(sid).await?);
    }
    Ok(())
}

pub(super) async fn the_longest_names_are_kept_apart(user: User) -> Outcome {
    let long = |end: &str| format!("{}{end}", "x".repeat(255 - end.len()));
    let multibyte = |end: &str| format!("{}{end}", "é".repeat(127));
    let names = [long("a"), long("b"), long(":"), long("*"), multibyte("a"), multibyte("b")];
    for name in &names {
        let one = user.other(name);
        // The session's id must be new, because the suite may have used the same subjects before.
        one.open(user.name.as_str()).await?;
        user.open(name).await?;
        user.revoke_token(name, user.in_an_hour().await?).await?;
    }
    ensure!(user.live().await? == names.iter().map(SessionId::from).collect(), "the list has {:?}", user.live().await?);
    for (n, name) in names.iter().enumerate() {
        user.other(name).revoke_all(None).await?;
        user.revoke_session(name).await?;
        ensure!(
            user.other(name).is_revoked(user.name.as_str()).await?,
            "the session of a subject with {} bytes is not revoked",
            name.len()
        );
        for other in names.iter().skip(n + 1) {
            ensure!(
                user.other(other).is_active(user.name.as_str()).await?,
                "the revocation of {name:?} also revoked {other:?}"
            );
            ensure!(user.is_active(other).await?, "the revocation of the session {name:?} also revoked {other:?}");
        }
    }
    Ok(())
}

/// Lengths, in bytes, of names that the store must reject.
pub(super) const BAD_LENGTHS: [usize; 3] = [0, 256, 40_000];

/// Checks that every changing method of a [`SessionStore`](crate::store::SessionStore) rejects the
/// name `bad`.
pub(super) async fn calls_with(user: &User, bad: &str) -> Outcome {
    let until = user.in_an_hour().await?;
    let stranger = user.other(bad);
    let rotate = |user: &User, sid: &str| RotateRefresh::new(&user.name, sid.into(), 0, LONG, LONG);
    let (store, name, session) = (&user.store, &user.name, SessionId::from(bad));
    ensure_rejected(
        bad.len(),
        [
            ("open", store.open(stranger.session("s")).await.err()),
            ("open sid", store.open(user.session(bad)).await.err()),
            ("rotate", store.rotate(rotate(&stranger, "s")).await.err()),
            ("rotate sid", store.rotate(rotate(user, bad)).await.err()),
            ("revoke_session", store.revoke_session(&stranger.name, &"s".into()).await.err()),
            ("revoke_session sid", store.revoke_session(name, &session).await.err()),
            ("revoke_token", store.revoke_token(&stranger.name, &"j".into(), until).await.err()),
            ("revoke_token jti", store.revoke_token(name, &bad.into(), until).await.err()),
            ("revoke_all", store.revoke_all(&stranger.name, None).await.err()),
            ("revoke_all except", store.revoke_all(name, Some(&session)).await.err()),
        ],
    )
}

/// Checks that each of these calls returned the error `Rejected`.
pub(super) fn ensure_rejected<const N: usize>(length: usize, calls: [(&str, Option<StoreError>); N]) -> Outcome {
    for (call, error) in calls {
        let rejected = error.as_ref().is_some_and(|error| error.kind() == StoreErrorKind::Rejected);
        ensure!(rejected, "{call} with a name of {length} bytes was not rejected: {error:?}");
    }
    Ok(())
}

pub(super) async fn names_that_no_token_can_have_are_rejected(user: User) -> Outcome {
    user.open("s").await?;
    for length in BAD_LENGTHS {
        calls_with(&user, &"x".repeat(length)).await?;
    }
    ensure!(user.is_active("s").await?, "the session is {:?}", user.state("s").await?);
    Ok(())
}
