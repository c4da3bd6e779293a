//! Plays histories of the simulated broker; see `tools/sim`.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use tidemill::sim;

/// So many seeds must reach everything in [`sim::SOMETIMES`].
const SEEDS_OF_EVERYTHING: u64 = 2000;

/// Plays one history per seed.
#[derive(Parser)]
struct Args {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop when so many have failed; with 1 no earlier seed fails than the one that is named.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// Print every event and effect.
    #[arg(long)]
    trace: bool,
    /// Threads; histories do not share anything.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.trace {
        tracing_subscriber::fmt().without_time().init();
    }
    let started = Instant::now();
    let next = AtomicU64::new(args.from);
    let failed = Mutex::new(Vec::new());
    let counters = Mutex::new(BTreeMap::<&'static str, u64>::new());
    let acked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.from + args.seeds || failed.lock().expect("not poisoned").len() >= args.failures {
                        return;
                    }
                    match catch_unwind(|| sim::run(seed, args.trace)) {
                        Ok(report) => {
                            acked.fetch_add(report.acked_records, Ordering::Relaxed);
                            report.trace.iter().for_each(|line| println!("{line}"));
                            let mut counters = counters.lock().expect("not poisoned");
                            for (what, count) in report.counters {
                                *counters.entry(what).or_default() += count;
                            }
                        }
                        Err(_) => {
                            println!("FAILED: seed {seed}");
                            failed.lock().expect("not poisoned").push(seed);
                        }
                    }
                }
            });
        }
    });
    let counters = counters.into_inner().expect("not poisoned");
    for (what, count) in &counters {
        println!("{count:>12}  {what}");
    }
    let never = |what: &&&str| args.seeds >= SEEDS_OF_EVERYTHING && !counters.contains_key(**what);
    let never: Vec<&&str> = sim::SOMETIMES.iter().filter(never).collect();
    println!("{:>12}  records acknowledged", acked.into_inner());
    println!(
        "{} seeds from {} in {:.1} s",
        args.seeds,
        args.from,
        started.elapsed().as_secs_f64()
    );
    let mut failed = failed.into_inner().expect("not poisoned");
    failed.sort_unstable();
    if failed.is_empty() && never.is_empty() {
        return ExitCode::SUCCESS;
    }
    if failed.is_empty() {
        println!("FAILED: no history reached: {never:?}");
        return ExitCode::FAILURE;
    }
    println!(
        "FAILED: seeds {failed:?}; see one with: tools/sim --seeds 1 --from {} --trace",
        failed[0]
    );
    ExitCode::FAILURE
}
