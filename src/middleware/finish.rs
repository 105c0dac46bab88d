//! The last step of a request: the layer finishes the response of the inner service.

use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL};

use super::{
    body::ResponseBody,
    config::{Config, CutoffSettings},
    rejection::Rejection,
    responder::{Form, Responder, log},
    upgrade::Upgrade,
    watch::Watch,
};
use crate::{error::Error, jwt::Claims};

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
    /// Present if the request asks for an upgrade.
    upgrade: Option<Box<Upgrade>>,
    watch: Watch,
}

impl Finisher {
    /// `outer` are the claims of an outer layer.
    pub(super) fn new<B, C>(request: &Request<B>, config: &Config<C>, outer: Option<&Claims<C>>) -> Self {
        Self {
            responder: config.responder.clone(),
            form: Form::of(request),
            is_private: false,
            cutoff: config.cutoff,
            upgrade: Upgrade::of(request, config, outer),
            watch: Watch::OFF,
        }
    }

    pub(super) fn responder(&self) -> &Responder {
        &self.responder
    }

    pub(super) fn set_private(&mut self) {
        self.is_private = true;
    }

    /// Returns the layer's response to a rejection.
    pub(super) fn respond(&self, rejection: Rejection) -> Response<bytes::Bytes> {
        self.responder.respond(rejection, self.form)
    }

    /// Prepares the watch over the response. Writes into the claims the settings for each
    /// [`Cutoff`](crate::Cutoff) that the handler makes.
    pub(super) fn admit<C: Send + Sync + 'static>(&mut self, claims: &mut Claims<C>) {
        let notes = claims.notes_mut();
        notes.cut_at_expiry = self.cutoff.at_expiry;
        notes.upgrade = self.upgrade.as_ref().map(|upgrade| upgrade.is_watched());
        if self.cutoff.is_enabled
            && let Some(ticket) = claims.ticket()
        {
            self.watch = Watch::new(ticket, self.cutoff.at_expiry);
        }
    }

    /// Records the time of the first poll that the inner service left pending.
    pub(super) fn note_wait(&mut self) {
        self.watch.note_wait();
    }

    /// Finishes a response of the inner service. Leaves the layer's own rejections unchanged.
    #[inline]
    pub(super) fn finish<B>(&mut self, response: &mut Response<ResponseBody<B>>) {
        if response.body().is_rejection() {
            return;
        }
        // A request with another method may have changed data. If a 401 replaced its response,
        // the client would repeat the change.
        if self.form.is_safe
            && let Some(refusal) = self.watch.refusal_after(LONG_POLL)
        {
            let rejection = Rejection::from(Error::from(refusal));
            log(&rejection);
            response.extensions_mut().insert(rejection);
        }
        if response.extensions().get::<Rejection>().is_some_and(|rejection| !rejection.is_rendered()) {
            self.responder.rerender(response, self.form);
        }
        // A cache may store an unmarked 404, so the layer marks rejections too (RFC 9110 section
        // 15.1).
        if self.is_private {
            make_private(response.headers_mut());
        }
        let watch = std::mem::replace(&mut self.watch, Watch::OFF);
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.finish(response, watch.is_on());
        }
        if watch.is_on() {
            let framing = self.form.framing(response.headers());
            response.body_mut().set_watch(watch.framed(framing));
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
