//! Records the security events of a service.

use std::sync::{Arc, Mutex};

use tower_bearer::tokens::SecurityEvent;

/// The recorded events of a service.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<SecurityEvent>>>);

impl Events {
    /// Returns the hook for `builder.on_event(events.hook())`.
    pub fn hook(&self) -> impl Fn(&SecurityEvent) + Send + Sync + 'static {
        let events = self.clone();
        move |event| events.0.lock().expect("no panic").push(event.clone())
    }

    /// Returns and removes the events since the last call.
    pub fn take(&self) -> Vec<SecurityEvent> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}
