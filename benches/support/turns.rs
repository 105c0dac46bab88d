//! Compares services in turns.

use std::{convert::Infallible, time::Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use super::scale::Scale;

/// A service with any body, so that several kinds can be compared.
type Handler = BoxCloneSyncService<Request<Full<Bytes>>, StatusCode, Infallible>;

/// A service, its repeated requests, and the expected status of every answer.
pub struct Contender {
    name: String,
    service: Handler,
    /// The requests are sent in turn.
    requests: Vec<Request<()>>,
    status: StatusCode,
}

impl Contender {
    pub fn new<S, B>(name: impl Into<String>, service: S, requests: Vec<Request<()>>, status: StatusCode) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: 'static,
    {
        let service = BoxCloneSyncService::new(service.map_response(|response| response.status()));
        Self { name: name.into(), service, requests, status }
    }
}

/// The number of turns of each contender, and of its requests in each turn.
#[derive(Clone, Copy)]
pub struct Turns {
    scale: Scale,
    rounds: usize,
    batch: usize,
}

impl Turns {
    /// Scales the rounds. In a test there is one, of one request.
    pub fn new(scale: Scale, rounds: usize, batch: usize) -> Self {
        let batch = if scale == Scale::Test { 1 } else { batch };
        Self { scale, rounds: scale.count(rounds, 1), batch }
    }

    /// Returns the number of requests that each contender gets.
    pub fn requests(self) -> usize {
        (self.warm_up() + self.rounds) * self.batch
    }

    fn warm_up(self) -> usize {
        self.rounds / 10
    }

    /// Measures all contenders in turns, in one process, so that all meet the same state of the
    /// machine. Prints, with quartiles:
    ///
    /// * the median time of each in ns;
    /// * its ratio to the time of the first;
    /// * the difference between the two.
    ///
    /// # Panics
    ///
    /// Panics if an answer has another status than its contender expects.
    pub fn compare(self, title: &str, runtime: &Runtime, contenders: &mut [Contender]) {
        let mut times = vec![Vec::with_capacity(self.rounds); contenders.len()];
        for round in 0..self.warm_up() + self.rounds {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                let first = round * self.batch;
                let requests: Vec<_> = (first..first + self.batch)
                    .map(|turn| contender.requests[turn % contender.requests.len()].clone().map(|()| Full::default()))
                    .collect();
                let measured = runtime.block_on(async {
                    let began = Instant::now();
                    for request in requests {
                        let status = contender.service.ready().await.unwrap().call(request).await.unwrap();
                        assert_eq!(status, contender.status, "{}", contender.name);
                    }
                    began.elapsed()
                });
                if round >= self.warm_up() {
                    times.push(measured.as_secs_f64() * 1e9 / f64::from(u32::try_from(self.batch).unwrap()));
                }
            }
        }
        self.report(title, contenders, &times);
    }

    fn report(self, title: &str, contenders: &[Contender], times: &[Vec<f64>]) {
        self.scale.print(format_args!("\n{title:<40}{:>12}   {:<22}   ns over the first", "ns", "ratio to the first"));
        for (contender, own) in contenders.iter().zip(times) {
            let name = &contender.name;
            let [_, median, _] = quartiles(own.iter().copied());
            let [low, ratio, high] = quartiles(own.iter().zip(&times[0]).map(|(own, first)| own / first));
            let [least, over, most] = quartiles(own.iter().zip(&times[0]).map(|(own, first)| own - first));
            self.scale.print(format_args!(
                "{name:<40}{median:>12.0}   {ratio:.2} [{low:.2} {high:.2}]   {over:>14.0} [{least:.0} {most:.0}]"
            ));
        }
    }
}

/// Returns the lower quartile, the median and the upper quartile.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
