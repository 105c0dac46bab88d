//! The last step of a request: the layer finishes the response of the inner service.

use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL};

use super::{
    body::ResponseBody,
    cleared::{ClearedCookies, Useless},
    config::{Config, CookieRules, CutoffSettings},
    credentials::{Credential, in_cookie},
    rejection::Rejection,
    responder::{Form, Responder},
    upgrade::Upgrade,
    watch::Watch,
};
use crate::{
    cutoff::Ticket,
    error::{Error, TokenError},
    jwt::{Claims, RequestNotes},
    observe::SharedObserver,
};

/// The minimum wait of a long poll, in nanoseconds. The layer searches the deny set again only
/// after a long poll, because the search takes measurable time.
const LONG_POLL: u64 = 100_000_000;

/// The data about a request that the layer needs to finish the response.
pub(super) struct Finisher {
    /// Makes the response to a rejection that the inner service returns.
    responder: Responder,
    form: Form,
    /// True if the response needs `Cache-Control: private`, because the credential is not in
    /// `Authorization`. Shared caches do not recognize such a credential.
    is_private: bool,
    cutoff: CutoffSettings,
    /// The cookies that the layer may remove. Present only if the credential is in a cookie.
    cleared: Option<ClearedCookies>,
    /// Set if the layer forgave a bad token: the cookies that the response must remove.
    useless: Option<Useless>,
    /// True if the service has an observer.
    is_observed: bool,
    /// The observer of a request without `ticket`. With a ticket, `report` gets the observer from
    /// the ticket, because a clone would change a reference count that all cores share.
    observer: SharedObserver,
    /// Present if the request asks for an upgrade.
    upgrade: Option<Box<Upgrade>>,
    /// The handle of the token's claims. Present if the layer watches the response for a cutoff.
    ticket: Option<Ticket>,
    /// The time at which the inner service first returned `Pending`, if it did.
    waits_since: Option<u64>,
}

impl Finisher {
    /// Creates the data for a request. `outer` contains the claims that an outer layer added.
    pub(super) fn new<B, C>(request: &Request<B>, config: &Config<C>, outer: Option<&Claims<C>>) -> Self {
        Self {
            responder: config.responder.clone(),
            form: Form::of(request),
            is_private: false,
            cutoff: config.cutoff,
            cleared: None,
            useless: None,
            is_observed: config.tokens.checker.observer.is_set(),
            observer: SharedObserver::default(),
            upgrade: Upgrade::of(request, config, outer),
            ticket: None,
            waits_since: None,
        }
    }

    pub(super) fn responder(&self) -> &Responder {
        &self.responder
    }

    pub(super) fn set_private(&mut self) {
        self.is_private = true;
    }

    /// Selects the cookies that the response removes if the token is bad. If the layer has browser
    /// sessions, selects none for a token in another cookie.
    pub(super) fn set_cleared<C>(&mut self, config: &Config<C>, headers: &HeaderMap) {
        let CookieRules { sessions, cleared, forgotten, .. } = &config.cookies;
        let is_of_session = |name| {
            let is_only_one = config.locations.as_ref().is_some_and(|locations| locations.cookies().len() == 1);
            is_only_one || in_cookie(headers, name, config.tokens.checker.max_token_len) != Credential::Absent
        };
        self.cleared = match sessions {
            Some(sessions) => cleared.clone().filter(|_| is_of_session(sessions.access_cookie().name())),
            None => forgotten.clone().filter(|_| config.forgives_cookies()),
        };
    }

    /// Records that the request passes although its token is bad. The response then removes the
    /// same cookies as this rejection would.
    pub(super) fn forgive(&mut self, rejection: &Rejection) {
        self.useless = Useless::after(rejection);
    }

    /// Adds `Set-Cookie` fields that remove the useless cookies.
    fn clear_cookies<B>(&self, useless: Option<Useless>, response: &mut Response<B>) {
        if let (Some(cleared), Some(useless)) = (&self.cleared, useless) {
            cleared.clear(useless, response.headers_mut());
        }
    }

    /// Sets the observer of a request without claims.
    pub(super) fn set_observer(&mut self, observer: &SharedObserver) {
        self.observer = observer.clone();
    }

    /// Returns the layer's response to a rejection.
    pub(super) fn respond(&self, rejection: Rejection) -> Response<bytes::Bytes> {
        self.responder.respond(rejection, self.form)
    }

