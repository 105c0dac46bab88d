//! Names are any text of 1 to 255 bytes, and no two are ever taken for each other.

use super::{
    Outcome, ensure,
    subject::{LONG, Subject},
};
use crate::{
    error::StoreErrorKind,
    store::{DenyRequest, ExternalId, Revocation, RotateRefresh, Rotated, SessionState},
};

/// Texts that have been mistaken for other things before: patterns, protocol, scripts, separators,
/// a store's own fields.
const ODD: &[&str] = &[
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

pub(super) async fn subjects_of_any_text_are_kept_apart(user: Subject) -> Outcome {
    // The raw names, since a prefix would tame some; so the session's id has to be one that no
    // other run uses.
    let sid = user.name.as_str();
    for name in ODD {
        user.other(*name).open(sid).await?;
    }
    let mut reader = user.reader().await?;
    for (n, name) in ODD.iter().enumerate() {
        let one = user.other(*name);
        // A subject that was taken for this one was revoked before.
        ensure!(one.is_active(sid).await?, "{name:?} was taken for one of {:?}", ODD.get(..n));
        ensure!(one.live().await?.contains(sid), "{name:?}: not listed");
        ensure!(matches!(one.rotate(sid, 0, LONG).await?, Rotated::Rotated(_)), "{name:?}: does not rotate");
        if n % 2 == 0 {
            one.store.revoke_all(name, None).await?;
        } else {
            one.store.revoke_session(name, sid).await?;
        }
        ensure!(one.is_revoked(sid).await?, "{name:?}: {:?}", one.state(sid).await?);
    }
    let logged = reader.read().await?;
    for name in ODD {
        let named = logged.iter().filter(|entry| match &entry.revocation {
            Revocation::Session { subject, .. } | Revocation::Subject { subject, .. } => subject == name,
            _ => false,
        });
        ensure!(named.count() == 1, "{name:?} was revoked once; the log says otherwise");
    }
    Ok(())
}

pub(super) async fn sessions_and_tokens_of_any_text_are_kept_apart(user: Subject) -> Outcome {
    for sid in ODD {
        user.open(sid).await?;
    }
    let live = user.live().await?;
    ensure!(live == ODD.iter().copied().map(String::from).collect(), "listed are {live:?}");

    let until = user.store.ping().await?.saturating_add(LONG);
    for (n, jti) in ODD.iter().enumerate() {
        let state = user.token_state("a", jti).await?;
        let active = matches!(state, SessionState::Active { .. });
        ensure!(active, "the token {jti:?} was taken for one of {:?}: {state:?}", ODD.get(..n));
        user.store.revoke_token(&user.name, jti, until).await?;
        let state = user.token_state("a", jti).await?;
        ensure!(matches!(state, SessionState::Revoked { .. }), "the token {jti:?} is {state:?}");
    }
    let mut reader = user.reader().await?;
    for (n, sid) in ODD.iter().enumerate() {
        ensure!(user.is_active(sid).await?, "the session {sid:?} was taken for one of {:?}", ODD.get(..n));
        let successor = user.advance(sid, 0).await?;
        ensure!(successor.counter == 1, "{sid:?}: {successor:?}");
        user.store.revoke_session(&user.name, sid).await?;
        ensure!(user.is_revoked(sid).await?, "{sid:?} is {:?}", user.state(sid).await?);
    }
    let logged = reader.revocations().await?;
    let expected = ODD.iter().map(|sid| Revocation::Session { subject: user.name.clone(), sid: (*sid).to_owned() });
    ensure!(logged.into_iter().eq(expected), "the log has other names");
    Ok(())
}

pub(super) async fn the_longest_names_are_kept_apart(user: Subject) -> Outcome {
    let long = |end: &str| format!("{}{end}", "x".repeat(255 - end.len()));
    let multibyte = |end: &str| format!("{}{end}", "é".repeat(127));
    let names = [long("a"), long("b"), long(":"), long("*"), multibyte("a"), multibyte("b")];
    for name in &names {
        let one = user.other(name);
        // The session's id has to be new in a store that has seen this suite before.
        one.open(&user.name).await?;
        user.open(name).await?;
        user.store.revoke_token(&user.name, name, user.store.ping().await?.saturating_add(LONG)).await?;
    }
    ensure!(user.live().await? == names.iter().cloned().collect(), "listed are {:?}", user.live().await?);
    for (n, name) in names.iter().enumerate() {
        user.store.revoke_all(name, None).await?;
        user.store.revoke_session(&user.name, name).await?;
        ensure!(user.other(name).is_revoked(&user.name).await?, "a subject of {} bytes lives", name.len());
        for other in names.iter().skip(n + 1) {
            ensure!(user.other(other).is_active(&user.name).await?, "{name:?} was revoked, and {other:?} with it");
            ensure!(user.is_active(other).await?, "the session {name:?} was revoked, and {other:?} with it");
        }
    }
    Ok(())
}

pub(super) async fn names_that_no_token_can_have_are_rejected(user: Subject) -> Outcome {
    user.open("s").await?;
    let long = "x".repeat(256);
    let longer = "x".repeat(40_000);
    let until = user.store.ping().await?.saturating_add(LONG);
    let bucket = user.store.bucket_of(&user.name);
    let mut reader = user.reader().await?;
    for bad in ["", &long, &longer] {
        let (name, owned) = (user.name.as_str(), || bad.to_owned());
        let rotate = |subject: &str, sid: &str| RotateRefresh {
            subject: subject.to_owned(),
            sid: sid.to_owned(),
            counter: 0,
            idle: LONG,
            grace: LONG,
        };
        let deny = |id| DenyRequest { issuer: "https://issuer.example".to_owned(), id, keep: LONG };
        let stranger = user.other(bad);
        let session = |subject: &str, sid| Revocation::Session { subject: subject.to_owned(), sid };
        let except =
            Revocation::Subject { subject: name.to_owned(), generation: u64::MAX >> 20, except: Some(owned()) };
        let bucket_of_bad = user.store.bucket_of(bad);
        let outcomes = [
            ("open", user.store.open(stranger.session("s")).await.err()),
            ("open sid", user.store.open(user.session(bad)).await.err()),
            ("rotate", user.store.rotate(rotate(bad, "s")).await.err()),
            ("rotate sid", user.store.rotate(rotate(name, bad)).await.err()),
            ("revoke_session", user.store.revoke_session(bad, "s").await.err()),
            ("revoke_session sid", user.store.revoke_session(name, bad).await.err()),
            ("revoke_token", user.store.revoke_token(bad, "j", until).await.err()),
            ("revoke_token jti", user.store.revoke_token(name, bad, until).await.err()),
            ("revoke_all", user.store.revoke_all(bad, None).await.err()),
            ("revoke_all except", user.store.revoke_all(name, Some(bad)).await.err()),
            ("deny jti", user.store.deny(deny(ExternalId::Token(owned()))).await.err()),
            ("deny sid", user.store.deny(deny(ExternalId::Session(owned()))).await.err()),
            ("deny sub", user.store.deny(deny(ExternalId::Subject(owned()))).await.err()),
            ("republish", user.store.republish(bucket_of_bad, session(bad, "s".to_owned()), until).await.err()),
            ("republish sid", user.store.republish(bucket, session(name, owned()), until).await.err()),
            ("republish except", user.store.republish(bucket, except, until).await.err()),
        ];
        for (what, error) in outcomes {
            let rejected = error.as_ref().is_some_and(|error| error.kind() == StoreErrorKind::Rejected);
            ensure!(rejected, "{what} with a name of {} bytes: {error:?}", bad.len());
        }
    }
    let logged = reader.read().await?;
    ensure!(logged.is_empty(), "the log says {logged:?}");
    ensure!(user.is_active("s").await?, "it is {:?}", user.state("s").await?);
    Ok(())
}
