//! A token service with a clock and a store that the test controls, and tokens that it must refuse.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use tower_bearer::{
    Error, KeySet, NewSession, NoClaims, SessionId, TokenId, TokenPair, TokenService, TokenType,
    clock::{Clock, ManualClock, Timestamp},
    issuers::{Issuer, IssuerPolicy},
    jwt::{Algorithm, JwtClaims, SigningKey, encode_jwt},
    tokens::TokenServiceBuilder,
};

use super::FaultyStore;

/// TEST key.
pub const SECRET: &str = "a TEST secret that is long enough for every HMAC: 0123456789abcdef0123456789abcdef";
pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "api";
/// The initial time of the clock.
pub const START: Timestamp = Timestamp::from_secs(1_767_225_660);

/// Opens a session of this user.
pub async fn pair(tokens: &TokenService, user: &str) -> TokenPair {
    tokens.create_token_pair(NewSession::new(user)).await.unwrap()
}

/// Returns true if the node accepts the token. Returns `None` if the store does not answer and the
/// node cannot decide.
pub async fn lets_in(tokens: &TokenService, pair: &TokenPair) -> Option<bool> {
    match tokens.validate_token(pair.access().as_str(), TokenType::Access).await {
        Ok(_) => Some(true),
        Err(Error::Token(_)) => Some(false),
        Err(Error::Store(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A token service with its clock and store.
pub struct Fixture {
    pub clock: ManualClock,
    pub store: FaultyStore,
    pub tokens: TokenService,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub fn with(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Self {
        Self::of(|clock| configure(builder(clock)))
    }

    /// Creates a fixture with other keys than the secret.
    pub fn with_keys(keys: KeySet, configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Self {
        Self::of(|clock| configure(keyless(clock).keys(keys)))
    }

    pub fn of(configure: impl FnOnce(&ManualClock) -> TokenServiceBuilder) -> Self {
        let clock = ManualClock::at(START);
        let store = FaultyStore::new(clock.clone());
        let tokens = configure(&clock).store(store.clone()).build().unwrap();
        Self { clock, store, tokens }
    }

    pub async fn access(&self, scope: &str) -> String {
        self.tokens.create_access_token(NewSession::new("42").scope(scope)).await.unwrap().as_str().to_owned()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Returns the configuration of a fixture, without its store.
pub fn builder(clock: &ManualClock) -> TokenServiceBuilder {
    keyless(clock).secret(SECRET)
}

fn keyless(clock: &ManualClock) -> TokenServiceBuilder {
    TokenService::builder().issuer(ISSUER).audience(AUDIENCE).clock(clock.clone())
}

/// Returns the configuration of a service that has no tokens of its own and accepts those of
/// [`ISSUER`], without its store.
pub fn accepting(clock: &ManualClock, policy: IssuerPolicy) -> TokenServiceBuilder {
    TokenService::builder().clock(clock.clone()).accept(issuer(policy))
}

/// Returns [`ISSUER`] as another issuer.
pub fn issuer(policy: IssuerPolicy) -> Issuer {
    issuer_named(ISSUER, policy)
}

/// Returns the issuer with this identifier and the key [`key_of`].
pub fn issuer_named(identifier: &str, policy: IssuerPolicy) -> Issuer {
    Issuer::new(identifier).audience(AUDIENCE).keys(KeySet::signing(key_of(identifier))).policy(policy)
}

/// Returns the key of an issuer: that of [`SECRET`] for [`ISSUER`], otherwise one of its own.
pub fn key_of(issuer: &str) -> SigningKey {
    SigningKey::from_secret(Algorithm::HS256, secret_of(issuer)).unwrap()
}

/// Returns the secret of [`key_of`].
pub fn secret_of(issuer: &str) -> String {
    if issuer == ISSUER { SECRET.to_owned() } else { SECRET.replace("TEST", &format!("TEST {issuer}")) }
}

/// A token of another issuer, which [`IssuedElsewhere::signed`] makes. By default, the issuer is
/// [`ISSUER`], and the lifetime an hour.
pub struct IssuedElsewhere {
    pub issuer: &'static str,
    pub lifetime: Duration,
}

impl Default for IssuedElsewhere {
    fn default() -> Self {
        Self { issuer: ISSUER, lifetime: Duration::from_secs(3600) }
    }
}

impl IssuedElsewhere {
    /// Returns the text of a token with these ids.
    pub fn signed(self, jti: &str, subject: &str, sid: Option<&str>, issued_at: Timestamp) -> String {
        let Self { issuer, lifetime } = self;
        let mut claims =
            JwtClaims::new(subject, TokenId::new(jti), TokenType::Access, issued_at, lifetime, NoClaims {})
                .with_issuer(issuer)
                .with_audience([AUDIENCE]);
        if let Some(sid) = sid {
            claims = claims.with_session(SessionId::new(sid), 0);
        }
        encode_jwt(&KeySet::signing(key_of(issuer)), &claims).unwrap()
    }
}

/// Returns a token of [`ISSUER`] with the defaults of [`IssuedElsewhere`].
pub fn foreign(jti: &str, subject: &str, sid: Option<&str>, issued_at: Timestamp) -> String {
    IssuedElsewhere::default().signed(jti, subject, sid, issued_at)
}

/// Returns a bad token for every fault that the middleware can detect, with the name of the fault.
pub async fn bad_tokens(fixture: &Fixture) -> Vec<(&'static str, String)> {
    let tokens = &fixture.tokens;
    let good = || tokens.create_token_pair(NewSession::new("42").scope("read"));

    let expired = good().await.unwrap();
    // The default lifetime of an access token plus the leeway.
    fixture.advance(30 * 60 + 5);
    let revoked = good().await.unwrap();
    tokens.revoke_token(revoked.access().as_str()).await.unwrap();
    let logged_out = good().await.unwrap();
    tokens.revoke_session("42", logged_out.session_id()).await.unwrap();
    let now = fixture.clock.now();

    let valid = good().await.unwrap().access().as_str().to_owned();
    let (signed, signature) = valid.rsplit_once('.').unwrap();
    let mut other_bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    other_bytes[0] ^= 1;
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other_bytes));

    // The following tokens belong to a live session, so that each has exactly one fault.
    let session = good().await.unwrap().session_id().to_string();
    let claims_of = |session: &str, issuer: &str, audience: &str| {
        let jti = format!("{session}.0.a");
        JwtClaims::new("42", TokenId::new(jti), TokenType::Access, now, Duration::from_secs(60), NoClaims {})
            .with_issuer(issuer)
            .with_audience([audience])
            .with_session(SessionId::new(session), 0)
    };
    let claims = |issuer: &str, audience: &str| claims_of(session.as_str(), issuer, audience);
    let signed_by = |key: SigningKey, claims: &JwtClaims| encode_jwt(&KeySet::signing(key), claims).unwrap();
    let other_key = SigningKey::from_secret(Algorithm::HS256, SECRET.replace("TEST", "other")).unwrap();
    let hs384 = SigningKey::from_secret(Algorithm::HS384, SECRET).unwrap();
    let kid = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap().with_kid("unknown").unwrap();
    let claims_json = valid.split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let claims_json = String::from_utf8(claims_json).unwrap();
    let header = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    // The same constructions without a fault give good tokens.
    for faultless in [signed_by(key_of(ISSUER), &claims(ISSUER, AUDIENCE)), sign(header, &claims_json)] {
        tokens.validate_token(&faultless, TokenType::Access).await.unwrap();
    }
    vec![
        ("no JWT at all", "abc".to_owned()),
        ("too long", "a".repeat(9000)),
        ("bad signature", forged),
        ("another key", signed_by(other_key, &claims(ISSUER, AUDIENCE))),
        ("another algorithm", signed_by(hs384, &claims(ISSUER, AUDIENCE))),
        ("unknown kid", signed_by(kid, &claims(ISSUER, AUDIENCE))),
        ("alg none", unsigned(&claims_json)),
        ("crit", sign(r#"{"alg":"HS256","crit":["exp"]}"#, &claims_json)),
        ("another issuer", signed_by(key_of(ISSUER), &claims("https://other.example", AUDIENCE))),
        ("another audience", signed_by(key_of(ISSUER), &claims(ISSUER, "web"))),
        ("unknown session", signed_by(key_of(ISSUER), &claims_of("AAAAAAAAAAAAAAAAAAAAAA", ISSUER, AUDIENCE))),
        (
            "not yet valid",
            signed_by(
                key_of(ISSUER),
                &claims(ISSUER, AUDIENCE).with_not_before(Timestamp::from_secs(now.as_secs() + 30)),
            ),
        ),
        ("expired", expired.access().as_str().to_owned()),
        ("revoked", revoked.access().as_str().to_owned()),
        ("logged out", logged_out.access().as_str().to_owned()),
        ("refresh token", good().await.unwrap().refresh().as_str().to_owned()),
        ("claims are an array", sign(header, "[]")),
        ("sub is a number", sign(header, &claims_json.replace(r#""sub":"42""#, r#""sub":42"#))),
        ("a claim twice", sign(header, &claims_json.replacen('{', r#"{"sub":"1","#, 1))),
    ]
}

fn unsigned(claims: &str) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// Signs any header and claims by HS256 with the service's secret.
pub fn sign(header: &str, claims: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    sign_with(jsonwebtoken::Algorithm::HS256, &key, header.as_bytes(), claims.as_bytes())
}

/// Signs any bytes as header and payload with any key and algorithm, independently of the header.
pub fn sign_with(algorithm: jsonwebtoken::Algorithm, key: &EncodingKey, header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = signature(algorithm, key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Returns the signature of any bytes.
pub fn signature(algorithm: jsonwebtoken::Algorithm, key: &EncodingKey, message: &[u8]) -> Vec<u8> {
    #[cfg(feature = "aws-lc-rs")]
    use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    #[cfg(not(feature = "aws-lc-rs"))]
    use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, key).unwrap();
    signer.try_sign(message).unwrap()
}

/// Returns a segment of a token as JSON, without any check.
pub fn read_part(token: &str, part: usize) -> serde_json::Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
