//! Tokens of other issuers, under [`IssuerPolicy::Denylist`] and [`IssuerPolicy::Stateless`].

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_bearer::{
    Consistency, CutoffCause, Error, NewSession, SessionStore, TokenService,
    clock::{Clock, ManualClock, Timestamp},
    error::{StoreErrorKind, TokenError},
    issuers::IssuerPolicy,
    store::MemoryStore,
    tokens::{ReplicaState, Revoke, TokenServiceBuilder},
};

use crate::{
    access, assert_revoked, pair,
    support::{
        Behaviour, FaultyStore, Fixture, HANG, bad_tokens, eventually,
        fixture::{
            AUDIENCE, ISSUER, IssuedElsewhere, START, accepting, builder, foreign, issuer, issuer_named, read_part,
            secret_of, sign, sign_with,
        },
    },
    token_error,
};

fn stateless(clock: &ManualClock) -> TokenService {
    accepting(clock, IssuerPolicy::Stateless).build().unwrap()
}

/// A service for another issuer's tokens at `START`. Its store was created a minute before.
struct Denylist {
    clock: ManualClock,
    store: FaultyStore,
    tokens: TokenService,
}

fn denylist() -> Denylist {
    let clock = ManualClock::at(START.saturating_sub(Duration::from_secs(60)));
    let store = FaultyStore::new(clock.clone());
    clock.set(START);
    let tokens = accepting(&clock, IssuerPolicy::Denylist).store(store.clone()).build().unwrap();
    Denylist { clock, store, tokens }
}

#[tokio::test]
async fn stateless_takes_signature_and_claims_and_cannot_revoke() {
    let fixture = Fixture::new();
    let tokens = stateless(&fixture.clock);
    let token = foreign("t1", "42", None, START);
    assert_eq!(access(&tokens, &token).await.unwrap().subject(), "42");
    // The crate's own tokens are accepted too, without a store call for the session.
    let own = pair(&fixture.tokens).await;
    fixture.tokens.revoke_session("42", own.session_id()).await.unwrap();
    access(&tokens, own.access().as_str()).await.unwrap();

    let external = tokens.external(ISSUER);
    for revoke in [
        tokens.revoke_token(&token),
        tokens.revoke_session("42", &"s".into()),
        tokens.revoke_all_for_subject("42"),
        external.revoke_token_id(&"t1".into()),
        external.revoke_session(&"s".into()),
        external.revoke_subject("42"),
    ] {
        assert!(matches!(revoke.await, Err(Error::Issue(_))), "a revocation that nobody will enforce is no success");
    }
    assert!(matches!(tokens.create_token_pair(NewSession::new("42")).await, Err(Error::Issue(_))));
    assert!(matches!(tokens.refresh(own.refresh().as_str()).await, Err(Error::Issue(_))));
    let status = tokens.status().await;
    assert_eq!(
        (status.is_ok(), status.consistency, status.store),
        (true, tower_bearer::tokens::ConsistencyStatus::None, None)
    );
    fixture.advance(4000);
    assert!(matches!(token_error(access(&tokens, &token).await), TokenError::Expired { .. }));
}

#[tokio::test]
async fn the_header_typ_of_another_issuers_token_matters_only_if_its_settings_say_so() {
    let fixture = Fixture::new();
    let token = sign(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        &format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"42","jti":"id","iat":{},"exp":{}}}"#,
            START.as_secs(),
            START.as_secs() + 60
        ),
    );
    access(&stateless(&fixture.clock), &token).await.unwrap();
    let marked = issuer(IssuerPolicy::Stateless).access_typ(tower_bearer::jwt::AccessTyp::AtJwt);
    let marked = TokenService::builder().clock(fixture.clock.clone()).accept(marked).build().unwrap();
    assert!(matches!(token_error(access(&marked, &token).await), TokenError::Claims(_)));
    access(&marked, &foreign("t1", "42", None, START)).await.unwrap();
}