    /// Prepares the cutoff of the response. The handler can make a [`Cutoff`](crate::Cutoff) from
    /// the claims, so the function adds the settings of that `Cutoff` to the claims.
    pub(super) fn admit<C: Send + Sync + 'static>(&mut self, claims: &mut Claims<C>) {
        let (cut_at_expiry, upgrade) =
            (self.cutoff.at_expiry, self.upgrade.as_ref().map(|upgrade| upgrade.is_watched()));
        if cut_at_expiry || upgrade.is_some() {
            claims.set_notes(RequestNotes { cut_at_expiry, upgrade });
        }
        if self.cutoff.is_enabled {
            self.ticket = claims.ticket();
        } else if self.is_observed {
            self.observer = claims.ticket().map_or_else(SharedObserver::default, |ticket| ticket.observer());
        }
    }

    /// Records the time at which the inner service first returned `Pending`.
    pub(super) fn note_wait(&mut self) {
        if let (Some(ticket), None) = (&self.ticket, self.waits_since) {
            self.waits_since = Some(ticket.now());
            ticket.follow();
        }
    }

    /// Returns an error if this node's deny set refuses the token after a long poll.
    fn refusal(&self) -> Option<TokenError> {
        let (ticket, since) = (self.ticket.as_ref()?, self.waits_since?);
        // A request whose method is not safe may have changed data. If a 401 replaced its response,
        // the client would repeat the change.
        let is_long_poll = self.form.is_safe && ticket.now().saturating_sub(since) >= LONG_POLL;
        if is_long_poll { ticket.refusal() } else { None }
    }

    /// Reports a rejection by the inner service to the observer.
    #[cold]
    fn report(&self, rejection: &Rejection) {
        match &self.ticket {
            Some(ticket) if self.is_observed => rejection.report(&ticket.observer()),
            _ => rejection.report(&self.observer),
        }
    }

    /// Finishes a response. If it is the layer's own rejection, only removes useless cookies.
    #[inline]
    pub(super) fn finish<B>(&mut self, response: &mut Response<ResponseBody<B>>) {
        if response.body().is_rejection() {
            if self.cleared.is_some() {
                self.clear_cookies(response.extensions().get().and_then(Useless::after), response);
            }
            return;
        }
        if let Some(refusal) = self.refusal() {
            let rejection = Rejection::from(Error::from(refusal));
            #[cfg(feature = "tracing")]
            super::rejection_log::log(&rejection);
            // Removes no cookie, because the user may have logged in again during the long poll.
            response.extensions_mut().insert(rejection);
        }
        if let Some(rejection) = response.extensions().get::<Rejection>().filter(|rejection| !rejection.is_rendered()) {
            self.report(rejection);
            self.responder.rerender(response, self.form);
        }
        self.clear_cookies(self.useless, response);
        // Marks the rejections of handlers too, because a cache may store a 404 without
        // `Cache-Control` (RFC 9110 section 15.1).
        if self.is_private {
            make_private(response.headers_mut());
        }
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.finish(response, self.ticket.is_some());
        }
        if let Some(ticket) = self.ticket.take() {
            let framing = self.form.framing(response.headers());
            response.body_mut().set_watch(Watch::new(ticket, self.cutoff.at_expiry, self.waits_since, framing));
        }
    }
}

/// Forbids shared caches to store a response (RFC 6750 section 2.3, RFC 9111 section 5.2.2).
/// Removes `public` and `s-maxage`, and keeps the other directives of the inner service.
fn make_private(headers: &mut HeaderMap) {
    let said: Vec<_> = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok()).collect();
    let directives = said.iter().flat_map(|line| line.split(',')).map(str::trim);
    let is_shared = |directive: &&str| {
        let name = directive.split('=').next().unwrap_or_default();
        name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage")
    };
    let mut kept: Vec<_> = directives.filter(|directive| !directive.is_empty() && !is_shared(directive)).collect();
    if !kept.iter().any(|own| own.eq_ignore_ascii_case("private") || own.eq_ignore_ascii_case("no-store")) {
        kept.push("private");
    }
    let kept = HeaderValue::try_from(kept.join(", ")).unwrap_or(HeaderValue::from_static("no-store"));
    headers.insert(CACHE_CONTROL, kept);
}
