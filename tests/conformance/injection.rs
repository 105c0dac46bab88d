//! INJ: text of a user is only data to Redis, in keys, fields, arguments, patterns and scripts.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tower_bearer::{
    Error, NewSession, RedisStore, TokenPair, TokenService, TokenType,
    store::{DenyRequest, ExternalId, Page, Revocation, Rotated, SessionState},
};

use crate::{
    subject::{Outcome, expect_on},
    support::{
        HANG, Monitor, RedisServer, TextStore,
        fixture::{ISSUER, read_part, sign},
        redis_fixture::{Fixture, denylist_on, node_on, query, successor},
    },
};

/// A service on a Redis with one bucket, so that only the users' text determines the names of keys.
struct InjectionFixture {
    f: Fixture,
    tokens: TokenService,
}

impl InjectionFixture {
    async fn new() -> Self {
        let server = RedisServer::start();
        let f = Fixture::on(server).await;
        let store = RedisStore::builder(f.server.url()).buckets(1).timeout(HANG).connect().await.unwrap();
        let tokens = node_on(store, |builder| builder);
        Self { f, tokens }
    }

    async fn log_in(&self, subject: &str) -> TokenPair {
        let session = NewSession::new(subject).scope("read").label(subject);
        self.tokens.create_token_pair(session).await.unwrap_or_else(|error| panic!("{subject:?}: {error}"))
    }

    /// Asserts that the pair is accepted, and that the listing of its user shows only own sessions.
    async fn lives(&self, what: &str, subject: &str, pair: &TokenPair) {
        expect_on(&self.tokens, what, pair.access().as_str(), Outcome::Ok).await;
        let claims = self.tokens.validate_token(pair.refresh().as_str(), TokenType::Refresh).await.expect(what);
        assert_eq!(claims.subject(), subject, "{what}");
        let listed = self.tokens.sessions(subject, Page::default()).await.unwrap().sessions;
        let labels: Vec<_> = listed.iter().map(|session| (session.sid.as_str(), session.label.as_str())).collect();
        assert_eq!(labels, [(pair.session_id().as_str(), subject)], "{what}");
    }

    async fn assert_dead(&self, what: &str, pair: &TokenPair) {
        expect_on(&self.tokens, what, pair.access().as_str(), Outcome::InvalidToken).await;
        assert!(self.tokens.validate_token(pair.refresh().as_str(), TokenType::Refresh).await.is_err(), "{what}");
        assert!(self.tokens.refresh(pair.refresh().as_str()).await.is_err(), "{what}");
    }

    async fn db_size(&self) -> u64 {
        self.f.redis(&["DBSIZE"]).await
    }

