//! A rejection reveals only that the token is bad.
//!
//! Neither its bytes nor its cost reveal the reason, or anything about users and sessions.

use std::time::Duration;

use serde_json::json;
use tower_bearer::NewSession;

use crate::{
    subject::{Outcome, Subject, bearer},
    support::{
        Behaviour, bad_tokens,
        fixture::{read_part, sign},
        token_parts::HEADER,
    },
};

#[tokio::test]
async fn every_bad_token_gets_the_same_answer_to_the_byte_wherever_it_stands_and_however_the_store_answers() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    for (fault, token) in bad_tokens(&subject.fixture).await {
        for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
            subject.fixture.store.answer(behaviour);
            subject.expect_token(fault, &token, Outcome::InvalidToken).await;
            let cookie = http::Request::get("/").header("cookie", format!("t={token}"));
            subject.expect(fault, cookie, Outcome::InvalidToken).await;
        }
        subject.fixture.store.answer(Behaviour::AtOnce);
    }
}

/// Shown by counts: an unknown session costs as much as an ended one, for known and unknown users.
#[tokio::test]
async fn a_token_costs_the_store_one_question_whatever_has_become_of_user_and_session() {
    let subject = Subject::new();
    let tokens = &subject.fixture.tokens;
    let pair = async |user: &str| tokens.create_token_pair(NewSession::new(user).scope("read")).await.unwrap();
    let access = |pair: &tower_bearer::TokenPair| pair.access().as_str().to_owned();

    let ended = pair("known").await;
    tokens.revoke_session("known", ended.session_id()).await.unwrap();
    let all_ended = pair("logged out everywhere").await;
    tokens.revoke_all_for_subject("logged out everywhere").await.unwrap();
    let revoked = pair("known").await;
    tokens.revoke_token(revoked.access().as_str()).await.unwrap();
    let good = pair("known").await;
    let forged_for = |user: &str, sid: &str| {
        let mut claims = read_part(good.access().as_str(), 1);
        claims["sub"] = json!(user);
        claims["sid"] = json!(sid);
        claims["jti"] = json!(format!("{sid}.0.a"));
        sign(HEADER, &claims.to_string())
    };
    let sid = good.session_id().to_owned();
    let tried = [
        ("a session that was ended", access(&ended)),
        ("all sessions ended", access(&all_ended)),
        ("one token revoked", access(&revoked)),
        ("an unknown session of a known user", forged_for("known", "AAAAAAAAAAAAAAAAAAAAAA")),
        ("another's session", forged_for("logged out everywhere", sid.as_str())),
        ("an unknown user", forged_for("nobody", "AAAAAAAAAAAAAAAAAAAAAA")),
    ];
    for (what, token) in &tried {
        let before = subject.fixture.store.calls();
        let answer = subject.send(bearer(token).body(http_body_util::Full::default()).unwrap()).await;
        answer.assert_refused(what, Outcome::InvalidToken, false);
        assert_eq!(subject.fixture.store.calls() - before, 1, "{what}");
    }
    // Tokens with a bad text, signature or claims never reach the store, for any subject.
    subject.fixture.clock.advance(Duration::from_secs(1));
    for (_, token) in &tried {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
        let before = subject.fixture.store.calls();
        subject.expect_token("forged", &forged, Outcome::InvalidToken).await;
        assert_eq!(subject.fixture.store.calls(), before);
    }
}
