//! Evidence from the databases of the reference system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ledger::Value;
use ledger::reference::{Classes, Condition, ReferenceDatabase, ReferenceRow, SETTINGS};
use removal::{Coalition, RemovalDistribution};
use serde_json::{Map, Value as Json, json};
use terminal::usage;

use crate::arguments::Arguments;
use crate::estimate::{parse_distribution, spellings};
use crate::evidence::{Evidence, Row};

/// Settings in which the draws of one experiment differ: seeds, and what follows from the number of images.
const VARYING: [&str; 5] = ["removal_seed", "opt_seed", "seed", "trained_steps", "training_steps"];
/// Test coalitions in use when --num-test-subset is left out, as in the reference.
const TEST_SUBSET: usize = 32;

/// Reads and sorts the lines.
///
/// # Errors
/// Files that cannot be read, lines of several experiments, games of different sizes, missing tests.
pub fn evidence(arguments: &Arguments) -> anyhow::Result<Evidence> {
    let files = Files::read(arguments)?;
    let mut notes = Vec::new();
    files.describe_damage(&mut notes);
    let classes = match (&arguments.classes, arguments.by_class) {
        (Some(path), true) => Some(Classes::read(path)?),
        _ => None,
    };
    let reader = RowReader { arguments, classes: classes.as_ref() };

    let train_file = files.get(&arguments.train);
    let train = Chosen::training(train_file, arguments, &mut notes)?;
    let test_file = files.get(arguments.test.as_ref().unwrap_or(&arguments.train));
    let tests = Chosen::tests(test_file, arguments, &mut notes)?;
    let full_file = files.get(arguments.full.as_ref().unwrap_or(&arguments.train));
    let full = endpoint(full_file, arguments, Endpoint::Full)?;
    let null_file = files.get(arguments.null.as_ref().unwrap_or(&arguments.train));
    let null = endpoint(null_file, arguments, Endpoint::Null)?;

    let mut behaviors: Vec<String> = Vec::new();
    for name in train.rows.iter().flat_map(|row| row.known_behaviors()) {
        if !behaviors.contains(&name) {
            behaviors.push(name);
        }
    }
    let rows = |chosen: &[&ReferenceRow], file: &ReferenceDatabase| {
        chosen.iter().map(|row| reader.row(row, &file.path, &behaviors)).collect::<anyhow::Result<Vec<Row>>>()
    };
    let train_rows = rows(&train.rows, train_file)?;
    let n = one_game(&train_rows)?;
    let mut order: Vec<Coalition> = Vec::new();
    let mut sets: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (row, chosen) in rows(&tests.rows, test_file)?.into_iter().zip(&tests.rows) {
        if row.coalition.n() != n {
            return Err(usage(format!(
                "{} is of {} contributors, the training lines are of {n}: give lines of one game",
                row.place,
                row.coalition.n()
            )));
        }
        if !order.contains(&row.coalition) {
            order.push(row.coalition.clone());
        }
        sets.entry(set_name(chosen)).or_default().push(row);
    }
    // The null model may name no images, or those of everybody: it is the model of nobody all the same.
    let end = |row: &ReferenceRow, coalition: &Coalition, file: &ReferenceDatabase| {
        let behaviors = reader.behaviors(row, &behaviors);
        Row { coalition: coalition.clone(), times: 1, behaviors, place: place(row, &file.path) }
    };
    let (everybody, nobody) = (Coalition::full(n), Coalition::empty(n));
    let none: Vec<Row> = null.iter().map(|row| end(row, &nobody, null_file)).collect();
    let images = train.rows.iter().find_map(|row| row.images.as_ref()).map(Coalition::n);
    if let Some(row) = full.iter().find(|row| row.images.as_ref().is_some_and(|all| Some(all.n()) != images))
    {
        return Err(usage(format!(
            "{} is not of the images of the training lines: give lines of one game",
            place(row, &full_file.path)
        )));
    }
    let full: Vec<Row> = full.iter().map(|row| end(row, &everybody, full_file)).collect();
    let names = classes.as_ref().map(|classes| classes.names().to_vec()).unwrap_or_default();
    let mut evidence = Evidence {
        n,
        names,
        train: train_rows,
        full,
        none,
        tests: sets,
        behaviors,
        dropped: 0,
        distribution: train.rows.first().and_then(|row| parse_distribution(&text(row, "removal_dist")).ok()),
        reference: true,
        notes,
        sources: files.summary(&[(&train, "training"), (&tests, "test")]),
    };
    evidence.limit_tests(&order, arguments.num_test_subset.unwrap_or(TEST_SUBSET));
    evidence.separate()?;
    Ok(evidence)
}

