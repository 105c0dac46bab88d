//! Every misconfiguration is an error of `build` that names the setting.

use std::time::Duration;

use tower_bearer::{
    BoxError, KeySet, MemoryStore, NoClaims, Renewal, TokenService,
    compat::Settings,
    error::{ConfigError, ConfigErrorKind},
    issuers::{Issuer, IssuerPolicy},
    jwt::{AccessTyp, Algorithm, SigningKey},
    tokens::{Refreshing, TokenServiceBuilder},
};

use crate::support::fixture::{ISSUER, SECRET, issuer};

fn good() -> TokenServiceBuilder {
    TokenService::builder().secret(SECRET).store(MemoryStore::default())
}

fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap()
}

/// Returns an issuer of which [`ISSUER`] is a tenant.
fn tenants() -> Issuer {
    let identifier = ISSUER.replace("issuer", "{tenantid}");
    Issuer::new(identifier).tenants(["issuer", "t2"]).audience("api").keys(KeySet::signing(key()))
}

fn renew(_: Refreshing) -> std::future::Ready<Result<Renewal<NoClaims>, BoxError>> {
    std::future::ready(Ok(Renewal::Keep))
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let memory = MemoryStore::default;
    let none = TokenService::builder;
    let seconds = Duration::from_secs;
    let century = seconds(101 * 365 * 86_400);
    let half = Duration::from_millis(1500);
    let day = seconds(86_400);
    let refused: Vec<(&str, &str, TokenServiceBuilder)> = vec![
        ("secret", "missing", none().store(memory())),
        ("secret", "beside keys", good().keys(KeySet::signing(key()))),
        ("secret", "short", good().secret("short")),
        ("secret", "short for HS512", good().secret([b'a', b'b'].repeat(31)).algorithm(Algorithm::HS512)),
        ("secret", "one byte", good().secret([7; 64])),
        ("secret", "a key pair's algorithm", good().algorithm(Algorithm::RS256)),
        ("algorithm", "beside keys", none().keys(KeySet::signing(key())).algorithm(Algorithm::HS256).store(memory())),
        ("keys", "cannot sign", none().keys(KeySet::verifying(key().verifying_key().clone())).store(memory())),
        ("verified_cache", "no bytes", good().verified_cache(1, 0)),
        ("verified_cache", "few bytes", good().verified_cache(65_536, 500)),
        ("store", "missing", none().secret(SECRET)),
        ("store", "missing for a denylist", none().accept(issuer(IssuerPolicy::Denylist))),
        ("store", "never asked", none().store(memory()).accept(issuer(IssuerPolicy::Stateless))),
        ("issuer", "empty", good().issuer("")),
        ("audience", "empty", good().audience("")),
        ("audience", "another is empty", good().audience("api").also_accept_audience("")),
        ("audience", "missing", good().also_accept_audience("web")),
        ("access_lifetime", "zero", good().access_lifetime(Duration::ZERO)),
        ("access_lifetime", "a fraction", good().access_lifetime(half)),
        ("access_lifetime", "a century", good().access_lifetime(century)),
        ("access_lifetime", "for ever", good().access_lifetime(Duration::MAX)),
        ("refresh_lifetime", "zero", good().refresh_lifetime(Duration::ZERO)),
        ("refresh_lifetime", "a fraction", good().refresh_lifetime(half)),
        ("refresh_lifetime", "a century", good().refresh_lifetime(century)),
        ("session_lifetime", "zero", good().session_lifetime(Duration::ZERO)),
        ("session_lifetime", "a fraction", good().session_lifetime(half)),
        ("session_lifetime", "a century", good().session_lifetime(century)),
        ("access_lifetime", "longer than the session", good().access_lifetime(day).session_lifetime(seconds(3600))),
        ("access_lifetime", "longer than the default session", good().access_lifetime(31 * day)),
        ("refresh_lifetime", "longer than the session", good().refresh_lifetime(2 * day).session_lifetime(day)),
        ("max_access_lifetime", "shorter than the lifetime", good().max_access_lifetime(seconds(60))),
        ("max_access_lifetime", "a century", good().max_access_lifetime(century)),
        ("reuse_grace", "over five minutes", good().reuse_grace(seconds(301))),
        ("leeway", "over a day", good().leeway(seconds(86_401))),
        ("leeway", "for ever", good().leeway(Duration::MAX)),
        ("max_token_len", "zero", good().max_token_len(0)),
        ("max_token_len", "shorter than any token", good().max_token_len(63)),
        ("max_sessions", "zero", good().max_sessions(0)),
        ("max_sessions", "without sessions of our own", good().verify_only().max_sessions(1)),
        ("require_claims", "which access tokens never have", good().require_claims(["atl"])),
        ("require_claims", "which few access tokens have", good().require_claims(["tb_stamp"])),
        ("on_refresh", "never asked: only verifies", good().verify_only().on_refresh(renew)),
        (
            "on_refresh",
            "never asked: another issuer's",
            none().store(memory()).accept(issuer(IssuerPolicy::Denylist)).on_refresh(renew),
        ),
        ("on_refresh", "before claims", good().on_refresh(renew).claims::<NoClaims>()),
    ];
    let issuer = || issuer(IssuerPolicy::Stateless);
    let mine = || good().issuer("https://own.example");
    let bare = || Issuer::new(ISSUER);
    let keys = || KeySet::signing(key());
    let of_issuers: Vec<(&str, &str, TokenServiceBuilder)> = vec![
        ("issuer", "missing beside another issuer", good().accept(issuer())),
        ("accept", "twice", mine().accept(issuer()).accept(issuer())),
        ("accept", "the service's own", good().issuer(ISSUER).accept(issuer())),
        ("accept", "a tenant twice", mine().accept(tenants()).accept(issuer())),
        ("issuer", "an empty identifier", none().accept(Issuer::new("").audience("api").keys(keys()))),
        ("audience", "missing for an issuer", none().accept(bare().keys(keys()))),
        ("audience", "empty for an issuer", none().accept(bare().audience("").keys(keys()))),
        ("any_audience", "beside an audience", none().accept(issuer().any_audience())),
        ("keys", "missing for an issuer", none().accept(bare().audience("api"))),
        ("algorithms", "beside fixed keys", none().accept(issuer().algorithms([Algorithm::RS256]))),
        ("access_typ", "that of own tokens", none().accept(issuer().access_typ(AccessTyp::Compatible))),
        ("tenants", "none", none().accept(Issuer::new("https://id.example/{tenantid}").audience("api").keys(keys()))),
        ("tenants", "without a place", none().accept(issuer().tenants(["t"]))),
        ("max_access_lifetime", "a century for an issuer", none().accept(issuer().max_access_lifetime(century))),
        ("algorithm", "no own tokens", none().accept(issuer()).algorithm(Algorithm::HS256)),
        ("access_typ", "no own tokens", none().accept(issuer()).access_typ(AccessTyp::AtJwt)),
        ("max_access_lifetime", "no own tokens", none().accept(issuer()).max_access_lifetime(day)),
        ("max_token_age", "no own tokens", none().accept(issuer()).max_token_age(day)),
        ("require_claims", "no own tokens", none().accept(issuer()).require_claims(["client_id"])),
        ("max_sessions", "no own tokens", none().accept(issuer()).max_sessions(1)),
    ];
    for (setting, what, builder) in refused.into_iter().chain(of_issuers) {
        let error = builder.build().expect_err(what);
        assert_eq!(error.setting(), setting, "{what}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("`{setting}` ")) && text.contains("; "), "no remedy: {text}");
        assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET));
    }
}

