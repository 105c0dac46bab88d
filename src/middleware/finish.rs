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

/// The time in nanoseconds from which a request without a response head is a long poll. The layer
/// looks at the deny set only after a long poll, because the look takes a measurable time.
const LONG_POLL: u64 = 100_000_000;

/// The properties of a request by which the layer finishes the response.
pub(super) struct Finisher {
    /// Makes the response to a rejection that the inner service returns.
    responder: Responder,
    form: Form,
    /// True if the response needs `Cache-Control: private`: shared caches recognize a credential
    /// only in `Authorization`.
    is_private: bool,
    cutoff: CutoffSettings,
    /// Present if the credential is in a cookie that the layer may remove.
    cleared: Option<ClearedCookies>,
    /// The cookies that a response of the inner service removes.
    useless: Option<Useless>,
    /// True if the service has an observer.
    is_observed: bool,
    /// Present if there is an observer, but no ticket that leads to it. For most requests a ticket
    /// saves the reference count, which all cores share.
    observer: SharedObserver,
    /// Present if the request asks for an upgrade.
    upgrade: Option<Box<Upgrade>>,
    /// Present if the layer watches the response.
    ticket: Option<Ticket>,
    /// The time of the first poll that the inner service left pending.
    waits_since: Option<u64>,
}

impl Finisher {
    /// `outer` are the claims of an outer layer.
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

    /// Lets a rejection of the token remove the cookies of the layer. The token of another cookie
    /// removes no cookie of a browser session.
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

    /// Notes that the request passes although its token is bad. The response removes the cookies
    /// that this rejection would remove.
    pub(super) fn forgive(&mut self, rejection: &Rejection) {
        self.useless = Useless::after(rejection);
    }

    /// Adds the fields that remove useless cookies.
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

    /// Prepares the watch over the response. Writes into the claims the settings for each
    /// [`Cutoff`](crate::Cutoff) that the handler makes.
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

    /// Records the time of the first poll that the inner service left pending.
    pub(super) fn note_wait(&mut self) {
        if let (Some(ticket), None) = (&self.ticket, self.waits_since) {
            self.waits_since = Some(ticket.now());
            ticket.follow();
        }
    }

    /// Returns the error of a token that this node's deny set refuses after a long poll.
    fn refusal(&self) -> Option<TokenError> {
        let (ticket, since) = (self.ticket.as_ref()?, self.waits_since?);
        // A request with another method may have changed data. If a 401 replaced its response, the
        // client would repeat the change.
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

    /// Finishes a response of the inner service. Leaves the layer's own rejections unchanged.
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
            // No cookie is removed: meanwhile the user may have logged in again.
            response.extensions_mut().insert(rejection);
        }
        if let Some(rejection) = response.extensions().get::<Rejection>().filter(|rejection| !rejection.is_rendered()) {
            self.report(rejection);
            self.responder.rerender(response, self.form);
        }
        self.clear_cookies(self.useless, response);
        // A cache may store an unmarked 404, so the layer marks rejections too (RFC 9110 section
        // 15.1).
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
