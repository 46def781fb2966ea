//! Evidence from records of Tribute: the folder of a study, or files of `tribute export`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ledger::{Ledger, Record, RunId};
use removal::{Coalition, RemovalDistribution};
use serde_json::Map;
use study::{Draws, StudyConfig, StudyDir, drawn_coalitions, planned_runs, read_records, stopped_draws};
use terminal::usage;

use crate::arguments::Arguments;
use crate::evidence::{Evidence, Row, can_draw, share_of};
use crate::settings::Choice;

/// Reads and sorts the records.
///
/// # Errors
/// Unreadable or damaged records, records of different games or settings, and missing tests.
pub fn evidence(arguments: &Arguments) -> anyhow::Result<Evidence> {
    let all = read(&arguments.train)?;
    let read_other = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let (tests, full, null) =
        (read_other(&arguments.test)?, read_other(&arguments.full)?, read_other(&arguments.null)?);
    let test_records = tests.as_ref().unwrap_or(&all);
    let (full_records, null_records) = (full.as_ref().unwrap_or(&all), null.as_ref().unwrap_or(&all));
    let mut notes = ignored_options(arguments);

    let sources = [&all, test_records, full_records, null_records];
    let games: BTreeSet<usize> = sources
        .iter()
        .flat_map(|records| records.values())
        .map(|record| record.key().coalition.n())
        .collect();
    if games.len() > 1 {
        return Err(usage(format!(
            "the records are of games with {games:?} contributors: give those of one study"
        )));
    }
    let study = study_file(arguments).map(|file| StudyConfig::read(&file)).transpose()?;
    let own_folder = arguments.train.is_dir().then(|| StudyDir::new(&arguments.train));
    let planned = own_folder.as_ref().map(planned_runs).transpose()?.unwrap_or_default();
    let choice = |what, conditions| Choice { what, study: study.as_ref(), planned: &planned, conditions };

    // Repetitions of a retraining are for tests.
    let of_method = |records: &BTreeMap<RunId, Record>, method: &str| {
        let wanted = |record: &&Record| record.key().method == method && repetition(record) == 0;
        records.values().filter(wanted).cloned().collect::<Vec<_>>()
    };
    let own = of_method(&all, &arguments.method);
    let Some(n) = own.first().map(|record| record.key().coalition.n()) else {
        let methods: BTreeSet<&str> = all.values().map(|record| record.key().method.as_str()).collect();
        return Err(usage(format!(
            "{} holds no record of method `{}`; it has {methods:?}: choose one with --method",
            arguments.train.display(),
            arguments.method
        )));
    };
    let conditions = training_conditions(arguments);
    let own = choice("training", &conditions).of_one_setting(own, &mut notes)?;
    let everybody =
        if arguments.full.is_some() { of_method(full_records, &arguments.method) } else { own.clone() };
    let full: Vec<Row> =
        everybody.iter().filter(|record| record.key().coalition.is_full()).map(row).collect();
    let nobody = choice("untrained", &[]).of_one_setting(of_method(null_records, "null"), &mut notes)?;
    let none: Vec<Row> = nobody.iter().map(row).collect();

    let tests: Vec<Record> = test_draws(test_records, arguments);
    let tests = choice("test", &arguments.test_conditions).of_one_setting(tests, &mut notes)?;
    if tests.is_empty() {
        return Err(usage("no records of retrained test coalitions: give them with --test"));
    }
    let mut order: Vec<Coalition> = Vec::new();
    let mut by_repetition: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for record in &tests {
        if !order.contains(&record.key().coalition) {
            order.push(record.key().coalition.clone());
        }
        // Padded, so that the order of texts is that of the numbers.
        by_repetition.entry(format!("repetition {:>3}", repetition(record))).or_default().push(row(record));
    }

    let draws = if arguments.method == "retrain" { Draws::Baseline } else { Draws::Scores };
    let drawn = match &study {
        Some(study) if same_distribution(study, arguments) => {
            let mut drawn = drawn_coalitions(study, n, draws)?;
            let stopped =
                own_folder.as_ref().filter(|_| draws == Draws::Scores && study.coalitions.until.is_some());
            if let Some(stopped) = stopped.map(stopped_draws).transpose()?.flatten() {
                drawn.truncate(stopped);
            }
            Some(drawn)
        }
        _ => None,
    };
    let possible = |record: &&Record| {
        let coalition = &record.key().coalition;
        let can = |distribution| can_draw(distribution, arguments.datamodel_alpha, coalition);
        // Everybody and nobody are draws where the study drew them.
        let between = !coalition.is_full() && !coalition.is_empty();
        (between || drawn.is_some()) && arguments.removal_dist.is_none_or(can)
    };
    let distribution = arguments
        .removal_dist
        .or(study.as_ref().filter(|_| drawn.is_some()).map(|study| study.coalitions.distribution));
    let records = own.iter().chain(&nobody).filter(possible);
    let train = in_order_of_draws(records, drawn.as_deref(), distribution);
    if train.is_empty() {
        return Err(usage(format!(
            "none of the records of method `{}` in {} is of a coalition that the study draws: give the study file that \
             they come from with --study",
            arguments.method,
            arguments.train.display()
        )));
    }
    let behaviors = scalar_behaviors(&train);
    let mut evidence = Evidence {
        n,
        names: own_folder.as_ref().map(|dir| names(dir, n)).unwrap_or_default(),
        train,
        full,
        none,
        tests: by_repetition,
        behaviors,
        dropped: 0,
        distribution,
        reference: false,
        notes,
        sources: Map::new(),
    };
    if let Some(count) = arguments.num_test_subset {
        evidence.limit_tests(&order, count);
    }
    evidence.separate()?;
    Ok(evidence)
}