    async fn scripts_in_cache(&self) -> u64 {
        let info: String = self.f.redis(&["INFO", "memory"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("number_of_cached_scripts:")).expect("Redis 7 tells");
        line.trim().parse().unwrap()
    }
}

#[tokio::test]
async fn inj_01_no_two_pairs_of_names_share_a_key_and_revoking_one_leaves_the_other() {
    let g = InjectionFixture::new().await;
    // The two of each pair are equal once they are joined by a separator: `:`, which the crate
    // uses, or another.
    for [(sub_1, id_1), (sub_2, id_2)] in [
        [("a:b", "c"), ("a", "b:c")],
        [("a:", "b"), ("a", ":b")],
        [("a::b", "c"), ("a", ":b:c")],
        [("x:u:y", "z"), ("x", "u:y:z")],
        [("x:i:y", "z"), ("x", "i:y:z")],
        [("p!q", "r"), ("p", "q!r")],
        [("p|q", "r"), ("p", "q|r")],
        [("p/q", "r"), ("p", "q/r")],
        [("p q", "r"), ("p", "q r")],
        [("11", "2"), ("1", "12")],
        [("{0}", "s1"), ("0", "s1")],
        [("tb:{0}:u:k", "s1"), ("k", "s1")],
        [("Ж", "s1"), ("\u{416}\u{301}", "s1")],
        [("\u{e9}", "s1"), ("e\u{301}", "s1")],
        [("case", "s1"), ("CASE", "s1")],
        [("pad", "s1"), ("pad ", "s1")],
        [("g", "s1"), ("o", "s1")],
        [("same", "id"), ("same", "!id")],
        [("same2", "id"), ("same2", "=id")],
        [("same3", "g"), ("same3", "=g")],
        [("same4", "="), ("same4", "==")],
    ] {
        let what = format!("({sub_1:?}, {id_1:?}) and ({sub_2:?}, {id_2:?})");
        // As session ids.
        g.f.open(sub_1, id_1).await;
        g.f.open(sub_2, id_2).await;
        assert!(g.f.store.revoke_session(sub_1, id_1).await.unwrap().found, "{what}");
        assert!(g.f.is_revoked(sub_1, id_1).await && g.f.is_active(sub_2, id_2).await, "{what}");
        // As ids of tokens, on sessions that live: through the service, with text that was really
        // signed.
        let (one, two) = (format!("s-{id_1}"), format!("s-{id_2}"));
        g.f.open(sub_1, &one).await;
        g.f.open(sub_2, &two).await;
        let pair = g.log_in("template").await;
        let token = |sub: &str, sid: &str, jti: &str| {
            let mut claims = read_part(pair.access().as_str(), 1);
            for (name, value) in [("sub", sub), ("sid", sid), ("jti", jti)] {
                claims[name] = json!(value);
            }
            sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims.to_string())
        };
        let (first, second) = (token(sub_1, &one, id_1), token(sub_2, &two, id_2));
        for token in [&first, &second] {
            expect_on(&g.tokens, &what, token, Outcome::Ok).await;
        }
        g.tokens.revoke_token(&first).await.unwrap();
        expect_on(&g.tokens, &what, &first, Outcome::InvalidToken).await;
        expect_on(&g.tokens, &what, &second, Outcome::Ok).await;
        if sub_1 == sub_2 {
            continue;
        }
        // And all of the one user.
        g.f.store.revoke_all(sub_1, None).await.unwrap();
        expect_on(&g.tokens, &what, &second, Outcome::Ok).await;
        assert!(!g.f.is_active(sub_1, &one).await && g.f.is_active(sub_2, id_2).await, "{what}");
        let keys: Vec<String> = g.f.redis(&["KEYS", "*"]).await;
        for subject in [sub_1, sub_2] {
            let own = keys.iter().filter(|key| **key == format!("tb:{{0}}:u:{subject}")).count();
            assert_eq!(own, 1, "{what}: {keys:?}");
        }
    }
    // Names of another issuer's tokens, which are hashed together but must stay distinct.
    for [(issuer_1, id_1), (issuer_2, id_2)] in
        [[("a:b", "c"), ("a", "b:c")], [("ab", "c"), ("a", "bc")], [("", "x"), ("x", "")]]
    {
        let what = format!("({issuer_1:?}, {id_1:?}) and ({issuer_2:?}, {id_2:?})");
        let deny = DenyRequest::new(issuer_1, ExternalId::Token(id_1.into()), Duration::from_secs(60));
        g.f.store.deny(deny).await.unwrap();
        let ask = |issuer: &str, id: &str| query(issuer, id, id, id);
        assert!(g.f.store.denied(ask(issuer_1, id_1)).await.unwrap().token, "{what}");
        let other = g.f.store.denied(ask(issuer_2, id_2)).await.unwrap();
        assert!(!other.token && other.revoked_before.is_none(), "{what}: {other:?}");
    }
}

#[tokio::test]
async fn inj_04_a_subject_of_wildcards_is_only_that_subject() {
    const SUBJECTS: [&str; 22] = [
        "*",
        "?",
        "**",
        "[a-z]",
        "[^a]",
        "a\\*",
        "\\*",
        "\\",
        "a*",
        "*a",
        "tb:*",
        "{*}",
        "tb:{0}:u:*",
        "[",
        "]",
        "%",
        "a",
        "b",
        "ab",
        "z",
        "a\\",
        "_",
    ];
    let g = InjectionFixture::new().await;
    g.tokens.revoke_all_for_subject("nobody, so that there is a log").await.unwrap();
    // All subjects have live sessions while each in turn is revoked, so that side effects show.
    let mut pairs = Vec::new();
    for subject in SUBJECTS {
        pairs.push(g.log_in(subject).await);
    }
    for (index, subject) in SUBJECTS.iter().enumerate() {
        let keys = g.db_size().await;
        let revoked = g.tokens.revoke_all_for_subject(*subject).await.unwrap();
        assert!(revoked.found, "{subject:?}");
        assert!(g.db_size().await <= keys, "{subject:?}: a revocation makes no key of a user who is known");
        g.assert_dead(&format!("{subject:?} itself"), &pairs[index]).await;
        for (other, pair) in SUBJECTS.iter().zip(&pairs).skip(index + 1) {
            g.lives(&format!("{other:?} after all of {subject:?} were revoked"), other, pair).await;
        }
    }
    // Patterns that match users who have sessions, while nobody has the pattern for a name.
    let carol = g.log_in("carol").await;
    for pattern in ["c*", "c?rol", "car[o]l", "c[a-b]rol", "*:u:carol", "carol*", "*carol*"] {
        assert!(!g.tokens.revoke_all_for_subject(pattern).await.unwrap().found, "{pattern}");
        assert!(!g.tokens.revoke_session(pattern, carol.session_id()).await.unwrap().found, "{pattern}");
        assert!(!g.tokens.revoke_session("carol", &pattern.into()).await.unwrap().found, "{pattern}");
        assert!(!g.tokens.has_session(pattern, carol.session_id()).await.unwrap(), "{pattern}");
        assert!(g.tokens.sessions(pattern, Page::default()).await.unwrap().sessions.is_empty(), "{pattern}");
        // A session that is to be spared is named, not matched.
        let spare = g.log_in("dave").await;
        g.tokens.revoke_all_for_subject_except("dave", &pattern.into()).await.unwrap();
        g.assert_dead(pattern, &spare).await;
        g.lives(pattern, "carol", &carol).await;
    }
}

