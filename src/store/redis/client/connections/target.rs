//! The servers that the application named, and the URLs of sentinels and of a cluster.

use deadpool_redis::Pool;
#[cfg(feature = "sentinel")]
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::ConfigError;

#[cfg(feature = "sentinel")]
const SENTINEL_PORT: u16 = 26379;
#[cfg(feature = "cluster")]
const SERVER_PORT: u16 = 6379;

/// The servers that the application named. No output shows a URL, because it may contain a
/// password.
pub(crate) enum Target {
    /// One server.
    Url(String),
    /// A pool of the application. Only the pool knows the address.
    Pool(Pool),
    /// Some nodes of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Vec<String>),
    /// Sentinels.
    #[cfg(feature = "sentinel")]
    Sentinel {
        urls: Vec<String>,
        /// The name of the primary in the configuration of the sentinels.
        master: String,
        /// User and password of the servers behind the sentinels.
        credentials: Option<(String, String)>,
    },
}

impl Target {
    /// Parses a URL of any kind. Keeps a URL of a single server unchanged.
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        // redis would take a text without a scheme, even a password, for a host name.
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid_url)?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis-sentinel" => sentinels("redis", rest),
            "rediss-sentinel" => sentinels("rediss", rest),
            "redis-cluster" => cluster("redis", rest),
            "rediss-cluster" => cluster("rediss", rest),
            "redis" | "rediss" if has_several_hosts(rest) => Err(ConfigError::new(
                "url",
                format!("names several hosts, but `{}:` is the scheme of a single server", scheme.to_ascii_lowercase()),
                "write redis-cluster://host,host for a cluster, or redis-sentinel://host,host#name for sentinels",
            )),
            _ => Ok(Self::Url(url.to_owned())),
        }
    }

    /// Returns whether the buckets are spread over several servers.
    pub(crate) fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
            _ => false,
        }
    }
}

/// Returns whether the rest of a URL, after its scheme, names several hosts.
fn has_several_hosts(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(','))
}

/// Returns the error of an invalid URL. The error omits the message of the parser, which may
/// contain the URL and its password.
pub(crate) fn invalid_url() -> ConfigError {
    ConfigError::new(
        "url",
        "is not the URL of a Redis server",
        "write redis://host:port/, or rediss://host:port/ for TLS",
    )
}

/// The parts of `[user:password@]host[:port][,host[:port]..][/path][?query][#fragment]`, still
/// percent-encoded.
#[cfg(any(feature = "sentinel", feature = "cluster"))]
struct UrlParts<'a> {
    user: Option<&'a str>,
    hosts: Vec<(&'a str, u16)>,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

/// Splits the rest of a URL after its scheme.
#[cfg(any(feature = "sentinel", feature = "cluster"))]
fn parts(rest: &str, default_port: u16) -> Result<UrlParts<'_>, ConfigError> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let hosts = hosts.split(',').map(|host| host_and_port(host, default_port)).collect::<Option<_>>();
    let hosts = hosts.ok_or_else(|| problem("has an invalid host or port"))?;
    Ok(UrlParts { user, hosts, path, query, fragment })
}

/// Reads a host and its port.
#[cfg(any(feature = "sentinel", feature = "cluster"))]
fn host_and_port(text: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address in brackets has colons too.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (text, default_port),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_host)).then_some((host, port))
}

/// Reads the URL of sentinels.
#[cfg(feature = "sentinel")]
fn sentinels(scheme: &str, rest: &str) -> Result<Target, ConfigError> {
    let parts = parts(rest, SENTINEL_PORT)?;
    let master = decoded(parts.fragment)
        .ok_or_else(|| problem("names sentinels with a name of the primary (after `#`) that is not UTF-8"))?;
    if master.is_empty() {
        return Err(problem("names sentinels, but lacks the name of the primary after `#`"));
    }
    let database = if parts.path.is_empty() { "0" } else { parts.path };
    if database.parse::<u16>().is_err() {
        return Err(problem("has a database that is not a number"));
    }
    let credentials = parts.user.map(credentials).transpose()?;
    let own = of_sentinels(parts.query)?;
    let url = |(host, port): &(&str, u16)| format!("{scheme}://{own}{host}:{port}/{database}");
    Ok(Target::Sentinel { urls: parts.hosts.iter().map(url).collect(), master, credentials })
}

/// Rejects the URL of sentinels, because this build has no support for them.
#[cfg(not(feature = "sentinel"))]
fn sentinels(_: &str, _: &str) -> Result<Target, ConfigError> {
    Err(ConfigError::unsupported(
        "url",
        "names sentinels, which this build does not support",
        "enable the feature `sentinel` of tower-bearer",
    ))
}

/// Returns the user and password of the servers. An empty user becomes `default`.
#[cfg(feature = "sentinel")]
fn credentials(user: &str) -> Result<(String, String), ConfigError> {
    let (user, password) = user.split_once(':').ok_or_else(|| problem("has a user without a password"))?;
    let (Some(user), Some(password)) = (decoded(user), decoded(password)) else {
        return Err(problem("has a user or password that is not UTF-8"));
    };
    Ok((if user.is_empty() { "default".to_owned() } else { user }, password))
}