/// The files in use, each read once.
struct Files(BTreeMap<PathBuf, ReferenceDatabase>);

impl Files {
    fn read(arguments: &Arguments) -> anyhow::Result<Self> {
        let paths = [&arguments.test, &arguments.full, &arguments.null].into_iter().flatten();
        let mut files = BTreeMap::new();
        for path in std::iter::once(&arguments.train).chain(paths) {
            if !files.contains_key(path) {
                if path.is_dir() || !ReferenceDatabase::looks_like_one(path)? {
                    return Err(usage(format!(
                        "{} is not a database of the reference system, {} is: give all of one kind",
                        path.display(),
                        arguments.train.display()
                    )));
                }
                files.insert(path.clone(), ReferenceDatabase::read(path)?);
            }
        }
        Ok(Self(files))
    }

    fn get(&self, path: &Path) -> &ReferenceDatabase {
        // `read` has put in every path of the command line.
        &self.0[path]
    }

    /// Says which lines are torn or repeated.
    fn describe_damage(&self, notes: &mut Vec<String>) {
        for (path, file) in &self.0 {
            let path = path.display();
            if !file.damaged.is_empty() {
                let lines =
                    file.damaged.iter().map(|damaged| format!("line {} ({})", damaged.line, damaged.reason));
                notes.push(format!(
                    "{path}: {} cannot be used and {} left out: {}",
                    counted(file.damaged.len(), "line"),
                    if file.damaged.len() == 1 { "is" } else { "are" },
                    some(lines)
                ));
            }
            if !file.repeated.is_empty() {
                let lines = file.repeated.iter().map(|repeated| {
                    let results = if repeated.same_results { "" } else { " with other results" };
                    format!("line {} repeats line {}{results}", repeated.line, repeated.first)
                });
                notes.push(format!(
                    "{path}: {} an earlier one's run, which counts once, as first written: {}",
                    if file.repeated.len() == 1 {
                        "1 line repeats".into()
                    } else {
                        format!("{} lines repeat", file.repeated.len())
                    },
                    some(lines)
                ));
            }
        }
    }