/// Texts that a line-based parser would read as a command or reply, or an interpreter as code.
const HOSTILE: [&str; 16] = [
    "x\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "\r\nFLUSHALL\r\n",
    "\nFLUSHALL\n",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "$-1\r\n",
    "+OK\r\n",
    ">2\r\n+message\r\n+x\r\n",
    "a\0b",
    "\0",
    "') redis.call('FLUSHALL') --",
    "\"); redis.call(\"FLUSHALL\"); --",
    "]] redis.call('FLUSHALL') --[[",
    "\\'; return redis.call('FLUSHALL')",
    "KEYS[1]",
    "#!lua\nreturn redis.call('FLUSHALL')",
    "0 FLUSHALL",
];

#[tokio::test]
async fn inj_07_line_ends_and_nul_bytes_are_bytes_of_a_name() {
    let g = InjectionFixture::new().await;
    let witness = g.log_in("witness").await;
    for text in HOSTILE {
        let what = format!("{text:?}");
        // A subject with control characters gets no token, and causes no Redis command.
        let before = g.db_size().await;
        if text.chars().any(char::is_control) {
            let refused = g.tokens.create_token_pair(NewSession::new(text)).await;
            assert!(matches!(refused, Err(Error::Issue(_))), "{what}: {refused:?}");
        } else {
            let pair = g.log_in(text).await;
            g.lives(&what, text, &pair).await;
            assert_eq!(g.db_size().await, before + 2, "{what}: its sessions and its labels");
        }
        // So it is with revoking and asking. The store below the service takes any text.
        let control = text.chars().any(char::is_control);
        let outcomes = [
            g.tokens.revoke_session("witness", &text.into()).await.map(|revoked| assert!(!revoked.found, "{what}")),
            g.tokens.revoke_all_for_subject_except(text, &text.into()).await.map(drop),
            g.tokens.has_session("witness", &text.into()).await.map(|has| assert!(!has, "{what}")),
            g.tokens.sessions(text, Page::default()).await.map(|page| assert_eq!(page.sessions, [], "{what}")),
        ];
        for outcome in outcomes {
            let right = if control { matches!(outcome, Err(Error::InvalidId { .. })) } else { outcome.is_ok() };
            assert!(right, "{what}: {outcome:?}");
        }
        let store = &g.f.store;
        g.f.open(text, text).await;
        g.f.open(text, "other").await;
        assert_eq!(successor(g.f.rotate(text, text, 0).await).counter, 1, "{what}");
        assert!(matches!(g.f.rotate(text, text, 0).await, Rotated::Replayed(next) if next.counter == 1), "{what}");
        let until = store.now().saturating_add(Duration::from_secs(600));
        store.revoke_token(text, text, until).await.unwrap();
        assert!(matches!(g.f.state_of(text, "other", text).await, SessionState::Revoked { .. }), "{what}");
        assert!(g.f.is_active(text, "other").await && g.f.is_active(text, text).await, "{what}");
        store.revoke_session(text, text).await.unwrap();
        assert!(g.f.is_active(text, "other").await && g.f.is_revoked(text, text).await, "{what}");
        let deny = |id| DenyRequest::new(text, id, Duration::from_secs(60));
        for id in [ExternalId::Token(text.into()), ExternalId::Session(text.into()), ExternalId::Subject(text.into())] {
            store.deny(deny(id)).await.unwrap();
        }
        // One user's two keys at most, and three denials.
        let after = g.db_size().await;
        assert!((before + 4..=before + 5).contains(&after), "{what}: {before} keys, and then {after}");
        let listed = g.f.list(text).await;
        assert_eq!(listed.iter().map(|session| session.sid.as_str()).collect::<Vec<_>>(), ["other"], "{what}");
        // Redis stores the name unchanged, and the log returns it unchanged.
        let own: u64 = g.f.redis(&["EXISTS", &format!("tb:{{0}}:u:{text}")]).await;
        assert_eq!(own, 1, "{what}");
        let logged = Revocation::Session { subject: text.into(), sid: text.into() };
        assert!(g.f.log().await.iter().any(|entry| entry.revocation == logged), "{what}");
        g.lives(&what, "witness", &witness).await;
    }
    // The connections serve on, so nothing was left half read in one.
    for _ in 0..20 {
        g.lives("at the end", "witness", &witness).await;
    }
}

