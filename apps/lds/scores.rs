//! The scores as a table in a file.

use std::path::Path;

use attribution_lds::Attribution;
use ledger::{Cell, Table, TableFormat};
use terminal::usage;

use crate::arguments::Arguments;
use crate::evidence::Evidence;
use crate::judge::Judged;

/// The format that the file's name asks for.
///
/// # Errors
/// A name that asks for none.
pub fn format_of(path: &Path) -> anyhow::Result<TableFormat> {
    TableFormat::of_path(path)
        .ok_or_else(|| usage(format!("--scores is {}, must end in .csv, .jsonl or .parquet", path.display())))
}

/// Writes one row for each behaviour, image and contributor.
///
/// # Errors
/// If the file cannot be written.
pub fn write(
    path: &Path,
    evidence: &Evidence,
    judged: &[Judged],
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let columns = [
        "behavior",
        "image",
        "contributor",
        "name",
        "score",
        "standard_error",
        "lower",
        "upper",
        "level",
        "estimator",
    ];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    for behavior in judged {
        for (image, fit) in behavior.scores.iter().enumerate() {
            for (contributor, &value) in fit.values.iter().enumerate() {
                let [error, lower, upper] = uncertainty(fit, contributor);
                table.push(vec![
                    Some(behavior.key.as_str().into()),
                    behavior.by_image.then_some(Cell::Integer(image as i64)),
                    Some(Cell::Integer(contributor as i64)),
                    evidence.names.get(contributor).map(|name| name.as_str().into()),
                    Some(Cell::Number(value)),
                    error,
                    lower,
                    upper,
                    Some(Cell::Number(arguments.confidence)),
                    Some(behavior.estimator.name().into()),
                ]);
            }
        }
    }
    Ok(table.write(path, format_of(path)?)?)
}

/// Standard error and bounds, of the closed form if there is one; none where the data gives none.
fn uncertainty(fit: &Attribution, contributor: usize) -> [Option<Cell>; 3] {
    let Some(intervals) = fit.closed_form.as_ref().or(fit.bootstrap.as_ref()) else {
        return [None, None, None];
    };
    let interval = intervals.intervals[contributor];
    [intervals.standard_errors[contributor], interval.lower, interval.upper]
        .map(|number| number.is_finite().then_some(Cell::Number(number)))
}