#[tokio::test]
async fn a_denied_token_session_or_subject_is_refused_and_others_pass() {
    let Denylist { tokens, .. } = denylist();
    let [t1, t2] = ["t1", "t2"].map(|jti| foreign(jti, "42", Some("s1"), START));
    let [other_session, other_subject] =
        [foreign("t3", "42", Some("s2"), START), foreign("t4", "43", Some("s3"), START)];
    for token in [&t1, &t2, &other_session, &other_subject] {
        access(&tokens, token).await.unwrap();
    }
    tokens.revoke_token(&t1).await.unwrap();
    tokens.revoke_token(&t1).await.unwrap();
    assert_revoked(access(&tokens, &t1).await);
    access(&tokens, &t2).await.unwrap();
    tokens.external(ISSUER).revoke_session(&"s1".into()).await.unwrap();
    assert_revoked(access(&tokens, &t2).await);
    access(&tokens, &other_session).await.unwrap();
    tokens.external(ISSUER).revoke_subject("42").await.unwrap();
    assert_revoked(access(&tokens, &other_session).await);
    access(&tokens, &other_subject).await.unwrap();
    let by_id = foreign("t5", "43", None, START);
    access(&tokens, &by_id).await.unwrap();
    tokens.external(ISSUER).revoke_token_id(&"t5".into()).await.unwrap();
    assert_revoked(access(&tokens, &by_id).await);
    access(&tokens, &other_subject).await.unwrap();
    // These are about the sessions of a service's own tokens.
    for revoke in [
        tokens.revoke_session("42", &"s1".into()),
        tokens.revoke_all_for_subject("42"),
        tokens.revoke_all_for_subject_except("42", &"s1".into()),
        tokens.external("https://unknown.example").revoke_subject("42"),
    ] {
        assert!(matches!(revoke.await, Err(Error::Issue(_))));
    }
    assert!(matches!(tokens.create_token_pair(NewSession::new("42")).await, Err(Error::Issue(_))));
}

#[tokio::test]
async fn a_subject_that_was_denied_can_come_back_with_a_later_token() {
    let Denylist { clock, tokens, .. } = denylist();
    tokens.external(ISSUER).revoke_subject("42").await.unwrap();
    // The other issuer's clock may be ahead by the leeway (5 s).
    let at = |seconds| Timestamp::from_secs(START.as_secs() + seconds);
    clock.advance(Duration::from_secs(5));
    assert_revoked(access(&tokens, &foreign("t1", "42", None, at(5))).await);
    clock.advance(Duration::from_secs(1));
    access(&tokens, &foreign("t2", "42", None, at(6))).await.unwrap();
}

#[tokio::test]
async fn a_denial_is_remembered_as_long_as_what_it_denies_could_be_accepted() {
    let Denylist { clock, tokens, .. } = denylist();
    // The longest allowed lifetime, issued as far in the future as the leeway allows.
    let (lifetime, leeway) = (Duration::from_secs(25 * 3600), Duration::from_secs(5));
    let lasting = |jti: &str, subject: &str, sid: &str| {
        let token = IssuedElsewhere { lifetime, ..IssuedElsewhere::default() };
        token.signed(jti, subject, Some(sid), START.saturating_add(leeway))
    };
    let denied = [lasting("t1", "1", "s1"), lasting("t2", "2", "s2"), lasting("t3", "3", "s3")];
    let free = lasting("t4", "4", "s4");
    tokens.revoke_token(&denied[0]).await.unwrap();
    let external = tokens.external(ISSUER);
    external.revoke_session(&"s2".into()).await.unwrap();
    external.revoke_subject("3").await.unwrap();
    clock.set(START.saturating_add(lifetime + leeway + leeway).saturating_sub(Duration::from_millis(1)));
    // Each write prunes expired denials, and must not prune these.
    for n in 0..100 {
        external.revoke_subject(format!("other-{n}")).await.unwrap();
    }
    access(&tokens, &free).await.unwrap();
    for token in &denied {
        assert_revoked(access(&tokens, token).await);
    }
    clock.advance(Duration::from_millis(1));
    assert!(matches!(token_error(access(&tokens, &free).await), TokenError::Expired { .. }));
}