/// Reads the sentinels' user and password from the query. Returns `user:password@`, or nothing.
#[cfg(feature = "sentinel")]
fn of_sentinels(query: &str) -> Result<String, ConfigError> {
    let (mut user, mut password) = (String::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| problem("has a parameter that is not UTF-8"))?;
        match name {
            "sentinel_user" => user = value,
            "sentinel_password" => password = Some(value),
            _ => return Err(problem("has a parameter other than `sentinel_user` and `sentinel_password`")),
        }
    }
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    match password {
        Some(password) => Ok(format!("{}:{}@", encoded(&user), encoded(&password))),
        None if user.is_empty() => Ok(String::new()),
        None => Err(problem("has a `sentinel_user` without a `sentinel_password`")),
    }
}

/// Decodes percent-encoded text.
#[cfg(feature = "sentinel")]
fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// Reads the URL of nodes of a cluster.
#[cfg(feature = "cluster")]
fn cluster(scheme: &str, rest: &str) -> Result<Target, ConfigError> {
    let parts = parts(rest, SERVER_PORT)?;
    if !(parts.path.is_empty() && parts.query.is_empty() && parts.fragment.is_empty()) {
        return Err(problem("has a path, a query or a fragment after the nodes of the cluster"));
    }
    let user = parts.user.map(|user| format!("{user}@")).unwrap_or_default();
    let url = |(host, port): &(&str, u16)| format!("{scheme}://{user}{host}:{port}/");
    Ok(Target::Cluster(parts.hosts.iter().map(url).collect()))
}

/// Rejects the URL of a cluster, because this build has no support for it.
#[cfg(not(feature = "cluster"))]
fn cluster(_: &str, _: &str) -> Result<Target, ConfigError> {
    Err(ConfigError::unsupported(
        "url",
        "names a cluster, which this build does not support",
        "enable the feature `cluster` of tower-bearer",
    ))
}

/// Returns an error that omits the URL, because the URL may contain a password.
#[cfg(any(feature = "sentinel", feature = "cluster"))]
fn problem(problem: &'static str) -> ConfigError {
    let remedy = "write redis://host:port/, redis-sentinel://host:port,host:port#name or redis-cluster://host:port";
    ConfigError::new("url", problem, remedy)
}

#[cfg(all(test, feature = "sentinel", feature = "cluster"))]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn of_sentinels_at(url: &str) -> (Vec<String>, String, Option<(String, String)>) {
        match Target::parse(url).unwrap() {
            Target::Sentinel { urls, master, credentials } => (urls, master, credentials),
            _ => panic!("no sentinels"),
        }
    }

    #[test]
    fn sentinels_and_the_name_of_the_primary_are_read() {
        let (urls, master, credentials) = of_sentinels_at("redis-sentinel://a,b:7000,[::1]:7001/3#my-master");
        assert_eq!(urls, ["redis://a:26379/3", "redis://b:7000/3", "redis://[::1]:7001/3"]);
        assert_eq!((master.as_str(), credentials), ("my-master", None));
        let (urls, _, _) = of_sentinels_at("REDISS-Sentinel://a#m");
        assert_eq!(urls, ["rediss://a:26379/0"]);
    }

    #[test]
    fn the_user_is_the_servers_and_the_sentinels_have_one_of_their_own() {
        let (urls, _, credentials) =
            of_sentinels_at("redis-sentinel://app:p%40ss@a/0?sentinel_user=s&sentinel_password=x%2Fy#m");
        assert_eq!(urls, ["redis://s:x%2Fy@a:26379/0"]);
        assert_eq!(credentials, Some(("app".to_owned(), "p@ss".to_owned())));
        let (_, _, credentials) = of_sentinels_at("redis-sentinel://:secret@a#m");
        assert_eq!(credentials, Some(("default".to_owned(), "secret".to_owned())));
    }

    #[test]
    fn the_nodes_of_a_cluster_share_their_user() {
        let Target::Cluster(urls) = Target::parse("rediss-cluster://u:p@a:7000,b").unwrap() else {
            panic!("no cluster")
        };
        assert_eq!(urls, ["rediss://u:p@a:7000/", "rediss://u:p@b:6379/"]);
    }

    #[test]
    fn any_other_url_stays_as_it_is() {
        for url in ["redis://a:p,w@b/", "unix:///tmp/s", "http://x"] {
            assert!(matches!(Target::parse(url).unwrap(), Target::Url(kept) if kept == url), "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_a_mistake_that_does_not_show_it() {
        for url in [
            "secret",
            ":secret@host",
            "redis-sentinel://secret-host",
            "redis-sentinel://secret-host#",
            "redis-sentinel://secret:0#m",
            "redis-sentinel://secret:x#m",
            "redis-sentinel://#m",
            "redis-sentinel://secret,,b#m",
            "redis-sentinel://secret/x#m",
            "redis-sentinel://secret@host#m",
            "redis-sentinel://host?secret=1#m",
            "redis-sentinel://host?sentinel_user=secret#m",
            "redis-sentinel://%ff:secret@host#m",
            "redis-sentinel://host#%ff",
            "redis-cluster://secret/1",
            "redis-cluster://secret host",
            "redis-cluster://",
        ] {
            let Err(error) = Target::parse(url) else { panic!("{url}") };
            assert_eq!(error.setting(), "url", "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
    }
}
