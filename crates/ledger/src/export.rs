//! Records as one table: JSON lines, CSV and Parquet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use removal::Coalition;
use serde_json::Value as Json;

use crate::publish::replace;
use crate::{Cell, Ledger, LedgerError, Record, Table, TableFormat, Value};

impl Ledger {
    /// Writes the records that `keep` wants to one file, one record's JSON a line, in order of their ids. Atomic: the
    /// file is whole or as it was. Gives the number of records.
    ///
    /// # Errors
    /// Those of [`Ledger::iter`] and of writing.
    pub fn export_jsonl(
        &self,
        path: impl AsRef<Path>,
        keep: impl Fn(&Record) -> bool,
    ) -> Result<usize, LedgerError> {
        let mut text = String::new();
        let mut count = 0;
        for record in self.iter()? {
            let record = record?;
            if keep(&record) {
                text.push_str(&record.to_text()?);
                count += 1;
            }
        }
        replace(path.as_ref(), text.as_bytes()).map(|()| count)
    }

    /// Writes the records that `keep` wants to one flat table, one record a row, in order of their ids. Atomic, as
    /// [`Ledger::export_jsonl`]. Gives the number of records.
    ///
    /// Columns: `id`, `method`, `coalition`, `remaining` and `removed` (contributor indices, separated by spaces),
    /// `parent`, `device`, `program`, `finished_unix`, then in byte order `behavior.<name>` (a vector gives
    /// `behavior.<name>.<index>`), `seconds.<stage>`, `seed.<purpose>`, `setting.<name>` (objects and lists give
    /// `setting.<name>.<key or index>`). A record without a column's value leaves it empty.
    ///
    /// # Errors
    /// Those of [`Ledger::iter`] and of [`Table::write`].
    pub fn export_table(
        &self,
        path: impl AsRef<Path>,
        format: TableFormat,
        keep: impl Fn(&Record) -> bool,
    ) -> Result<usize, LedgerError> {
        let table = self.table(keep)?;
        table.write(path, format).map(|()| table.len())
    }

    fn table(&self, keep: impl Fn(&Record) -> bool) -> Result<Table, LedgerError> {
        let mut rows = Vec::new();
        for record in self.iter()? {
            let record = record?;
            if keep(&record) {
                rows.push(row(&record));
            }
        }
        let columns: BTreeSet<Column> = rows.iter().flat_map(BTreeMap::keys).cloned().collect();
        let mut table = Table::new(columns.iter().map(Column::name).collect());
        for mut row in rows {
            table.push(columns.iter().map(|column| row.remove(column)).collect());
        }
        Ok(table)
    }
}

/// A column, in the order of the table: the fixed ones, then the named ones with numbers sorted as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Fixed(usize),
    Named(Vec<Part>),
}

/// A part of a column's dotted name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Name(String),
    Index(usize),
}

const FIXED: [&str; 9] =
    ["id", "method", "coalition", "remaining", "removed", "parent", "device", "program", "finished_unix"];

impl Column {
    fn name(&self) -> String {
        match self {
            Column::Fixed(place) => FIXED[*place].to_string(),
            Column::Named(parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Name(name) => name.clone(),
                    Part::Index(index) => index.to_string(),
                });
                parts.collect::<Vec<_>>().join(".")
            }
        }
    }
}

fn row(record: &Record) -> BTreeMap<Column, Cell> {
    let key = record.key();
    let fixed = [
        record.id().to_string(),
        key.method.clone(),
        key.coalition.to_string(),
        indices(&key.coalition),
        indices(&key.coalition.complement()),
        key.parent.clone().unwrap_or_default(),
        record.device.clone(),
        record.program.clone(),
    ];
    let mut row: BTreeMap<_, _> =
        fixed.into_iter().enumerate().map(|(place, text)| (Column::Fixed(place), Cell::Text(text))).collect();
    row.insert(Column::Fixed(FIXED.len() - 1), integer(record.times.finished_unix));
    let named = |parts: &[&str]| parts.iter().map(|part| Part::Name(part.to_string())).collect::<Vec<_>>();
    for (name, value) in &record.behaviors {
        let parts = named(&["behavior", name]);
        match value {
            Value::Scalar(number) => {
                row.insert(Column::Named(parts), Cell::Number(*number));
            }
            Value::Vector(numbers) => {
                for (index, number) in numbers.iter().enumerate() {
                    let parts = [parts.clone(), vec![Part::Index(index)]].concat();
                    row.insert(Column::Named(parts), Cell::Number(*number));
                }
            }
        }
    }
    for (stage, seconds) in &record.times.seconds {
        row.insert(Column::Named(named(&["seconds", stage])), Cell::Number(*seconds));
    }
    for (purpose, seed) in &key.seeds {
        row.insert(Column::Named(named(&["seed", purpose])), integer(*seed));
    }
    for (name, value) in &key.settings {
        flatten(named(&["setting", name]), value, &mut row);
    }
    row
}

