//! A scan for people and for spreadsheets.

use std::fmt::Write;

use study::ScanRow;

/// One line a ratio, in columns.
pub fn text(rows: &[ScanRow]) -> String {
    let mut text = format!(
        "{:>5}  {:>8}  {:>12}  {:>5}  {:>15}  {:>5}  {:>12}  {:>12}\n",
        "ratio", "loss", "parameters", "left", "MACs", "left", "whole groups", "ms a step"
    );
    for row in rows {
        let step = row.step_seconds.map_or_else(|| "-".to_owned(), |s| format!("{:.1}", s * 1e3));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>5}  {:>8.4}  {:>12}  {:>4.0}%  {:>15}  {:>4.0}%  {:>12}  {:>12}",
            row.ratio,
            row.loss,
            row.parameters,
            100.0 * row.parameters_left,
            row.macs,
            100.0 * row.macs_left,
            row.whole_groups,
            step
        );
    }
    text
}

/// The rows as CSV, with the names of the JSON's keys.
pub fn csv(rows: &[ScanRow]) -> String {
    let mut text =
        String::from("ratio,loss,parameters,macs,parameters_left,macs_left,whole_groups,step_seconds\n");
    for row in rows {
        let step = row.step_seconds.map_or_else(String::new, |s| s.to_string());
        let ScanRow { ratio, loss, parameters, macs, parameters_left, macs_left, whole_groups, .. } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{ratio},{loss},{parameters},{macs},{parameters_left},{macs_left},{whole_groups},{step}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_line() {
        let row = ScanRow {
            ratio: 0.3,
            loss: 1.25,
            parameters: 60,
            macs: 500,
            parameters_left: 0.6,
            macs_left: 0.5,
            whole_groups: 2,
            step_seconds: Some(0.0125),
        };
        let rows = [ScanRow { step_seconds: None, ratio: 0.0, ..row.clone() }, row];
        assert_eq!(
            csv(&rows),
            "ratio,loss,parameters,macs,parameters_left,macs_left,whole_groups,step_seconds\n\
             0,1.25,60,500,0.6,0.5,2,\n0.3,1.25,60,500,0.6,0.5,2,0.0125\n"
        );
        let text = text(&rows);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["0", "1.2500", "60", "60%", "500", "50%", "2", "-"]);
        assert_eq!(words[2], ["0.3", "1.2500", "60", "60%", "500", "50%", "2", "12.5"]);
    }
}
