//! Which records are training draws, endpoints and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ledger::{Ledger, Record, RunId};
use removal::Coalition;
use study::{Draws, StudyConfig, StudyDir, draw_counts, read_records};
use terminal::usage;

use crate::Arguments;

/// Records by their role.
pub struct Selected {
    /// Number of contributors.
    pub n: usize,
    /// Drawn coalitions with the number of their draws, in the order of their ids, without those that are test coalitions.
    pub train: Vec<(Record, u32)>,
    /// With all contributors.
    pub full: Record,
    /// With none.
    pub none: Record,
    /// Retrained test coalitions by repetition.
    pub tests: BTreeMap<u64, Vec<Record>>,
    /// Training draws left out because they are test coalitions.
    pub dropped: usize,
}

impl Selected {
    /// Reads and sorts the records.
    ///
    /// # Errors
    /// Unreadable or damaged records, records of different games, and missing endpoints or tests.
    pub fn read(arguments: &Arguments) -> anyhow::Result<Self> {
        let all = read(&arguments.train)?;
        let others = arguments.test.as_deref().map(read).transpose()?;
        let test_records = others.as_ref().unwrap_or(&all);

        // Repetitions of a retraining are for tests.
        let of_method = |method: &str| {
            let wanted = |record: &&Record| record.key().method == method && repetition(record) == 0;
            all.values().filter(wanted).cloned().collect::<Vec<_>>()
        };
        let own = of_method(&arguments.method);
        let Some(n) = own.first().map(|record| record.key().coalition.n()) else {
            let methods: BTreeSet<&str> = all.values().map(|record| record.key().method.as_str()).collect();
            return Err(usage(format!(
                "{} holds no record of method `{}`; it has {methods:?}: choose one with --method",
                arguments.train.display(),
                arguments.method
            )));
        };
        let games: BTreeSet<usize> =
            all.values().chain(test_records.values()).map(|record| record.key().coalition.n()).collect();
        if games.len() > 1 {
            return Err(usage(format!(
                "the records are of games with {games:?} contributors: give those of one study"
            )));
        }
        let endpoint = |records: Vec<Record>, coalition: Coalition, what: &str| {
            records.into_iter().find(|record| record.key().coalition == coalition).ok_or_else(|| {
                usage(format!(
                    "{} holds no record of {what}, which the scores need",
                    arguments.train.display()
                ))
            })
        };
        let full = endpoint(own.clone(), Coalition::full(n), "everybody by this method")?;
        let none = endpoint(of_method("null"), Coalition::empty(n), "nobody (method `null`)")?;

        let tests = tests(test_records, arguments);
        if tests.is_empty() {
            return Err(usage("no records of retrained test coalitions: give them with --test"));
        }
        let held_out: BTreeSet<&Coalition> =
            tests.values().flatten().map(|record| &record.key().coalition).collect();
        let draws = if arguments.method == "retrain" { Draws::Baseline } else { Draws::Scores };
        let counts = match study_file(arguments) {
            Some(file) => Some(draw_counts(&StudyConfig::read(&file)?, n, draws)?),
            None => None,
        };
        // Without the study, nobody knows how often a coalition was drawn: each counts once.
        let times = |record: &Record| {
            counts.as_ref().map_or(1, |counts| counts.get(&record.key().coalition).copied().unwrap_or(0))
        };
        let mut train: Vec<(Record, u32)> = own
            .into_iter()
            .filter(|record| !record.key().coalition.is_full())
            .map(|record| (times(&record), record))
            .filter(|&(times, _)| times > 0)
            .map(|(times, record)| (record, times))
            .collect();
        if train.is_empty() {
            return Err(usage(format!(
                "none of the records of method `{}` in {} is of a coalition that the study draws: give the study file that \
                 they come from with --study",
                arguments.method,
                arguments.train.display()
            )));
        }
        let before = train.len();
        train.retain(|(record, _)| !held_out.contains(&record.key().coalition));
        let dropped = before - train.len();
        train.truncate(arguments.max_train_size.unwrap_or(usize::MAX));
        Ok(Self { n, train, full, none, tests, dropped })
    }

    /// Number of different test coalitions.
    pub fn test_coalitions(&self) -> usize {
        self.tests.values().flatten().map(|record| &record.key().coalition).collect::<BTreeSet<_>>().len()
    }

    /// Number of draws behind the training coalitions.
    pub fn draws(&self) -> u32 {
        self.train.iter().map(|(_, times)| times).sum()
    }

    /// Behaviours that are one number in every training record.
    pub fn scalar_behaviors(&self) -> Vec<String> {
        let scalar = |key: &&String| {
            self.train
                .iter()
                .all(|(record, _)| record.behaviors.get(*key).is_some_and(|value| value.scalar().is_some()))
        };
        self.full.behaviors.keys().filter(scalar).cloned().collect()
    }
}

/// Retrained models by repetition. Repetition 0 is the full model's own, whose coalitions are not drawn as a test.
fn tests(records: &BTreeMap<RunId, Record>, arguments: &Arguments) -> BTreeMap<u64, Vec<Record>> {
    let mut tests: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in records.values().filter(|record| record.key().method == "retrain") {
        let repetition = repetition(record);
        let wanted = match &arguments.test_repetitions {
            Some(repetitions) => repetitions.contains(&repetition),
            None => repetition > 0,
        };
        if wanted && !record.key().coalition.is_full() {
            tests.entry(repetition).or_default().push(record.clone());
        }
    }
    tests
}

fn repetition(record: &Record) -> u64 {
    record.key().seeds.get("repetition").copied().unwrap_or(0)
}

/// The study that the training records come from, if it is known.
fn study_file(arguments: &Arguments) -> Option<PathBuf> {
    let own = || arguments.train.is_dir().then(|| StudyDir::new(&arguments.train).study_file());
    arguments.study.clone().or_else(own)
}

fn read(path: &Path) -> anyhow::Result<BTreeMap<RunId, Record>> {
    if path.is_file() {
        return Ok(read_records(path)?);
    }
    let dir = StudyDir::new(path);
    if !dir.state().is_file() {
        return Err(usage(format!(
            "{} is neither a JSONL file of records nor the folder of a study",
            path.display()
        )));
    }
    let ledger = Ledger::open(dir.ledger())?;
    let records = ledger.iter()?.map(|record| record.map(|record| (record.id(), record)));
    Ok(records.collect::<Result<_, _>>()?)
}