/// Options that choose lines of a reference database and have nothing to choose here.
fn ignored_options(arguments: &Arguments) -> Vec<String> {
    let given = [
        ("--dataset", arguments.dataset.is_some()),
        ("--train-exp-name", arguments.train_exp_name.is_some()),
        ("--test-exp-name", !arguments.test_exp_name.is_empty()),
        ("--full-exp-name", arguments.full_exp_name.is_some()),
        ("--null-exp-name", arguments.null_exp_name.is_some()),
        ("--by-class", arguments.by_class),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(option, _)| *option).collect();
    if given.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} changes nothing: it chooses lines of the reference system's databases; records of Tribute are of contributors, and \
         are told apart by their settings (--where)",
        given.join(", ")
    )]
}

fn training_conditions(arguments: &Arguments) -> Vec<(String, String)> {
    let steps = arguments.gd_steps.map(|steps| ("training.steps".to_owned(), steps.to_string()));
    arguments.conditions.iter().cloned().chain(steps).collect()
}

/// Rows in the order in which the study first drew their coalitions, each counting as often as it was drawn. Orders of
/// permutations keep every draw, since a row's place in them counts.
///
/// Without the study, nobody knows how often a coalition was drawn, or when: each counts once, in the order of the records'
/// ids.
fn in_order_of_draws<'a>(
    records: impl Iterator<Item = &'a Record>,
    drawn: Option<&[Coalition]>,
    distribution: Option<RemovalDistribution>,
) -> Vec<Row> {
    let Some(drawn) = drawn else { return records.map(row).collect() };
    let records: BTreeMap<&Coalition, &Record> =
        records.map(|record| (&record.key().coalition, record)).collect();
    let found = drawn.iter().filter_map(|coalition| records.get(coalition).map(|record| row(record)));
    if matches!(
        distribution,
        Some(RemovalDistribution::Permutation | RemovalDistribution::PermutationAntithetic)
    ) {
        return found.collect();
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut places: BTreeMap<Coalition, usize> = BTreeMap::new();
    for row in found {
        match places.get(&row.coalition) {
            Some(&place) => rows[place].times += 1,
            None => {
                places.insert(row.coalition.clone(), rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

/// Whether the study's draws are those that the command line asks for.
fn same_distribution(study: &StudyConfig, arguments: &Arguments) -> bool {
    use RemovalDistribution::Datamodel;
    match (arguments.removal_dist, study.coalitions.distribution) {
        (None, _) => true,
        (Some(Datamodel { .. }), Datamodel { alpha }) => {
            arguments.datamodel_alpha.is_none_or(|asked| (asked - alpha).abs() < 1e-9)
        }
        (Some(asked), drawn) => asked == drawn,
    }
}

/// Retrained models that make the test sets. Repetition 0 is the full model's own, whose coalitions are not drawn as a test.
fn test_draws(records: &BTreeMap<RunId, Record>, arguments: &Arguments) -> Vec<Record> {
    let wanted = |record: &&Record| {
        let coalition = &record.key().coalition;
        let repetition = repetition(record);
        let of_set = match &arguments.test_repetitions {
            Some(repetitions) => repetitions.contains(&repetition),
            None => repetition > 0,
        };
        let of_size = arguments
            .datamodel_alpha
            .filter(|_| !matches!(arguments.removal_dist, Some(RemovalDistribution::Datamodel { .. })))
            .is_none_or(|alpha| coalition.len() == share_of(alpha, coalition.n()));
        record.key().method == "retrain" && of_set && of_size && !coalition.is_full()
    };
    records.values().filter(wanted).cloned().collect()
}

fn row(record: &Record) -> Row {
    Row {
        coalition: record.key().coalition.clone(),
        times: 1,
        behaviors: record.behaviors.clone(),
        place: format!("record {}", record.id().short()),
    }
}

/// Behaviours that are one number in one training record or more.
fn scalar_behaviors(train: &[Row]) -> Vec<String> {
    let scalars =
        train.iter().flat_map(|row| row.behaviors.iter().filter(|(_, value)| value.scalar().is_some()));
    scalars.map(|(key, _)| key.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The contributors' names, where the study has come to its report.
fn names(dir: &StudyDir, n: usize) -> Vec<String> {
    let report = std::fs::read(dir.report_json()).ok();
    let report: Option<serde_json::Value> = report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let people = report.as_ref().and_then(|report| report["contributors"].as_array());
    let names: Vec<String> = people
        .into_iter()
        .flatten()
        .filter_map(|person| person["name"].as_str().map(str::to_owned))
        .collect();
    if names.len() == n { names } else { Vec::new() }
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
