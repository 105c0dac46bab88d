//! A store of sessions and revocations in Redis (7.0 or later) or Valkey.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_bearer::store::RedisStore;
//!
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! Every change is one Lua script over keys of one slot, with Redis `TIME` as its clock. No client
//! sees half of it, and every later call on every node sees a change that was acknowledged. If a
//! command inside a script fails (a right that is missing), the commands before it stay. Their
//! order is such that a session has ended before its end is logged, and the next script that meets
//! it logs it. Every call ends within one deadline ([`RedisStoreBuilder::timeout`]), whatever the
//! server or the network does.
//!
//! Every read asks the server for its role too. A primary that was demoted (behind a name or an
//! address that moved) still answers on open connections, from data that grow old. Such an answer
//! is rejected and its connection dropped.
//!
//! A primary that was cut off keeps its role. So every read ends with a write that changes nothing,
//! and behind sentinels a majority of them must name the server. [`Failover`] and
//! [`failover_bound`](crate::store::SessionStore::failover_bound) bound the time for which a node
//! may believe an old primary all the same.
//!
//! # Rights
//!
//! The user needs these rights, here for the prefix `tb`:
//!
//! ```text
//! ~tb:* &tb:* +@read +@write +@connection +@scripting +@pubsub -@dangerous +role +info +time
//! ```
//!
//! In a cluster `+cluster|slots` as well. With `+config|get` the store reads the settings on which
//! the bound of a failover rests.
//!
//! # Failures
//!
//! * **The server is away**: every call is an error, within the deadline or at once. Nothing has to
//!   be restarted when it comes back.
//! * **It is out of memory**: revocations work, also the one that follows from a refresh token used
//!   twice; logins and refreshes are errors.
//! * **It lost its data**: every session is unknown, hence refused; its log starts a new
//!   [incarnation](crate::store::LogPage::incarnation).
//! * **It fails over to a replica that lags**: the data that the replica had not received are lost,
//!   also revocations. A [`TokenService`](crate::TokenService) that has made or read these
//!   revocations republishes them. If that is not enough, run the server with `appendfsync always`
//!   and `min-replicas-to-write`.
//!
//! # Storage
//!
//! A user's whole state is one hash, so a check is one `HMGET`. The checks of requests that come at
//! the same moment form a batch, behind one `TIME` and one `ROLE`. `layout` (in the source) lists
//! the keys and the contents of a session's record. The record is no token, and neither tokens nor
//! parts of them are ever stored.
//!
//! # Generations
//!
//! `revoke_all` is one step however many sessions there are. It sets the user's generation `g`
//! above that of each session, and a record of a lower generation is dead. `g` is written by
//! `revoke_all` alone. A session gets the greatest of the server's time, `g`, and `o`, all in
//! milliseconds. `o` is the highest generation that any session of this user ever had. `revoke_all`
//! sets `g` one above the greatest of the three. Each part is needed:
//!
//! * If a first login wrote `g`, another login that began a moment earlier would look as if all
//!   sessions had been revoked since.
//! * If a session had the generation 0 while no `g` exists, then after a loss of data an earlier
//!   `revoke_all` that nodes still remember would end new sessions.
//! * Without `o`, a server clock that is put back would let `revoke_all` set a `g` below the
//!   sessions it is to end.
//!
//! The time of a `revoke_all` (`r`) decides if it overtook a login that is under way. `g` cannot
//! decide that: it stays ahead of the clock after the clock was ahead once, and would refuse every
//! login until then.
//!
//! # Sessions that ended
//!
//! A revoked session leaves its record behind, marked, with its end cut to that moment. So a check
//! answers *revoked* and the time of that, instead of *unknown*. The record names the log entry of
//! its end. A repeated revocation finds it there and writes nothing.
//!
//! Later writes prune records that have been over for as long as
//! [`keep_log_for`](crate::store::RevocationLog::keep_log_for) asks. A user who never comes back
//! vanishes as a whole, since every key but the bucket's `m` has a time to live.
//!
//! # Time
//!
//! Some operations could harm if they ran late: opening, rotating, revoking all. They carry their
//! deadline in the server's own time, and the server rejects them after it. So after a
//! [`Timeout`](crate::error::StoreErrorKind::Timeout) such an operation may have happened. It does
//! not happen later, unless the server's clock is put back. The server's time is estimated from its
//! answers, never ahead ([`now`](crate::store::SessionStore::now)), and behind by 15 ms for each
//! minute without a call.
//!
//! # TLS
//!
//! TLS needs the feature `tls` and a `rediss://` URL. The server's certificate must be signed by an
//! authority that the system trusts; the variable `SSL_CERT_FILE` names a file of others. If the
//! application has not chosen a `rustls` crypto provider for its process, the first such URL
//! chooses AWS-LC.
//!
//! # Your own pool
//!
//! [`RedisStoreBuilder::from_pool`] takes a [`deadpool_redis::Pool`] that you made. The store takes
//! a few connections from it for good. They must not be set up to receive pushes (no subscriptions,
//! no client-side caching).

mod builder;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layout;
mod ops;
mod preflight;
mod scripts;
mod store;

pub use self::{
    builder::RedisStoreBuilder,
    client::{
        connect_error::{ConnectError, ConnectErrorKind},
        failover::deployment::Failover,
    },
    store::RedisStore,
};