    fn summary(&self, chosen: &[(&Chosen<'_>, &str)]) -> Map<String, Json> {
        let files = self.0.iter().map(|(path, file)| {
            let damaged = file.damaged.iter().map(|d| json!({ "line": d.line, "reason": d.reason }));
            let repeated = file.repeated.iter().map(|repeated| {
                json!({ "line": repeated.line, "first": repeated.first, "same_results": repeated.same_results })
            });
            json!({
                "path": path,
                "results": file.rows.len(),
                "damaged_lines": damaged.collect::<Vec<_>>(),
                "repeated_lines": repeated.collect::<Vec<_>>(),
            })
        });
        let mut summary = Map::new();
        summary.insert("databases".into(), files.collect());
        for (chosen, name) in chosen {
            summary.insert(format!("{name}_lines_of_other_experiments"), json!(chosen.others));
        }
        summary
    }
}

/// The lines of one experiment.
struct Chosen<'a> {
    rows: Vec<&'a ReferenceRow>,
    /// Lines that the conditions leave out.
    others: usize,
}

impl<'a> Chosen<'a> {
    fn training(
        file: &'a ReferenceDatabase,
        arguments: &Arguments,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut conditions = vec![Condition::equals("method", &arguments.method)];
        conditions.extend(arguments.dataset.iter().map(|dataset| Condition::equals("dataset", dataset)));
        conditions.extend(arguments.train_exp_name.iter().map(|name| Condition::equals("exp_name", name)));
        if let Some(distribution) = arguments.removal_dist {
            conditions.push(Condition::one_of("removal_dist", spellings(distribution)));
            if let (RemovalDistribution::Datamodel { .. }, Some(alpha)) =
                (distribution, arguments.datamodel_alpha)
            {
                conditions.push(Condition::equals("datamodel_alpha", alpha));
            }
        }
        conditions.extend(arguments.gd_steps.map(|steps| Condition::equals("gd_steps", steps)));
        conditions.extend(arguments.conditions.iter().map(|(key, value)| Condition::equals(key, value)));
        let mut selection = Selection::new(file, "training", "--where", &conditions, notes)?;
        // Everybody's and nobody's models may stand in the same file.
        let drawn = |row: &&ReferenceRow| {
            row.images.as_ref().is_some_and(|images| !images.is_full() && !images.is_empty())
        };
        selection.rows.retain(drawn);
        if selection.rows.is_empty() {
            return Err(usage(format!(
                "{} has no training line of a coalition between nobody and everybody",
                file.path.display()
            )));
        }
        selection.one_value("dataset", None, "--dataset")?;
        selection.one_value("exp_name", None, "--train-exp-name")?;
        selection.one_value("removal_dist", None, "--removal-dist")?;
        selection.one_value("gd_steps", Some("1000"), "--gd-steps")?;
        if selection.rows.iter().all(|row| text(row, "removal_dist") == "datamodel") {
            selection.one_value("datamodel_alpha", Some("0.5"), "--datamodel-alpha")?;
        }
        selection.nothing_else_differs(&["datamodel_alpha"])?;
        Ok(selection.chosen())
    }

    fn tests(
        file: &'a ReferenceDatabase,
        arguments: &Arguments,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut conditions = vec![Condition::equals("method", "retrain")];
        conditions.extend(arguments.dataset.iter().map(|dataset| Condition::equals("dataset", dataset)));
        if !arguments.test_exp_name.is_empty() {
            conditions.push(Condition::one_of("exp_name", &arguments.test_exp_name));
        }
        if let Some(alpha) = arguments.datamodel_alpha {
            conditions.push(Condition::equals("datamodel_alpha", alpha));
        }
        if let Some(seeds) = &arguments.test_repetitions {
            conditions.push(Condition::one_of("opt_seed", seeds));
        }
        conditions.extend(arguments.test_conditions.iter().map(|(key, value)| Condition::equals(key, value)));
        let mut selection = Selection::new(file, "test", "--test-where", &conditions, notes)?;
        selection
            .rows
            .retain(|row| row.images.as_ref().is_some_and(|images| !images.is_full() && !images.is_empty()));
        if selection.rows.is_empty() {
            return Err(usage(format!(
                "{} has no retrained coalition between nobody and everybody to judge by",
                file.path.display()
            )));
        }
        selection.one_value("dataset", None, "--dataset")?;
        selection.one_value("removal_dist", Some("datamodel"), "--test-where removal_dist=NAME")?;
        if selection.rows.iter().all(|row| text(row, "removal_dist") == "datamodel") {
            selection.one_value("datamodel_alpha", Some("0.5"), "--datamodel-alpha")?;
        }
        selection.nothing_else_differs(&["exp_name", "datamodel_alpha"])?;
        Ok(selection.chosen())
    }
}

/// Lines on the way to those of one experiment.
struct Selection<'a, 'b> {
    file: &'a ReferenceDatabase,
    what: &'static str,
    option: &'static str,
    rows: Vec<&'a ReferenceRow>,
    notes: &'b mut Vec<String>,
}

impl<'a, 'b> Selection<'a, 'b> {
    /// The lines for which the conditions hold.
    fn new(
        file: &'a ReferenceDatabase,
        what: &'static str,
        option: &'static str,
        conditions: &[Condition],
        notes: &'b mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut rows: Vec<&ReferenceRow> = file.rows.iter().collect();
        for condition in conditions {
            let values: BTreeSet<String> = rows.iter().map(|row| text(row, &condition.field)).collect();
            rows.retain(|row| condition.holds(row));
            if rows.is_empty() {
                return Err(usage(format!(
                    "{} has no {what} line whose `{}` is {}; it is {}",
                    file.path.display(),
                    condition.field,
                    condition.any_of.join(" or "),
                    some(values.into_iter())
                )));
            }
        }
        Ok(Self { file, what, option, rows, notes })
    }

