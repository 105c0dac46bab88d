//! The accessors of every service in this module, named as in `tower-http`.

/// Defines `get_ref`, `get_mut` and `into_inner` for a service with a field `inner` of type `S`.
macro_rules! accessors_of_inner {
    () => {
        /// Returns a reference to the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Consumes this service and returns the inner one.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(super) use accessors_of_inner;
