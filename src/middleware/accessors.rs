//! The accessors that every service of this module has, as those of `tower-http` have.

/// Defines `get_ref`, `get_mut` and `into_inner` for a service with a field `inner` of type `S`.
macro_rules! accessors_of_inner {
    () => {
        /// Returns the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service, and drops this one.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(super) use accessors_of_inner;