    /// Keeps the lines with one value of a field: the only one, or the reference's default if it is among several.
    fn one_value(&mut self, field: &str, default: Option<&str>, option: &str) -> anyhow::Result<()> {
        let values = self.values(field);
        if values.len() < 2 {
            return Ok(());
        }
        let by_default = default.map(|default| Condition::equals(field, default));
        match by_default.filter(|condition| self.rows.iter().any(|row| condition.holds(row))) {
            Some(condition) => {
                let before = self.rows.len();
                self.rows.retain(|row| condition.holds(row));
                self.notes.push(format!(
                    "{} of {before} {} lines are used, those whose `{field}` is {}, the default; others are {} ({option})",
                    self.rows.len(),
                    self.what,
                    condition.any_of[0],
                    words(&values),
                ));
                Ok(())
            }
            None => Err(usage(format!(
                "the {} lines of {} are of several experiments: `{field}` is {}; choose with {option}",
                self.what,
                self.file.path.display(),
                words(&values)
            ))),
        }
    }

    /// Checks that the lines agree in all other settings.
    fn nothing_else_differs(&self, but: &[&str]) -> anyhow::Result<()> {
        for field in SETTINGS.iter().filter(|field| !VARYING.contains(field) && !but.contains(field)) {
            let values = self.values(field);
            if values.len() > 1 {
                return Err(usage(format!(
                    "the {} lines of {} are of different settings, which must not be mixed: `{field}` is {}; choose with {} \
                     {field}=VALUE",
                    self.what,
                    self.file.path.display(),
                    words(&values),
                    self.option
                )));
            }
        }
        Ok(())
    }

    fn values(&self, field: &str) -> BTreeMap<String, usize> {
        let mut values = BTreeMap::new();
        for row in &self.rows {
            *values.entry(text(row, field)).or_default() += 1;
        }
        values
    }

    /// In the order of their draws.
    fn chosen(mut self) -> Chosen<'a> {
        let number = |row: &ReferenceRow, field: &str| {
            row.fields.get(field).and_then(Json::as_u64).unwrap_or(u64::MAX)
        };
        self.rows.sort_by_key(|row| (number(row, "removal_seed"), number(row, "opt_seed"), row.line));
        Chosen { others: self.file.rows.len() - self.rows.len(), rows: self.rows }
    }
}

/// Which end of the game.
#[derive(Clone, Copy, PartialEq)]
enum Endpoint {
    Full,
    Null,
}

