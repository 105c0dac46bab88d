//! The common parts of the examples: the token service, the address and the logs. Environment
//! variables configure them:
//!
//! | variable | meaning | default |
//! |--|--|--|
//! | `BIND` | address to listen on | depends on the example |
//! | `REDIS_URL` | Redis that keeps the sessions, see below | unset: sessions in memory |
//! | `CONNECT` | `eager`, `retry:<seconds>` or `lazy`, see below | `eager` |
//! | `FAILOVER` | `single` or `replicas:<max_lag in seconds>`, see [`Failover`] | undeclared |
//! | `SENTINEL_PATIENCE_SECONDS` | maximum age of a sentinel's answer, in seconds | 5 |
//! | `REDIS_PREFIX` | prefix of all keys | `tb` |
//! | `CONSISTENCY` | `strong` or `bounded:<milliseconds>`, see [`Consistency`] | `strong` |
//! | `JWT_SECRET_KEY`, `JWT_ALGORITHM`, ... | see [`tower_bearer::compat`] | see below |
//! | `JWT_PRIVATE_KEY_FILE` | PEM file with a private key for `JWT_ALGORITHM` | unset |
//! | `ACCESS_TTL_SECONDS`, `REFRESH_TTL_SECONDS` | lifetimes, for tests | the crate's |
//! | `REUSE_GRACE_SECONDS`, `LEEWAY_SECONDS` | for tests | the crate's |
//! | `STREAM_STALENESS_SECONDS` | see [`TokenServiceBuilder::stream_staleness`] | the crate's |
//! | `CUT_AT_EXPIRY` | `1`: open responses also end when their token expires | unset |
//! | `RUST_LOG` | tracing filter | `info` |
//!
//! `REDIS_URL` has one of these forms:
//!
//! * `redis://host:port/`, or `rediss://` with TLS
//! * `redis-sentinel://host:port,host:port#name`
//! * `redis-cluster://host:port,host:port`
//! * several `redis://` or `rediss://` URLs with commas between them: nodes of a cluster
//!
//! `CONNECT` matters if Redis is unavailable at the start:
//!
//! * With `eager`, the example ends with an error.
//! * With `retry:<seconds>`, the example tries again for this time.
//! * With `lazy`, the example starts. Until Redis is available, requests with a token get 503.
//!
//! Without `JWT_SECRET_KEY`, the secret is random, so the tokens are invalid after a restart. The
//! default issuer and audience are `tower-bearer-example`.
#![allow(dead_code, unreachable_pub, reason = "each example takes its own part of this")]

mod drain;

use std::{env, error::Error, fmt, fs, net::SocketAddr, str::FromStr, time::Duration};

use tower_bearer::{
    BoxError, Consistency, KeySet, MemoryStore, RedisStore, TokenService,
    compat::Settings,
    jwt::{Algorithm, SigningKey},
    store::redis::{ConnectError, Failover},
    tokens::TokenServiceBuilder,
};
use tracing_subscriber::EnvFilter;

#[allow(unused_imports, reason = "an example without long responses does not use it")]
pub use self::drain::Drain;

const NAME: &str = "tower-bearer-example";
const SECONDS: &str = "a whole number of seconds";

