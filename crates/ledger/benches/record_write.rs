//! Time of one record: written and synced, put a second time, read and verified.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ledger::{Ledger, Record, RunKey};
use removal::Coalition;

/// A record as a study with 258 contributors writes it.
fn record(seed: u64) -> Record {
    let key = RunKey::new("gd", Coalition::full(258)).seed("optimizer", seed).parent("0".repeat(64));
    let losses: Vec<f64> = (0..258).map(|index| 1.0 / (index + 1) as f64).collect();
    let record = Record::new(key).expect("a key of plain values");
    record.behavior("entropy", 3.25).behavior("loss", losses).seconds("unlearn", 2.5)
}

fn record_write(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(folder.path()).expect("a new ledger");
    let mut seed = 0;
    let mut next = || {
        seed += 1;
        record(seed)
    };
    criterion.bench_function("ledger/put_new", |bencher| {
        bencher.iter_batched(&mut next, |record| ledger.put(&record).expect("room"), BatchSize::SmallInput);
    });
    let known = record(0);
    ledger.put(&known).expect("room");
    criterion
        .bench_function("ledger/put_known", |bencher| bencher.iter(|| ledger.put(&known).expect("the same")));
    criterion.bench_function("ledger/get", |bencher| bencher.iter(|| ledger.get(known.id()).expect("there")));
    criterion
        .bench_function("ledger/run_id", |bencher| bencher.iter(|| known.key().id().expect("plain values")));
}

criterion_group!(benches, record_write);
criterion_main!(benches);
