//! The simulated broker through crashes, power cuts and retries; `tools/sim` plays more seeds and shows one.

use tidemill::sim;

/// Histories that this test plays.
const SEEDS: u64 = 25;

#[test]
fn histories_keep_their_promises() {
    let mut acked = 0;
    for seed in 0..SEEDS {
        acked += sim::run(seed, false).acked_records;
    }
    assert!(
        acked > SEEDS * 10,
        "only {acked} records were acknowledged in {SEEDS} histories"
    );
}
