//! Tokens of other issuers, under [`IssuerPolicy::Denylist`] and [`IssuerPolicy::Stateless`].

use std::time::Duration;

use tower_bearer::{
    Error, TokenService,
    clock::{ManualClock, Timestamp},
    error::{StoreErrorKind, TokenError},
    issuers::IssuerPolicy,
    store::MemoryStore,
};

use crate::{
    access, assert_revoked, pair,
    support::{
        Behaviour, FaultyStore, Fixture,
        fixture::{AUDIENCE, ISSUER, IssuedElsewhere, START, accepting, builder, foreign, issuer, sign},
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
    assert!(matches!(tokens.create_token_pair(tower_bearer::NewSession::new("42")).await, Err(Error::Issue(_))));
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
    assert!(matches!(tokens.create_token_pair(tower_bearer::NewSession::new("42")).await, Err(Error::Issue(_))));
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