#[test]
fn the_extremes_that_can_work_do() {
    let seconds = Duration::from_secs;
    let longest = seconds(100 * 365 * 86_400);
    for builder in [
        good(),
        good().access_lifetime(seconds(1)).refresh_lifetime(seconds(1)).session_lifetime(seconds(1)),
        good().access_lifetime(longest).refresh_lifetime(longest).session_lifetime(longest),
        good().reuse_grace(seconds(300)).leeway(seconds(86_400)).max_sessions(1).max_token_len(usize::MAX),
        good().reuse_grace(Duration::ZERO).leeway(Duration::ZERO).max_sessions(u32::MAX).max_token_len(256),
        TokenService::builder().store(MemoryStore::default()).keys(KeySet::signing(key())),
        TokenService::builder()
            .store(MemoryStore::default())
            .keys(KeySet::verifying(key().verifying_key().clone()))
            .verify_only(),
        TokenService::builder().accept(issuer(IssuerPolicy::Stateless)),
        good().issuer("https://own.example").accept(issuer(IssuerPolicy::Denylist)),
        good().on_refresh(renew),
        // The default lifetimes adapt.
        good().session_lifetime(seconds(60)),
        good().refresh_lifetime(seconds(60 * 86_400)).access_lifetime(seconds(60 * 86_400)),
        good().access_lifetime(seconds(31 * 86_400)).verify_only(),
    ] {
        builder.build().unwrap();
    }
    // The algorithm may be set before the secret.
    TokenService::builder().algorithm(Algorithm::HS512).store(MemoryStore::default()).secret(SECRET).build().unwrap();
}