#[tokio::test]
async fn inj_08_names_are_arguments_of_scripts_whose_text_never_changes() {
    let g = InjectionFixture::new().await;
    let tokens = &g.tokens;
    let witness = g.log_in("witness").await;
    // Everything that a script does for a user, with a user's text in every place where one can
    // stand.
    let operate = async |text: &str| {
        let session = |label: &str| NewSession::new(text).label(label);
        let pair = tokens.create_token_pair(session(text)).await.unwrap();
        let next = tokens.refresh(pair.refresh().as_str()).await.unwrap();
        tokens.revoke_token(next.access().as_str()).await.unwrap();
        tokens.sessions(text, Page::at(Some(text.to_owned())).limit(10)).await.unwrap();
        tokens.revoke_session(text, pair.session_id()).await.unwrap();
        tokens.revoke_session(text, &text.into()).await.unwrap();
        tokens.create_token_pair(session("")).await.unwrap();
        tokens.revoke_all_for_subject_except(text, &text.into()).await.unwrap();
        let deny = DenyRequest::new(text, ExternalId::Subject(text.into()), Duration::from_secs(60));
        g.f.store.deny(deny).await.unwrap();
    };
    let hashes = async |text: &str| -> (BTreeSet<String>, String) {
        let monitor = Monitor::start(g.f.server.port(), None);
        operate(text).await;
        let told = monitor.until("EVALSHA").await;
        (evalsha_in(&told), told)
    };
    // Once, so that the server has every script.
    operate("a harmless user").await;
    let (expected, _) = hashes("another harmless user").await;
    assert!(expected.len() >= 6, "{expected:?}");
    let cached = g.scripts_in_cache().await;
    for text in HOSTILE.into_iter().filter(|text| !text.chars().any(char::is_control)) {
        let (used, told) = hashes(text).await;
        assert_eq!(used, expected, "{text:?}: the same scripts as for anybody else");
        let told = told.to_uppercase();
        for command in ["\"EVAL\"", "\"SCRIPT\"", "\"FUNCTION\"", "\"FCALL\"", "\"FLUSHALL\"", "\"KEYS\"", "\"SCAN\""] {
            assert!(!told.contains(command), "{text:?}: {command} was sent: {told}");
        }
        assert_eq!(g.scripts_in_cache().await, cached, "{text:?}: no script was made of it");
        g.lives(&format!("{text:?}"), "witness", &witness).await;
    }
    // A denylist's names go through the same scripts.
    let store = RedisStore::builder(g.f.server.url()).buckets(1).timeout(HANG).connect().await.unwrap();
    let deny = denylist_on(store, |builder| builder);
    let deny = deny.external(ISSUER);
    for text in HOSTILE {
        for revoke in [deny.revoke_session(&text.into()), deny.revoke_subject(text), deny.revoke_token_id(&text.into())]
        {
            let assert_refused = matches!(revoke.await, Err(Error::InvalidId { .. }));
            assert_eq!(assert_refused, text.chars().any(char::is_control), "{text:?}");
        }
    }
    assert_eq!(g.scripts_in_cache().await, cached);
    g.lives("at the end", "witness", &witness).await;
}

/// Returns the hashes of all scripts that were called.
fn evalsha_in(told: &str) -> BTreeSet<String> {
    let calls = told.lines().filter_map(|line| line.split_once("\"EVALSHA\" \"").map(|(_, rest)| rest));
    calls.map(|rest| rest[..40].to_owned()).collect()
}
