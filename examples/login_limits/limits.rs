//! Limits of login attempts: per user name, per network, and per pair of both.
//!
//! Each node counts separately. If a load balancer spreads the logins over several nodes, count in
//! a shared store instead.

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

/// The maximum number of keys (names, networks or pairs) per limit. Clients choose the names, so a
/// map without a maximum would fill the memory.
pub(crate) const MAX_KEYS: usize = 20_000;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A guard that admits some login attempts immediately, and then one attempt after each pause.
pub(crate) struct Limits<C: Clock = DefaultClock> {
    /// The limit per pair of user and network.
    pair: Limit<C>,
    network: Limit<C>,
    user: Limit<C>,
}

impl<C: Clock + Clone> Limits<C> {
    pub(crate) fn new(clock: &C) -> Self {
        let limit = |at_once, pause| Limit::new(at_once, Duration::from_secs(pause), clock.clone());
        Self {
            pair: limit(5, 60),
            // High, because all users of an office may share one address.
            network: limit(50, 10),
            // High, because anyone can use up the attempts of a user, and so lock the user out. 100
            // is the maximum of NIST SP 800-63B section 3.2.2.
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
        // If one limit refuses an attempt, the next limits do not count the attempt. So an attacker
        // in one network who guesses at one user reaches only the limit of the pair.
        let wait = (self.pair.take(&(user, network)))
            .or_else(|| self.network.take(&network))
            .or_else(|| self.user.take(&user));
        Ok(wait.map_or(Admission::Admit, Admission::RetryAfter))
    }

    async fn finished(&self, attempt: &LoginAttempt, outcome: Result<(), LoginFailure>) {
        let Ok(network) = network(attempt) else { return };
        if outcome.is_ok() {
            // Does not reset the count of the network. Otherwise an attacker with an account could
            // reset this count by logging in.
            self.pair.forget(&(attempt.username(), network));
            self.user.forget(&attempt.username());
        }
    }
}

/// Returns the client's network: its IPv4 address, or the first 64 bits of its IPv6 address. A
/// provider usually gives 64 bits to one customer.
fn network(attempt: &LoginAttempt) -> Result<IpAddr, BoxError> {
    let peer = attempt.parts().extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.ok_or("the request has no `ConnectInfo`; use `into_make_service_with_connect_info`")?;
    Ok(match peer.0.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    })
}

/// A limit of attempts for each key. A full map first drops the keys that came only once.
struct Limit<C: Clock> {
    quota: Quota,
    clock: C,
    known: Cache<u64, Arc<Limiter<C>>>,
    /// The hasher of the keys. The map stores hashes, because a name can be long. The hasher is
    /// random, so that nobody can choose a name with the hash of another name.
    hasher: RandomState,
}

impl<C: Clock + Clone> Limit<C> {
    fn new(at_once: u32, pause: Duration, clock: C) -> Self {
        let quota = Quota::with_period(pause).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let quota = quota.allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
        Self { quota, clock, known: Cache::new(MAX_KEYS), hasher: RandomState::new() }
    }

    /// Counts an attempt of this key. If the key has no attempts left, returns the time until its
    /// next attempt.
    fn take(&self, key: &impl Hash) -> Option<Duration> {
        let new = || Ok::<_, Infallible>(Arc::new(Limiter::direct_with_clock(self.quota, self.clock.clone())));
        let Ok(limiter) = self.known.get_or_insert_with(&self.hasher.hash_one(key), new);
        limiter.check().err().map(|refused| refused.wait_time_from(self.clock.now()))
    }

    fn forget(&self, key: &impl Hash) {
        self.known.remove(&self.hasher.hash_one(key));
    }
}
