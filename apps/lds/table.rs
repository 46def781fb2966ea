//! The results for a person.

use attribution_lds::Lds;

use crate::arguments::Arguments;
use crate::evidence::Evidence;
use crate::judge::Judged;

/// The table of linear datamodel scores, one row a behaviour and number of training coalitions.
pub fn table(evidence: &Evidence, judged: &[Judged], arguments: &Arguments) -> String {
    let sets = evidence.tests.len();
    let level = format!("{:.0}% interval", 100.0 * arguments.confidence);
    let mut rows = vec![[
        "behaviour".to_owned(),
        "estimator".to_owned(),
        "coalitions".to_owned(),
        "LDS".to_owned(),
        if sets > 1 { format!("1.96 sd/sqrt({sets})") } else { String::new() },
        level,
        if arguments.bootstrapped { "bootstrapped".to_owned() } else { String::new() },
        "attainable".to_owned(),
    ]];
    for behavior in judged {
        for (size, lds) in &behavior.curve {
            let [mean, spread, interval, bootstrapped] = match lds {
                Ok(lds) => numbers(lds, arguments),
                Err(_) => ["undefined".to_owned(), String::new(), String::new(), String::new()],
            };
            let ceiling = match &behavior.ceiling {
                Some(Ok(ceiling)) => format!("{:.1}", ceiling.attainable),
                _ => String::new(),
            };
            let name = behavior.key.clone();
            rows.push([
                name,
                behavior.estimator.to_string(),
                size.to_string(),
                mean,
                spread,
                interval,
                bootstrapped,
                ceiling,
            ]);
        }
    }
    aligned(&rows)
}

fn numbers(lds: &Lds, arguments: &Arguments) -> [String; 4] {
    let bootstrapped = match (lds.bootstrapped.mean, lds.bootstrapped.standard_error) {
        (Some(mean), Some(error)) if arguments.bootstrapped => format!("{mean:.2} +- {:.2}", 1.96 * error),
        _ => String::new(),
    };
    [
        format!("{:.2}", lds.mean),
        lds.half_width.map_or_else(String::new, |half_width| format!("+- {half_width:.2}")),
        format!("{:.1} to {:.1}", lds.interval.lower, lds.interval.upper),
        bootstrapped,
    ]
}

/// Columns of equal width, those without content left out.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let filled = rows.iter().skip(1).any(|row| !row[column].is_empty());
            let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            if filled { widest } else { 0 }
        })
        .collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).filter(|(_, width)| **width > 0);
        cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect::<Vec<_>>()
            .join("  ")
            .trim_end()
            .to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_columns_are_left_out() {
        let rows = [["a", "unused", "long name"], ["bcd", "", "1"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "a    long name\nbcd  1");
    }
}
