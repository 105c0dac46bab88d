//! An observer that keeps all observations.

use std::sync::{Arc, Mutex};

use tower_bearer::observe::{Observation, Observer};

/// A list of observations. Clones share it.
#[derive(Clone, Default)]
pub struct Observations(Arc<Mutex<Vec<Observation>>>);

impl Observations {
    /// Removes and returns the observations so far.
    pub fn take(&self) -> Vec<Observation> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Returns the number of observations so far for which `is_counted` returns true.
    pub fn count(&self, is_counted: impl Fn(&Observation) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|observation| is_counted(observation)).count()
    }
}

impl Observer for Observations {
    fn observe(&self, observation: &Observation) {
        self.0.lock().unwrap().push(*observation);
    }
}
