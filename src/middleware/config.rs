//! The configuration that a layer and its services share.

use std::{
    collections::HashSet,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicBool},
};

use http::{Request, request::Parts};

use super::{
    cleared::ClearedCookies, credentials::Locations, csrf::CrossSiteCheck, responder::Responder,
    scope::ScopeImplications,
};
use crate::{
    cookies::BrowserSessions,
    tokens::{Freshness, TokenService},
};

pub(super) struct Config<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) responder: Responder,
    /// The scopes that imply others, for the layers that require scopes.
    pub(super) implications: ScopeImplications,
    /// The locations of a token other than `Authorization`.
    pub(super) locations: Option<Locations>,
    pub(super) cookies: CookieRules,
    pub(super) strip_credentials: bool,
    pub(super) exemptions: Option<Exemptions>,
    pub(super) demand: Demand,
    pub(super) freshness: Freshness,
    pub(super) enabled: bool,
    pub(super) cutoff: CutoffSettings,
    /// True once the layer has logged its warning about an upgraded connection without a `Cutoff`.
    pub(super) is_uncut_upgrade_reported: Arc<AtomicBool>,
}

/// The credential that a request must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Demand {
    /// A valid token.
    Token,
    /// A valid token or none.
    Optional,
    /// For a logout: a valid token, an expired token of this service, or none. The layer adds
    /// [`ExpiredClaims`](super::expired::ExpiredClaims) to a request with an expired token.
    Logout,
}

/// The rules for credentials in cookies.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieRules {
    pub(super) cross_site: CrossSiteCheck,
    pub(super) sessions: Option<BrowserSessions>,
    /// The cookies of `sessions`. The layer removes them if it rejects their token.
    pub(super) cleared: Option<ClearedCookies>,
    /// The cookies that the layer removes if it forgives a bad token and has no `sessions`.
    pub(super) forgotten: Option<ClearedCookies>,
    /// True if an optional layer passes on requests with a bad token in a cookie.
    pub(super) are_forgiven: bool,
}

/// The events that cut a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutoffSettings {
    /// True if a revocation cuts the response body.
    pub(super) is_enabled: bool,
    /// True if each future [`Cutoff`](crate::Cutoff) of the handler resolves when the token
    /// expires. If `is_enabled` is true too, the expiry also cuts the response body.
    pub(super) at_expiry: bool,
}

impl<C> Config<C> {
    /// Returns true if the layer passes on requests with a bad token in a cookie.
    pub(super) fn forgives_cookies(&self) -> bool {
        self.demand == Demand::Optional && self.cookies.are_forgiven
    }

    pub(super) fn new(tokens: TokenService<C>) -> Self {
        Self {
            tokens,
            responder: Responder::default(),
            implications: ScopeImplications::default(),
            locations: None,
            cookies: CookieRules::default(),
            strip_credentials: false,
            exemptions: None,
            demand: Demand::Token,
            freshness: Freshness::AsConfigured,
            enabled: true,
            cutoff: CutoffSettings { is_enabled: true, at_expiry: false },
            is_uncut_upgrade_reported: Arc::default(),
        }
    }
}

impl<C> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            responder: self.responder.clone(),
            implications: self.implications.clone(),
            locations: self.locations.clone(),
            cookies: self.cookies.clone(),
            strip_credentials: self.strip_credentials,
            exemptions: self.exemptions.clone(),
            demand: self.demand,
            freshness: self.freshness,
            enabled: self.enabled,
            cutoff: self.cutoff,
            is_uncut_upgrade_reported: Arc::clone(&self.is_uncut_upgrade_reported),
        }
    }
}

impl<C> fmt::Debug for Config<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tokens", &self.tokens)
            .field("responder", &self.responder)
            .field("implications", &self.implications)
            .field("locations", &self.locations)
            .field("cookies", &self.cookies)
            .field("strip_credentials", &self.strip_credentials)
            .field("exemptions", &self.exemptions)
            .field("demand", &self.demand)
            .field("freshness", &self.freshness)
            .field("enabled", &self.enabled)
            .field("cutoff", &self.cutoff)
            .finish_non_exhaustive()
    }
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// The requests that the layer passes on without a check.
#[derive(Clone, Default)]
pub(super) struct Exemptions {
    paths: HashSet<String>,
    predicates: Vec<Arc<Predicate>>,
}

impl Exemptions {
    pub(super) fn add_path(&mut self, path: String) {
        self.paths.insert(path);
    }

    pub(super) fn add_predicate(&mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) {
        self.predicates.push(Arc::new(predicate));
    }

    /// Returns `true` if the request is exempt.
    pub(super) fn include<B>(&self, request: &mut Request<B>) -> bool {
        self.paths.contains(request.uri().path()) || (!self.predicates.is_empty() && self.ask_predicates(request))
    }

    /// Calls the predicates. They take [`Parts`], so the function moves the request's head out and
    /// back in.
    fn ask_predicates<B>(&self, request: &mut Request<B>) -> bool {
        let mut head = Request::new(());
        swap_heads(&mut head, request);
        let (parts, ()) = head.into_parts();
        let is_met = self.predicates.iter().any(|predicate| is_met(&**predicate, &parts));
        swap_heads(&mut Request::from_parts(parts, ()), request);
        is_met
    }
}

fn swap_heads<A, B>(one: &mut Request<A>, other: &mut Request<B>) {
    mem::swap(one.method_mut(), other.method_mut());
    mem::swap(one.uri_mut(), other.uri_mut());
    mem::swap(one.version_mut(), other.version_mut());
    mem::swap(one.headers_mut(), other.headers_mut());
    mem::swap(one.extensions_mut(), other.extensions_mut());
}

/// Calls one predicate. Returns `false` if it panics, because a panic must not exempt a request.
fn is_met(predicate: &Predicate, parts: &Parts) -> bool {
    let answer = catch_unwind(AssertUnwindSafe(|| predicate(parts)));
    #[cfg(feature = "tracing")]
    if answer.is_err() {
        tracing::error!("a predicate of `exempt_if` panicked, so it exempts nothing; fix the predicate");
    }
    answer.unwrap_or(false)
}

impl fmt::Debug for Exemptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exemptions").field("paths", &self.paths).field("predicates", &self.predicates.len()).finish()
    }
}