/// Returns a builder with the settings from the environment variables, and the name of its store.
/// The caller can add claims and hooks before `build`.
pub async fn tokens_from_env() -> Result<(TokenServiceBuilder, &'static str), BoxError> {
    let builder = TokenService::builder().issuer(NAME).audience(NAME);
    let mut builder = with_keys(builder)?;
    if let Some(seconds) = parsed("ACCESS_TTL_SECONDS", SECONDS)? {
        builder = builder.access_lifetime(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("REFRESH_TTL_SECONDS", SECONDS)? {
        builder = builder.refresh_lifetime(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("REUSE_GRACE_SECONDS", SECONDS)? {
        builder = builder.reuse_grace(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("LEEWAY_SECONDS", SECONDS)? {
        builder = builder.leeway(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("STREAM_STALENESS_SECONDS", SECONDS)? {
        builder = builder.stream_staleness(Duration::from_secs(seconds));
    }
    with_store(builder.consistency(consistency()?)).await
}

fn consistency() -> Result<Consistency, BoxError> {
    let Some(text) = variable("CONSISTENCY")? else { return Ok(Consistency::Strong) };
    let millis = text.strip_prefix("bounded:").and_then(|millis| millis.parse().ok());
    match (&*text, millis) {
        ("strong", _) => Ok(Consistency::Strong),
        (_, Some(millis)) => Ok(Consistency::BoundedStaleness(Duration::from_millis(millis))),
        _ => Err(format!("CONSISTENCY is `{text}`; give `strong` or `bounded:<milliseconds>`").into()),
    }
}

async fn with_store(builder: TokenServiceBuilder) -> Result<(TokenServiceBuilder, &'static str), BoxError> {
    let Some(url) = variable("REDIS_URL")? else {
        return Ok((builder.store(MemoryStore::default()), "memory: sessions end with this process"));
    };
    let prefix = variable("REDIS_PREFIX")?.unwrap_or_else(|| "tb".to_owned());
    let nodes: Vec<&str> = url.split(',').map(str::trim).collect();
    let store = match nodes.as_slice() {
        // Only a list of `redis:` or `rediss:` URLs is a cluster. A single URL of `redis-sentinel:`
        // or `redis-cluster:` also contains commas.
        [first, _, ..] if first.starts_with("redis:") || first.starts_with("rediss:") => {
            RedisStore::cluster(nodes.iter().copied())
        }
        _ => RedisStore::builder(url.trim()),
    };
    let mut store = store.prefix(prefix);
    if let Some(failover) = failover()? {
        store = store.failover(failover);
    }
    if let Some(seconds) = parsed("SENTINEL_PATIENCE_SECONDS", SECONDS)? {
        store = store.sentinel_patience(Duration::from_secs(seconds));
    }
    let store = match connect()? {
        Connect::Eager => store.connect().await,
        Connect::Retry(patience) => store.connect_retrying(patience).await,
        Connect::Lazy => store.connect_lazy().map_err(ConnectError::from),
    };
    let store = store.map_err(|error| {
        let variable = match &error {
            ConnectError::Config(error) => match error.setting() {
                "prefix" => "REDIS_PREFIX",
                "failover" => "FAILOVER",
                "sentinel_patience" => "SENTINEL_PATIENCE_SECONDS",
                _ => "REDIS_URL",
            },
            _ => "REDIS_URL",
        };
        format!("{variable}: {:?}", Failure::from(error))
    })?;
    Ok((builder.store(store), "redis"))
}

/// The reaction if Redis is unavailable at the start.
enum Connect {
    Eager,
    Retry(Duration),
    Lazy,
}

fn connect() -> Result<Connect, BoxError> {
    let Some(text) = variable("CONNECT")? else { return Ok(Connect::Eager) };
    let seconds = text.strip_prefix("retry:").and_then(|seconds| seconds.parse().ok());
    match (&*text, seconds) {
        ("eager", _) => Ok(Connect::Eager),
        ("lazy", _) => Ok(Connect::Lazy),
        (_, Some(seconds)) => Ok(Connect::Retry(Duration::from_secs(seconds))),
        _ => Err(format!("CONNECT is `{text}`; give `eager`, `retry:<seconds>` or `lazy`").into()),
    }
}

/// Returns the setting `FAILOVER`: if and how another server can replace the Redis server.
fn failover() -> Result<Option<Failover>, BoxError> {
    let Some(text) = variable("FAILOVER")? else { return Ok(None) };
    let seconds = text.strip_prefix("replicas:").and_then(|seconds| seconds.parse().ok());
    match (&*text, seconds) {
        ("single", _) => Ok(Some(Failover::Single)),
        (_, Some(seconds)) => Ok(Some(Failover::Replicas { max_lag: Duration::from_secs(seconds) })),
        _ => Err(format!("FAILOVER is `{text}`; give `single` or `replicas:<seconds>`").into()),
    }
}

/// Applies the settings of [`tower_bearer::compat`]. If they contain no key, adds a random secret,
/// and the tokens are invalid after a restart.
fn with_keys(builder: TokenServiceBuilder) -> Result<TokenServiceBuilder, BoxError> {
    if let Some(file) = variable("JWT_PRIVATE_KEY_FILE")? {
        // The key determines the algorithm, so the builder gets all settings except
        // `JWT_ALGORITHM`.
        let settings = Settings::from_vars(env::vars_os().filter_map(|(name, value)| {
            name.into_string().ok().filter(|name| name != "JWT_ALGORITHM").map(|name| (name, value))
        }))?;
        let name = variable("JWT_ALGORITHM")?
            .ok_or("JWT_ALGORITHM is unset; name the algorithm of the key in JWT_PRIVATE_KEY_FILE, such as ES256")?;
        let algorithm: Algorithm = name.trim().parse().map_err(|error| format!("JWT_ALGORITHM is invalid: {error}"))?;
        let pem = fs::read(&file).map_err(|error| {
            format!("JWT_PRIVATE_KEY_FILE names {file}, which cannot be read ({error}); name a PEM file")
        })?;
        let key = SigningKey::from_pem(algorithm, pem).map_err(|error| {
            format!("JWT_PRIVATE_KEY_FILE names {file}, which cannot sign with {algorithm}: {error}")
        })?;
        return Ok(builder.settings(&settings).keys(KeySet::signing(key)));
    }
    let settings = Settings::from_env()?;
    let builder = builder.settings(&settings);
    if settings.secret_key().is_some() {
        return Ok(builder);
    }
    eprintln!("JWT_SECRET_KEY is unset, so the secret is random and tokens end with this process; set it to keep them");
    let mut secret = [0; 64];
    getrandom::fill(&mut secret)
        .map_err(|error| format!("the system has no random numbers ({error}); set JWT_SECRET_KEY"))?;
    Ok(builder.secret(secret))
}

/// Returns true if open responses end when their token expires.
pub fn cut_at_expiry() -> Result<bool, BoxError> {
    match variable("CUT_AT_EXPIRY")?.as_deref() {
        None => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(format!("CUT_AT_EXPIRY is `{other}`; give `1`, or unset it").into()),
    }
}

/// Returns the address to listen on: `BIND`, or `default`.
pub fn bind_address(default: &str) -> Result<SocketAddr, BoxError> {
    match parsed("BIND", "an address such as 127.0.0.1:3000")? {
        Some(address) => Ok(address),
        None => Ok(default.parse()?),
    }
}

/// Sends logs to standard error, filtered by `RUST_LOG`.
pub fn log_to_stderr() -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(variable("RUST_LOG")?.as_deref().unwrap_or("info"))
        .map_err(|error| format!("RUST_LOG is not a tracing filter ({error}); give one such as `info`"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init()
}

/// Returns the value of an environment variable. An empty value means unset.
pub fn variable(name: &str) -> Result<Option<String>, BoxError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8; set it to a text in UTF-8").into()),
    }
}

/// Returns the parsed value of an environment variable. `expected` describes the valid values in an
/// error.
fn parsed<T: FromStr<Err: fmt::Display>>(name: &str, expected: &str) -> Result<Option<T>, BoxError> {
    let Some(value) = variable(name)? else { return Ok(None) };
    let wrong = |error: T::Err| format!("{name} is invalid ({error}); give {expected}").into();
    value.trim().parse().map(Some).map_err(wrong)
}

/// An error that ends an example. Rust prints an error of `main` with `Debug`, so this `Debug`
/// writes readable sentences.
pub struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source: Option<&(dyn Error + 'static)> = self.0.source();
        while let Some(cause) = source {
            write!(f, "\n  because: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