fn flatten(parts: Vec<Part>, value: &Json, row: &mut BTreeMap<Column, Cell>) {
    let under = |part: Part| [parts.clone(), vec![part]].concat();
    match value {
        Json::Null => {}
        Json::Object(map) => {
            map.iter().for_each(|(key, value)| flatten(under(Part::Name(key.clone())), value, row));
        }
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| flatten(under(Part::Index(index)), item, row));
        }
        Json::String(text) => {
            row.insert(Column::Named(parts), Cell::Text(text.clone()));
        }
        Json::Bool(value) => {
            row.insert(Column::Named(parts), Cell::Boolean(*value));
        }
        Json::Number(number) => {
            let cell = match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Cell::Integer(integer),
                (None, Some(float)) if !number.is_u64() => Cell::Number(float),
                _ => Cell::Text(number.to_string()),
            };
            row.insert(Column::Named(parts), cell);
        }
    }
}

/// An integer; as text beyond the range of signed ones, where rounding would change it.
fn integer(number: u64) -> Cell {
    i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
}

fn indices(coalition: &Coalition) -> String {
    coalition.members().map(|member| member.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunKey;

    #[test]
    fn tables_hold_every_record() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("ledger")).unwrap();
        let key = RunKey::new("gd", Coalition::from_members(3, [0, 2]).unwrap())
            .seed("optimizer", 42)
            .setting("train", &serde_json::json!({"lr": 1e-4, "widths": [8, 16], "note": "a, \"b\""}))
            .unwrap();
        let losses: Vec<f64> = (0..11).map(|index| index as f64 / 4.0).collect();
        ledger.put(&Record::new(key).unwrap().behavior("loss", losses).seconds("unlearn", 0.5)).unwrap();
        let other = Record::new(RunKey::new("retrain", Coalition::empty(3))).unwrap();
        ledger.put(&other.behavior("entropy", 2.0)).unwrap();

        let jsonl = folder.path().join("runs.jsonl");
        assert_eq!(ledger.export_jsonl(&jsonl, |_| true).unwrap(), 2);
        let text = std::fs::read_to_string(&jsonl).unwrap();
        for (line, record) in text.lines().zip(ledger.iter().unwrap()) {
            assert_eq!(Record::from_text(line.as_bytes(), &jsonl).unwrap(), record.unwrap());
        }

        let table = folder.path().join("runs.csv");
        assert_eq!(ledger.export_table(&table, TableFormat::Csv, |_| true).unwrap(), 2);
        let mut reader = csv::Reader::from_path(&table).unwrap();
        let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_string).collect();
        assert_eq!(header[..9], FIXED);
        let place = |name: &str| header.iter().position(|column| column == name).expect(name);
        assert_eq!(place("behavior.loss.10"), place("behavior.loss.9") + 1, "{header:?}");
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let row = rows.iter().find(|row| &row[1] == "gd").unwrap();
        for (column, value) in [
            ("remaining", "0 2"),
            ("removed", "1"),
            ("behavior.loss.10", "2.5"),
            ("behavior.entropy", ""),
            ("seconds.unlearn", "0.5"),
            ("seed.optimizer", "42"),
            ("setting.train.lr", "0.0001"),
            ("setting.train.widths.1", "16"),
            ("setting.train.note", "a, \"b\""),
        ] {
            assert_eq!(&row[place(column)], value, "{column}");
        }
    }
}
