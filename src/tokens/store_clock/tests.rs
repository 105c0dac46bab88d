use super::*;
use crate::{clock::ManualClock, store::MemoryStore};

const START: Timestamp = Timestamp::from_secs(1_790_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The clocks of a node and of its store, which differ as a test sets them.
struct Clocks {
    node: ManualClock,
    server: ManualClock,
    conditions: Arc<Conditions>,
    judge: StoreClock,
}

impl Clocks {
    fn at(server: Timestamp) -> Self {
        let (node, server) = (ManualClock::at(START), ManualClock::at(server));
        let conditions = Arc::new(Conditions::new(Arc::new(node.clone())));
        let store = Arc::new(MemoryStore::with_clock(server.clone()));
        let holds = ClockHolds { leeway: seconds(5), longest: HOUR, longest_life: 24 * HOUR };
        let judge = StoreClock::new(Arc::new(node.clone()), store, Arc::clone(&conditions), holds);
        Self { node, server, conditions, judge }
    }

    fn advance(&self, by: Duration) {
        self.node.advance(by);
        self.server.advance(by);
    }

    fn kinds(&self) -> Vec<ConditionKind> {
        self.conditions.list().into_iter().map(|condition| condition.kind).collect()
    }
}

#[test]
fn both_times_are_the_stores_whatever_the_node_shows() {
    for skew in [-90_000_i64, -6_000, 0, 6_000, 90_000, 30 * 365 * 86_400_000] {
        let server = Timestamp::from_millis(START.as_millis().saturating_add_signed(skew));
        let clocks = Clocks::at(server);
        for _ in 0..100 {
            let now = clocks.server.now();
            assert_eq!((clocks.judge.now(), clocks.judge.now_coarse()), (now, now), "{skew}");
            clocks.advance(Duration::from_millis(13));
        }
        assert_eq!(clocks.kinds().contains(&ConditionKind::ClockSkew), skew != 0, "{skew}");
    }
}

#[test]
fn a_step_of_the_nodes_clock_changes_nothing() {
    let clocks = Clocks::at(START);
    for step in [0, 129, 1_000, 86_400_000] {
        clocks.node.set(Timestamp::from_millis(START.as_millis() + step));
        assert_eq!(clocks.judge.now_coarse(), START, "{step}");
    }
}

#[test]
fn a_skew_is_a_condition_until_it_has_clearly_ended() {
    let clocks = Clocks::at(START);
    let set = |skew| {
        clocks.server.set(START.saturating_add(seconds(skew)));
        clocks.judge.now();
        clocks.kinds() == [ConditionKind::ClockSkew]
    };
    assert_eq!([set(5), set(6), set(7)], [false, true, true]);
    // Behind the node, so that the store's clock does not seem to go back.
    let behind = |skew: u64| {
        clocks.node.set(START.saturating_add(seconds(7 + skew)));
        clocks.judge.now();
        clocks.kinds() == [ConditionKind::ClockSkew]
    };
    assert_eq!([behind(6), behind(4), behind(2), behind(4)], [true, true, false, false]);
}

#[test]
fn no_expired_token_becomes_valid_again_when_the_stores_clock_goes_back() {
    let clocks = Clocks::at(START);
    assert_eq!(clocks.judge.now(), START);
    clocks.server.set(START.saturating_sub(seconds(90)));
    assert_eq!((clocks.judge.now(), clocks.judge.now_coarse()), (START, START));
    assert!(clocks.kinds().contains(&ConditionKind::StoreClockWentBack));
    clocks.advance(seconds(84));
    assert_eq!(clocks.judge.now(), START, "the estimate waits");
    clocks.advance(seconds(7));
    assert_eq!(clocks.judge.now(), START.saturating_add(seconds(1)));
    assert!(!clocks.kinds().contains(&ConditionKind::StoreClockWentBack));
}

#[test]
fn a_step_back_beyond_the_life_of_a_token_is_followed_and_reported() {
    let clocks = Clocks::at(START.saturating_add(24 * HOUR));
    clocks.judge.now();
    clocks.server.set(START);
    assert_eq!((clocks.judge.now(), clocks.judge.now()), (START, START));
    assert_eq!(clocks.kinds(), [ConditionKind::StoreClockWentBack]);
    clocks.advance(24 * HOUR + seconds(1));
    clocks.judge.now();
    assert_eq!(clocks.kinds(), []);
}

#[test]
fn before_its_first_answer_the_store_has_no_time() {
    assert_eq!(skew_ms(Timestamp::default(), START), None);
    assert_eq!(skew_ms(START, START.saturating_add(seconds(6))), Some(-6_000));
    let clocks = Clocks::at(Timestamp::default());
    assert_eq!((clocks.judge.now(), clocks.judge.now_coarse()), Default::default());
    assert_eq!(clocks.kinds(), []);
}