#[test]
fn settings_fill_in_what_the_environment_sets_and_leave_the_rest() -> Result<(), ConfigError> {
    let settings = Settings::from_vars([
        ("JWT_SECRET_KEY", SECRET),
        ("JWT_ALGORITHM", "HS384"),
        ("JWT_ISSUER", "https://env.example"),
        ("JWT_AUDIENCE", "env"),
    ])?;
    let tokens = TokenService::builder()
        .issuer("https://code.example")
        .settings(&settings)
        .store(MemoryStore::default())
        .build()?;
    let shown = format!("{tokens:?}");
    assert!(shown.contains("https://env.example") && !shown.contains("code.example") && !shown.contains(SECRET));
    let none = Settings::from_vars([("PATH", "/bin")])?;
    let tokens = good().issuer("https://code.example").settings(&none).build()?;
    assert!(format!("{tokens:?}").contains("https://code.example"));
    let unknown = Settings::from_vars([("JWT_ALGORITHM", "none")])?;
    let error = good().settings(&unknown).build().expect_err("`none` is no algorithm");
    assert!(error.to_string().contains("algorithm"), "{error}");
    Ok(())
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Reserved {
    role: String,
    sub: String,
}

#[test]
fn a_claims_type_with_a_reserved_name_is_refused() {
    let error = good().claims::<Reserved>().build().expect_err("`sub` is ours");
    assert_eq!(error.setting(), "claims");
    assert!(error.to_string().contains("`sub`"), "{error}");
}

#[test]
fn the_first_error_of_the_settings_is_reported_by_build() {
    let settings = |name| Settings::from_vars([("JWT_ALGORITHM", name)]).unwrap();
    let error = good().settings(&settings("none")).settings(&settings("HS256")).build().expect_err("`none`");
    assert!(error.to_string().starts_with("`JWT_ALGORITHM` "), "{error}");
}

#[test]
fn the_kind_of_a_fault_can_be_matched_on() {
    let century = Duration::from_secs(101 * 365 * 86_400);
    let kinds = [
        (ConfigErrorKind::Missing, TokenService::builder().store(MemoryStore::default())),
        (ConfigErrorKind::Missing, TokenService::builder().secret(SECRET)),
        (ConfigErrorKind::Invalid, good().issuer("")),
        (ConfigErrorKind::Invalid, good().secret("short")),
        (ConfigErrorKind::OutOfRange, good().max_sessions(0)),
        (ConfigErrorKind::OutOfRange, good().access_lifetime(century)),
        (ConfigErrorKind::Conflict, good().keys(KeySet::signing(key()))),
        (ConfigErrorKind::Conflict, good().accept(issuer(IssuerPolicy::Stateless)).issuer(ISSUER)),
    ];
    for (kind, builder) in kinds {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!("none".parse::<Algorithm>().unwrap_err().kind(), ConfigErrorKind::Unsupported);
}