/// The lines with the model of everybody or of nobody; none if there are none.
fn endpoint<'a>(
    file: &'a ReferenceDatabase,
    arguments: &Arguments,
    end: Endpoint,
) -> anyhow::Result<Vec<&'a ReferenceRow>> {
    let (own_file, exp_name, option) = match end {
        Endpoint::Full => (arguments.full.is_some(), &arguments.full_exp_name, "--full-exp-name"),
        Endpoint::Null => (arguments.null.is_some(), &arguments.null_exp_name, "--null-exp-name"),
    };
    let mut conditions = Vec::new();
    conditions.extend(arguments.dataset.iter().map(|dataset| Condition::equals("dataset", dataset)));
    conditions.extend(exp_name.iter().map(|name| Condition::equals("exp_name", name)));
    let rows = file.matching(&conditions);
    let fits = |row: &&ReferenceRow| match (end, &row.images) {
        (Endpoint::Full, Some(images)) => images.is_full() && !images.is_empty(),
        (Endpoint::Null, Some(images)) => images.is_empty(),
        // A file of everybody's or nobody's models need not name the images.
        (_, None) => own_file,
    };
    let mut found: Vec<&ReferenceRow> = rows.iter().copied().filter(fits).collect();
    if found.is_empty() && own_file && end == Endpoint::Null {
        // The freshly initialised model, saved by a program that was given everybody's images.
        found = rows;
    }
    if found.is_empty() && (own_file || exp_name.is_some()) {
        return Err(usage(format!(
            "{} has no line with the model of {}{}",
            file.path.display(),
            if end == Endpoint::Full { "everybody (an empty `removed_idx`)" } else { "nobody" },
            if conditions.is_empty() { "" } else { " of this data set and experiment" }
        )));
    }
    // The model of everybody by the same method and experiment, where there are several.
    let mut preferences = vec![("method", Some(&arguments.method))];
    preferences.push(("exp_name", arguments.train_exp_name.as_ref()));
    for (field, wanted) in preferences {
        let Some(wanted) = wanted else { continue };
        let condition = Condition::equals(field, wanted);
        if found.iter().any(|row| condition.holds(row)) {
            found.retain(|row| condition.holds(row));
        }
    }
    for field in ["dataset", "method", "exp_name", "gd_steps"] {
        let values: BTreeSet<String> = found.iter().map(|row| text(row, field)).collect();
        if values.len() > 1 {
            return Err(usage(format!(
                "{} has several models of {}: `{field}` is {}; choose with {option}",
                file.path.display(),
                if end == Endpoint::Full { "everybody" } else { "nobody" },
                some(values.into_iter())
            )));
        }
    }
    Ok(found)
}

/// Turns lines into rows.
struct RowReader<'a> {
    arguments: &'a Arguments,
    classes: Option<&'a Classes>,
}

impl RowReader<'_> {
    fn row(&self, row: &ReferenceRow, path: &Path, behaviors: &[String]) -> anyhow::Result<Row> {
        let place = place(row, path);
        let images = row.images.clone().ok_or_else(|| usage(format!("{place} names no images")))?;
        let coalition = match self.classes {
            Some(classes) => classes
                .coalition(&images)
                .map_err(|reason| usage(format!("{place} is no coalition of classes: {reason}")))?,
            None => images,
        };
        Ok(Row { coalition, times: 1, behaviors: self.behaviors(row, behaviors), place })
    }

    fn behaviors(&self, row: &ReferenceRow, known: &[String]) -> BTreeMap<String, Value> {
        let names = known.iter().chain(&self.arguments.behaviors);
        names.filter_map(|name| Some((name.clone(), row.behavior(name)?))).collect()
    }
}

/// The number of contributors of all rows.
fn one_game(rows: &[Row]) -> anyhow::Result<usize> {
    let (first, rest) = rows.split_first().ok_or_else(|| usage("there are no training lines"))?;
    let n = first.coalition.n();
    match rest.iter().find(|row| row.coalition.n() != n) {
        Some(other) => Err(usage(format!(
            "{} is of {n} images, {} is of {}: give lines of one game",
            first.place,
            other.place,
            other.coalition.n()
        ))),
        None => Ok(n),
    }
}

/// A test set is an experiment, and a seed of the training.
fn set_name(row: &ReferenceRow) -> String {
    let seed = if row.fields.contains_key("opt_seed") { "opt_seed" } else { "seed" };
    format!("{}, {seed} {:>2}", text(row, "exp_name"), text(row, seed))
}

fn place(row: &ReferenceRow, path: &Path) -> String {
    format!("{} line {}", path.display(), row.line)
}

/// A field as the command line writes it.
fn text(row: &ReferenceRow, field: &str) -> String {
    match row.fields.get(field) {
        None | Some(Json::Null) => "none".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn words(values: &BTreeMap<String, usize>) -> String {
    some(values.iter().map(|(value, count)| format!("{value} ({})", counted(*count, "line"))))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The first ten, and how many more there are.
fn some(items: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 10;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown}, and {more} more") } else { shown }
}
