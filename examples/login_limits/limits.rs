//! Limits of the attempts to log in: by user name and network, and by each alone.
//!
//! Each node counts for itself. With several nodes behind one address, count in a shared store.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::extract::ConnectInfo;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use quick_cache::sync::Cache;
use tower_bearer::{
    BoxError,
    endpoints::{Admission, LoginAttempt, LoginGuard},
    observe::LoginFailure,
};

/// The number of names or networks that each limit remembers. Clients choose the names, so a map
/// without a bound would fill the memory.
pub(crate) const MAX_KEYS: usize = 20_000;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A guard that admits some attempts at once, and more after a pause.
pub(crate) struct Limits<C: Clock = DefaultClock> {
    /// A user in a network.
    pair: Limit<C>,
    network: Limit<C>,
    user: Limit<C>,
}

impl<C: Clock + Clone> Limits<C> {
    pub(crate) fn new(clock: &C) -> Self {
        let limit = |at_once, pause| Limit::new(at_once, Duration::from_secs(pause), clock.clone());
        Self {
            pair: limit(5, 60),
            // All users of an office may share one address.
            network: limit(50, 10),
            // High, because everybody can use it up and so lock the user out. 100 is the maximum of
            // NIST SP 800-63B section 3.2.2.
            user: limit(100, 60),
        }
    }

    /// Returns the largest number of keys in one of the maps.
    #[allow(dead_code, reason = "for the tests of this guard")]
    pub(crate) fn keys(&self) -> usize {
        [&self.pair, &self.network, &self.user].map(|limit| limit.known.len()).into_iter().max().unwrap_or(0)
    }
}

impl<C: Clock + Clone + Send + Sync + 'static> LoginGuard for Limits<C> {
    async fn admit(&self, attempt: &LoginAttempt) -> Result<Admission, BoxError> {
        let (user, network) = (attempt.username(), network(attempt)?);
        // An attempt that one limit refuses does not count in the limits after it. So guesses at
        // one user from one network use up neither the network's limit nor the user's.
        let wait = (self.pair.take(&(user, network)))
            .or_else(|| self.network.take(&network))
            .or_else(|| self.user.take(&user));
        Ok(wait.map_or(Admission::Admit, Admission::RetryAfter))
    }

    async fn finished(&self, attempt: &LoginAttempt, outcome: Result<(), LoginFailure>) {
        let Ok(network) = network(attempt) else { return };
        if outcome.is_ok() {
            // The network keeps its count. Otherwise an attacker with an account could reset it.
            self.pair.forget(&(attempt.username(), network));
            self.user.forget(&attempt.username());
        }
    }
}

/// Returns the client's network: its IPv4 address, or the 64 bits of IPv6 that one customer gets.
fn network(attempt: &LoginAttempt) -> Result<IpAddr, BoxError> {
    let peer = attempt.parts().extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.ok_or("the request has no `ConnectInfo`; use `into_make_service_with_connect_info`")?;
    Ok(match peer.0.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    })
}

/// A limit for each key. A full map first forgets the keys that came only once.
struct Limit<C: Clock> {
    quota: Quota,
    clock: C,
    known: Cache<u64, Arc<Limiter<C>>>,
    /// Hashes the keys, because a name can be long. The hasher has a random key, so that nobody can
    /// choose a name with the hash of another.
    hasher: RandomState,
}

impl<C: Clock + Clone> Limit<C> {
    fn new(at_once: u32, pause: Duration, clock: C) -> Self {
        let quota = Quota::with_period(pause).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let quota = quota.allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
        Self { quota, clock, known: Cache::new(MAX_KEYS), hasher: RandomState::new() }
    }

    /// Counts an attempt of this key. If the key has none left, returns the time until the next
    /// one.
    fn take(&self, key: &impl Hash) -> Option<Duration> {
        let new = || Ok::<_, Infallible>(Arc::new(Limiter::direct_with_clock(self.quota, self.clock.clone())));
        let Ok(limiter) = self.known.get_or_insert_with(&self.hasher.hash_one(key), new);
        limiter.check().err().map(|refused| refused.wait_time_from(self.clock.now()))
    }

    fn forget(&self, key: &impl Hash) {
        self.known.remove(&self.hasher.hash_one(key));
    }
}
