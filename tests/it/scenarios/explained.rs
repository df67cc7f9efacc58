//! The runner that asks for explanations.

use iamd::engine::decision::Decision;
use iamd::engine::explain::{Redacted, explain};
use iamd::scenario::{Scenario, Test};
use iamd::store::{self, Loaded};
use jiff::Timestamp;

use super::{Got, Stores, assert_all_met, by_store, read_scenarios};

/// S-1: an explanation never changes the answer, and it names the determining statements.
#[test]
fn scenarios_are_answered_by_the_engine_with_an_explanation() {
    let mut scenarios = read_scenarios();
    scenarios.retain(|scenario| matches!(scenario.test, Test::Question { .. }));
    let stores = Stores::of(&scenarios);
    let mut results = Vec::new();
    for (directory, scenarios) in by_store(&scenarios, &stores) {
        let loaded = store::load(&directory).unwrap();
        results.extend(
            scenarios
                .into_iter()
                .map(|scenario| (scenario, by_explanation(scenario, &loaded))),
        );
    }
    assert_all_met("engine with an explanation", results);
}

fn by_explanation(scenario: &Scenario, loaded: &Loaded) -> Got {
    let Test::Question { ask, at, .. } = &scenario.test else {
        return Got::Loads;
    };
    let at = at.unwrap_or_else(Timestamp::now);
    let asked = ask.request(at).and_then(|request| {
        let plain = iamd::engine::authorize(&loaded.snapshot, &request)?;
        let (decision, explained) = explain(&loaded.snapshot, &request, &Redacted::default())?;
        Ok((plain, decision, explained))
    });
    let (plain, decision, explained) = match asked {
        Ok(asked) => asked,
        Err(error) => return Got::invalid_argument(error.to_string()),
    };
    let place = &scenario.place;
    assert_eq!(plain.reason(), decision.reason(), "{place}");
    let settled = |decision: &Decision| -> Vec<(String, usize)> {
        let named = decision.determining().iter();
        named
            .map(|statement| (statement.policy.name.to_string(), statement.index))
            .collect()
    };
    assert_eq!(settled(&plain), settled(&decision), "{place}");
    let deciding: Vec<(String, usize)> = explained
        .deciding()
        .map(|statement| &statement.source.statement)
        .map(|statement| (statement.policy.to_string(), statement.index))
        .collect();
    for settled in settled(&decision) {
        assert!(deciding.contains(&settled), "{place}: S-3: {settled:?}");
    }
    let is_refused_outright = explained.per_type.is_empty();
    let has_advice = !explained.to_allow.is_empty();
    assert_eq!(has_advice, !decision.is_allowed(), "{place}");
    assert!(
        is_refused_outright || explained.per_type.len() == 6,
        "{place}: S-5"
    );
    Got::decision(decision.is_allowed(), decision.reason().label())
}