#[tokio::test]
async fn a_token_from_before_the_stores_memory_is_refused() {
    let fixture = Fixture::new();
    let tokens = accepting(&fixture.clock, IssuerPolicy::Denylist).store(fixture.store.clone()).build().unwrap();
    let at = |seconds| Timestamp::from_secs(START.as_secs() + seconds);
    fixture.advance(10);
    // The clocks may differ by 5 s, so an `iat` 4 seconds after the revocation may lie before it by
    // the store's clock.
    for seconds in [0, 4] {
        let refused = access(&tokens, &foreign("t1", "42", None, at(seconds))).await;
        assert!(matches!(token_error(refused), TokenError::Claims(_)), "{seconds}");
    }
    access(&tokens, &foreign("t2", "42", None, at(5))).await.unwrap();
}

#[tokio::test]
async fn a_denylist_that_cannot_be_asked_lets_nobody_in() {
    let Denylist { store, tokens, .. } = denylist();
    let token = foreign("t1", "42", None, START);
    store.answer(Behaviour::Late);
    access(&tokens, &token).await.unwrap();
    store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    assert!(matches!(access(&tokens, &token).await, Err(Error::Store(_))));
    assert!(matches!(tokens.revoke_token(&token).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn a_service_refuses_an_own_token_whose_session_its_store_does_not_know() {
    let fixture = Fixture::new();
    assert_eq!(
        token_error(access(&fixture.tokens, &foreign("t1", "42", Some("s1"), START)).await),
        TokenError::UnknownSession
    );
    assert!(matches!(
        token_error(access(&fixture.tokens, &foreign("t1", "42", None, START)).await),
        TokenError::Claims(_)
    ));
}

#[tokio::test]
async fn a_service_that_verifies_only_shares_a_store_and_issues_nothing() {
    let fixture = Fixture::new();
    let verifier = builder(&fixture.clock).store(fixture.store.clone()).verify_only().build().unwrap();
    let own = pair(&fixture.tokens).await;
    access(&verifier, own.access().as_str()).await.unwrap();
    assert!(matches!(verifier.refresh(own.refresh().as_str()).await, Err(Error::Issue(_))));
    assert!(verifier.status().await.signing_key.is_none());
    verifier.revoke_session("42", own.session_id()).await.unwrap();
    assert_revoked(access(&fixture.tokens, own.access().as_str()).await);
    let alone = builder(&fixture.clock).store(MemoryStore::with_clock(fixture.clock.clone())).build().unwrap();
    assert_eq!(token_error(access(&alone, own.access().as_str()).await), TokenError::UnknownSession);
}

// ---- Beside own tokens --------------------------------------------------------------------------

const A: &str = "https://a.example";
const B: &str = "https://b.example";
const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(3600));

/// Returns a token of the issuer `A` or `B`.
fn issued_by(issuer: &'static str, jti: &str, subject: &str, sid: &str, issued_at: Timestamp) -> String {
    IssuedElsewhere { issuer, ..IssuedElsewhere::default() }.signed(jti, subject, Some(sid), issued_at)
}

/// Waits until the node decides by its copy of the log, if it has one.
async fn ready(tokens: &TokenService) {
    eventually("a lease", async || {
        let replica = tokens.status().await.replica;
        replica.is_none_or(|replica| replica.state == ReplicaState::Leased).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_touches_only_the_tokens_of_its_own_issuer() {
    type Kind = (&'static str, for<'t> fn(&'t TokenService, &'t str, &Ids) -> Revoke);
    struct Ids {
        user: String,
        sid: tower_bearer::SessionId,
        token: String,
    }
    let kinds: [Kind; 4] = [
        ("token", |tokens, _, ids| tokens.revoke_token(&ids.token)),
        ("token by its id", |tokens, issuer, ids| {
            let jti = read_part(&ids.token, 1)["jti"].as_str().unwrap().into();
            match issuer {
                ISSUER => tokens.revoke_claims(&tokens.decode_token(&ids.token).unwrap()),
                _ => tokens.external(issuer).revoke_token_id(&jti),
            }
        }),
        ("session", |tokens, issuer, ids| match issuer {
            ISSUER => tokens.revoke_session(ids.user.as_str(), &ids.sid),
            _ => tokens.external(issuer).revoke_session(&ids.sid),
        }),
        ("subject", |tokens, issuer, ids| match issuer {
            ISSUER => tokens.revoke_all_for_subject(ids.user.as_str()),
            _ => tokens.external(issuer).revoke_subject(ids.user.as_str()),
        }),
    ];
    for consistency in [Consistency::Strong, BOUNDED] {
        let clock = ManualClock::at(START.saturating_sub(Duration::from_secs(60)));
        let store: Arc<dyn SessionStore> = Arc::new(FaultyStore::new(clock.clone()));
        let node = || {
            let builder = builder(&clock).accept(issuer_named(A, IssuerPolicy::Denylist));
            let builder = builder.accept(issuer_named(B, IssuerPolicy::Denylist)).consistency(consistency);
            builder.shared_store(Arc::clone(&store)).build().unwrap()
        };
        // The node learns of the revocations from the store or its log.
        let (tokens, revoking) = (node(), node());
        clock.set(START);
        ready(&tokens).await;
        for revoked in [ISSUER, A, B] {
            for (kind, revoke) in &kinds {
                let what = format!("{consistency:?}: the {kind} of {revoked}");
                // The other issuers use the ids of the service's own user, session and token.
                let user = format!("user {kind} {revoked}");
                let own = tokens.create_token_pair(NewSession::new(&user)).await.unwrap();
                let own_text = own.access().as_str().to_owned();
                let jti = read_part(&own_text, 1)["jti"].as_str().unwrap().to_owned();
                let of = |issuer| issued_by(issuer, &jti, &user, own.session_id().as_str(), clock.now());
                let mut open = Vec::new();
                for (issuer, token) in [(ISSUER, own_text), (A, of(A)), (B, of(B))] {
                    let claims = access(&tokens, &token).await.unwrap();
                    assert_eq!(claims.is_external(), issuer != ISSUER);
                    let ids = (claims.subject().as_str(), claims.session_id(), claims.token_id().as_str());
                    assert_eq!(ids, (user.as_str(), Some(own.session_id()), jti.as_str()));
                    assert_eq!(claims.issuer_subject().unwrap().issuer, issuer);
                    open.push((issuer, token, tokens.ended(&claims), claims));
                }
                assert_ne!(open[0].3.issuer_subject(), open[1].3.issuer_subject());
                assert_ne!(open[1].3.issuer_subject(), open[2].3.issuer_subject());

                let token = open.iter().find(|(issuer, ..)| *issuer == revoked).unwrap().1.clone();
                let ids = Ids { user: user.clone(), sid: own.session_id().clone(), token };
                let confirmed = revoke(&revoking, revoked, &ids).await.unwrap();
                let position = confirmed.position().unwrap();
                if consistency == BOUNDED {
                    eventually("the log is read", async || tokens.has_applied(position).then_some(())).await;
                }
                for (issuer, _, _, claims) in &open {
                    match tokens.check(claims).await {
                        Ok(()) => assert_ne!(*issuer, revoked, "{what}"),
                        refused => assert_revoked(refused),
                    }
                }
                for node in [&tokens, &revoking] {
                    for (issuer, token, ..) in &open {
                        match access(node, token).await {
                            Ok(_) => assert_ne!(*issuer, revoked, "{what}"),
                            refused => assert_revoked(refused),
                        }
                    }
                    let lives = node.has_session(user.as_str(), own.session_id()).await.unwrap();
                    assert_eq!(lives, revoked != ISSUER || kind.starts_with("token"), "{what}");
                }
                let cut = &mut open.iter_mut().find(|(issuer, ..)| *issuer == revoked).unwrap().2;
                assert_eq!(timeout(HANG, cut).await.expect(&what), CutoffCause::Revoked);
                for (issuer, _, ended, _) in open.iter_mut().filter(|(issuer, ..)| *issuer != revoked) {
                    assert!(ended.now_or_never().is_none(), "{what}: a stream of {issuer}");
                }
            }
        }
        assert_eq!(tokens.status().await.streams.revoked, 12);
    }
}

#[tokio::test]
async fn own_tokens_stay_as_strict_as_they_are_alone() {
    let other = |builder: TokenServiceBuilder| builder.accept(issuer_named(A, IssuerPolicy::Denylist));
    let fixture = Fixture::with(other);
    fixture.advance(60);
    for (fault, token) in bad_tokens(&fixture).await {
        let error = token_error(access(&fixture.tokens, &token).await);
        let names_no_issuer = ["another issuer", "claims are an array"].contains(&fault);
        assert_eq!(error == TokenError::UnknownIssuer, names_no_issuer, "{fault}: {error:?}");
    }
    let own = fixture.access("read").await;
    access(&fixture.tokens, &own).await.unwrap();
    // A token that would be good if the other issuer had issued it.
    let (now, leeway) = (fixture.clock.now(), Duration::from_secs(5));
    let unmarked = |issuer: &str| {
        let times = json!({ "iat": now.as_secs(), "exp": now.saturating_add(leeway).as_secs() });
        let mut claims = json!({ "iss": issuer, "aud": AUDIENCE, "sub": "42", "jti": "t1" });
        claims.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        signed(issuer, &claims)
    };
    access(&fixture.tokens, &unmarked(A)).await.unwrap();
    token_error(access(&fixture.tokens, &unmarked(ISSUER)).await);
    // The other issuer's tokens are no refresh tokens either.
    let foreign = issued_by(A, "t1", "42", "s1", now);
    token_error(crate::refresh(&fixture.tokens, &foreign).await);
    token_error(fixture.tokens.refresh(&foreign).await);
}

/// Returns a token with these claims, signed with the key of `issuer` under an unmarked header.
fn signed(issuer: &str, claims: &Value) -> String {
    signed_text(issuer, &claims.to_string())
}

/// Returns the same for claims that a JSON value cannot express.
fn signed_text(issuer: &str, claims: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret_of(issuer).as_bytes());
    let header = br#"{"alg":"HS256","typ":"JWT"}"#;
    sign_with(jsonwebtoken::Algorithm::HS256, &key, header, claims.as_bytes())
}

// ---- The rules of other issuers' tokens ---------------------------------------------------------

#[tokio::test]
async fn a_token_of_an_issuer_that_the_service_does_not_accept_is_refused() {
    let clock = ManualClock::at(START);
    let tokens = TokenService::builder().clock(clock).accept(issuer_named(A, IssuerPolicy::Stateless));
    let tokens = tokens.build().unwrap();
    access(&tokens, &issued_by(A, "t1", "42", "s1", START)).await.unwrap();
    let claims = |issuer: &Value| {
        let exp = START.as_secs() + 60;
        json!({ "iss": issuer, "aud": AUDIENCE, "sub": "42", "jti": "t1", "iat": START.as_secs(), "exp": exp })
    };
    for issuer in
        [json!(B), json!("https://a.example/"), json!("HTTPS://A.EXAMPLE"), json!(""), json!(null), json!([A])]
    {
        let error = token_error(access(&tokens, &signed(A, &claims(&issuer))).await);
        assert_eq!(error, TokenError::UnknownIssuer, "{issuer}");
    }
    let mut unnamed = claims(&json!(A));
    unnamed.as_object_mut().unwrap().remove("iss");
    assert_eq!(token_error(access(&tokens, &signed(A, &unnamed)).await), TokenError::UnknownIssuer);
    let twice = |first: &str, second: &str| {
        let claims = claims(&json!(first)).to_string();
        claims.replacen('}', &format!(r#","iss":"{second}"}}"#), 1)
    };
    for (first, second) in [(A, B), (B, A), (A, A)] {
        token_error(access(&tokens, &signed_text(A, &twice(first, second))).await);
    }
}

#[tokio::test]
async fn a_denylist_needs_the_time_of_issue_and_an_id_that_it_can_deny() {
    let now = START.as_secs();
    let whole =
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "42", "jti": "t", "sid": "s", "iat": now, "exp": now + 60 });
    let without = |names: &[&str]| {
        let mut claims = whole.clone();
        claims.as_object_mut().unwrap().retain(|name, _| !names.contains(&name.as_str()));
        signed(ISSUER, &claims)
    };
    let Denylist { clock, tokens, .. } = denylist();
    for lacking in [&["jti", "sid"][..], &["sub", "jti"], &["sub", "sid"]] {
        access(&tokens, &without(lacking)).await.unwrap();
    }
    for lacking in [&["iat"][..], &["sub", "jti", "sid"]] {
        assert!(matches!(token_error(access(&tokens, &without(lacking)).await), TokenError::Claims(_)), "{lacking:?}");
        access(&stateless(&clock), &without(lacking)).await.unwrap();
    }
    // `revoke_token` revokes the smallest part that the token names.
    for (lacking, others) in [(&["jti"][..], &["jti", "sub"][..]), (&["jti", "sid"], &["jti"])] {
        let Denylist { tokens, .. } = denylist();
        tokens.revoke_token(&without(lacking)).await.unwrap();
        assert_revoked(access(&tokens, &without(lacking)).await);
        assert_revoked(access(&tokens, &without(others)).await);
    }
    let Denylist { tokens, .. } = denylist();
    tokens.revoke_token(&without(&[])).await.unwrap();
    assert_revoked(access(&tokens, &without(&["sid"])).await);
    access(&tokens, &without(&["jti"])).await.unwrap();
    let mut refresh = whole.clone();
    refresh["type"] = json!("refresh");
    assert_eq!(token_error(access(&tokens, &signed(ISSUER, &refresh)).await), TokenError::WrongType);
}

#[tokio::test]
async fn tokens_that_are_older_than_the_store_are_accepted_only_if_the_application_says_so() {
    let at = START.saturating_sub(Duration::from_secs(600));
    for consistency in [Consistency::Strong, BOUNDED] {
        for accepts in [None, Some(false), Some(true)] {
            let clock = ManualClock::at(START);
            let store = FaultyStore::new(clock.clone());
            let mut builder = accepting(&clock, IssuerPolicy::Denylist).consistency(consistency);
            if let Some(accepts) = accepts {
                builder = builder.accept_older_than_store(accepts);
            }
            let tokens = builder.store(store.clone()).build().unwrap();
            ready(&tokens).await;
            let old = |jti: &str, subject: &str, sid: &str| foreign(jti, subject, Some(sid), at);
            if accepts != Some(true) {
                let refused = token_error(access(&tokens, &old("t0", "0", "s0")).await);
                assert!(matches!(refused, TokenError::Claims(_)), "{refused:?}");
                continue;
            }
            let all = [old("t1", "1", "s1"), old("t2", "2", "s2"), old("t3", "3", "s3"), old("t4", "4", "s4")];
            let mut open = Vec::new();
            for token in &all {
                let claims = access(&tokens, token).await.unwrap();
                access(&tokens, token).await.unwrap();
                tokens.check(&claims).await.unwrap();
                open.push(tokens.ended(&claims));
            }
            // A revocation in this store still holds.
            let external = tokens.external(ISSUER);
            tokens.revoke_token(&all[0]).await.unwrap();
            external.revoke_session(&"s2".into()).await.unwrap();
            external.revoke_subject("3").await.unwrap();
            for (token, ended) in all[..3].iter().zip(&mut open) {
                assert_revoked(access(&tokens, token).await);
                assert_eq!(timeout(HANG, ended).await.unwrap(), CutoffCause::Revoked);
            }
            access(&tokens, &all[3]).await.unwrap();
            assert!((&mut open[3]).now_or_never().is_none(), "{consistency:?}");
        }
    }
}

#[tokio::test]
async fn only_the_registered_claims_of_another_issuer_have_the_meaning_of_this_crate() {
    let clock = ManualClock::at(START);
    let tokens = TokenService::builder().claims::<serde_json::Map<String, Value>>().clock(clock);
    let tokens = tokens.accept(issuer(IssuerPolicy::Stateless)).build().unwrap();
    let now = START.as_secs();
    let registered = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "42", "jti": "t", "iat": now, "exp": now + 60 });
    let others =
        json!({ "sid": 7, "scope": ["read"], "gen": "x", "atl": [], "client_id": 5, "type": 3, "tb_stamp": {} });
    let mut claims = registered.clone();
    claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    let claims = access(&tokens, &signed(ISSUER, &claims)).await.unwrap();
    assert_eq!(Value::Object(claims.custom().clone()), others);
    assert_eq!((claims.scope().as_str(), claims.session_id().unwrap().as_str()), ("read", "7"));
    assert!(claims.token_type().is_none() && claims.client_id().is_none() && claims.generation().is_none());
    for (name, value) in
        [("exp", json!("x")), ("sub", json!(1)), ("jti", json!([])), ("nbf", json!({})), ("aud", json!(5))]
    {
        let mut bad = registered.clone();
        bad[name] = value;
        token_error(access(&tokens, &signed(ISSUER, &bad)).await);
    }
}
