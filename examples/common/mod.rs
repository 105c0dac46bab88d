//! What the examples share: tokens, address and logs as the environment configures them.
//!
//! | variable | meaning | default |
//! |--|--|--|
//! | `BIND` | address to listen on | the example's own |
//! | `REDIS_URL` | `redis://` or `rediss://`; `redis-sentinel://host:port,host:port#name`; `redis-cluster://host:port,host:port`, or the URLs of some nodes with commas | absent: sessions in memory |
//! | `FAILOVER` | how the server behind `REDIS_URL` can be replaced: `single`, or `replicas:<max_lag in seconds>`; 1 is fine | undeclared |
//! | `SENTINEL_PATIENCE_SECONDS` | the maximum age of a sentinel's answer | 5 |
//! | `REDIS_PREFIX` | the prefix of all keys | `tb` |
//! | `CONSISTENCY` | `strong`: every request asks the store; `bounded:<milliseconds>`: none does, and a revocation holds everywhere after that time | `strong` |
//! | `JWT_SECRET_KEY`, `JWT_ALGORITHM`, `JWT_AUDIENCE`, ... | see `tower_bearer::compat` | a random secret; audience and issuer `tower-bearer-example` |
//! | `JWT_PRIVATE_KEY_FILE` | a private key in PEM, for the public-key algorithm that `JWT_ALGORITHM` names | absent |
//! | `ACCESS_TTL_SECONDS`, `REFRESH_TTL_SECONDS`, `REUSE_GRACE_SECONDS`, `LEEWAY_SECONDS` | for tests | absent |
//! | `RUST_LOG` | tracing filter | `info` |
#![allow(dead_code, unreachable_pub, reason = "each example takes its own part of this")]

use std::{env, error::Error, fmt, fs, net::SocketAddr, str::FromStr, time::Duration};

use tower_bearer::{
    BoxError, Consistency, KeySet, MemoryStore, RedisStore, TokenService,
    compat::Settings,
    jwt::{Algorithm, SigningKey},
    store::redis::{ConnectError, Failover},
    tokens::TokenServiceBuilder,
};
use tracing_subscriber::EnvFilter;

const NAME: &str = "tower-bearer-example";

/// The token service that the environment asks for, not built yet: claims and hooks of the application's own can be added. With it, the
/// name of its store.
pub async fn tokens_from_env() -> Result<(TokenServiceBuilder, &'static str), BoxError> {
    let builder = TokenService::builder().issuer(NAME).audience(NAME);
    let mut builder = with_keys(builder)?;
    if let Some(seconds) = parsed("ACCESS_TTL_SECONDS")? {
        builder = builder.access_lifetime(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("REFRESH_TTL_SECONDS")? {
        builder = builder.refresh_lifetime(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("REUSE_GRACE_SECONDS")? {
        builder = builder.reuse_grace(Duration::from_secs(seconds));
    }
    if let Some(seconds) = parsed("LEEWAY_SECONDS")? {
        builder = builder.leeway(Duration::from_secs(seconds));
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
        // The commas of `redis-sentinel:` and `redis-cluster:` are their own.
        [first, _, ..] if first.starts_with("redis:") || first.starts_with("rediss:") => {
            RedisStore::cluster(nodes.iter().copied())
        }
        _ => RedisStore::builder(url.trim()),
    };
    let mut store = store.prefix(prefix);
    if let Some(failover) = failover()? {
        store = store.failover(failover);
    }
    if let Some(seconds) = parsed("SENTINEL_PATIENCE_SECONDS")? {
        store = store.sentinel_patience(Duration::from_secs(seconds));
    }
    let store = store.connect().await.map_err(|error| {
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

/// Returns the way in which the Redis server can be replaced.
fn failover() -> Result<Option<Failover>, BoxError> {
    let Some(text) = variable("FAILOVER")? else { return Ok(None) };
    let seconds = text.strip_prefix("replicas:").and_then(|seconds| seconds.parse().ok());
    match (&*text, seconds) {
        ("single", _) => Ok(Some(Failover::Single)),
        (_, Some(seconds)) => Ok(Some(Failover::Replicas { max_lag: Duration::from_secs(seconds) })),
        _ => Err(format!("FAILOVER is `{text}`; give `single` or `replicas:<seconds>`").into()),
    }
}

/// The settings of the crate, and where they leave the key open, one that lives as long as this process.
fn with_keys(builder: TokenServiceBuilder) -> Result<TokenServiceBuilder, BoxError> {
    if let Some(file) = variable("JWT_PRIVATE_KEY_FILE")? {
        // A key has its own algorithm, so the builder gets all settings but that one.
        let settings = Settings::from_vars(env::vars_os().filter_map(|(name, value)| {
            name.into_string().ok().filter(|name| name != "JWT_ALGORITHM").map(|name| (name, value))
        }))?;
        let algorithm: Algorithm = parsed("JWT_ALGORITHM")?.ok_or(
            "JWT_ALGORITHM is unset; name the algorithm of JWT_PRIVATE_KEY_FILE: RS256, PS256, ES256, EdDSA, ...",
        )?;
        let pem = fs::read(&file).map_err(|error| format!("JWT_PRIVATE_KEY_FILE: cannot read {file}: {error}"))?;
        let key = SigningKey::from_pem(algorithm, pem)
            .map_err(|error| format!("JWT_PRIVATE_KEY_FILE: {file} holds no key for {algorithm}: {error}"))?;
        return Ok(builder.settings(&settings).keys(KeySet::signing(key)));
    }
    let settings = Settings::from_env()?;
    let builder = builder.settings(&settings);
    if settings.secret_key().is_some() {
        return Ok(builder);
    }
    eprintln!("JWT_SECRET_KEY is unset: using a random secret, so tokens end with this process");
    let mut secret = [0; 64];
    getrandom::fill(&mut secret).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(builder.secret(secret))
}

/// The address to listen on: `BIND`, or the example's own.
pub fn bind_address(default: &str) -> Result<SocketAddr, BoxError> {
    match parsed("BIND")? {
        Some(address) => Ok(address),
        None => Ok(default.parse()?),
    }
}

/// Logs to standard error as `RUST_LOG` says.
pub fn log_to_stderr() -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(variable("RUST_LOG")?.as_deref().unwrap_or("info"))
        .map_err(|error| format!("RUST_LOG: {error}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init()
}

/// A variable's value. Set to nothing is as good as unset.
pub fn variable(name: &str) -> Result<Option<String>, BoxError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not valid UTF-8").into()),
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(name: &str) -> Result<Option<T>, BoxError> {
    let Some(value) = variable(name)? else { return Ok(None) };
    value.trim().parse().map(Some).map_err(|error: T::Err| format!("{name} cannot be used: {error}").into())
}

/// An error that ends an example, told in sentences: what `main` returns is printed by its `Debug`.
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
