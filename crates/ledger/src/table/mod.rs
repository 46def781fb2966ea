//! Tables for other programs: CSV, JSON lines and Parquet.

mod parquet;

use std::path::Path;

use crate::LedgerError;
use crate::publish::replace;

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// An integer.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

/// File formats of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// A header and one row a line; empty fields where a row has no value.
    Csv,
    /// One JSON object a line, without the columns in which the row has no value.
    Jsonl,
    /// Apache Parquet, uncompressed, one row group. A column is INT64, DOUBLE or BOOLEAN if all of its values are, else text.
    Parquet,
}

impl TableFormat {
    /// The format that a file's name asks for by its end: `.csv`, `.jsonl` or `.parquet`.
    pub fn of_path(path: &Path) -> Option<TableFormat> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(TableFormat::Csv),
            "jsonl" | "ndjson" => Some(TableFormat::Jsonl),
            "parquet" => Some(TableFormat::Parquet),
            _ => None,
        }
    }
}

/// Named columns and rows that may lack values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<Option<Cell>>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new(names: Vec<String>) -> Table {
        Table { names, rows: Vec::new() }
    }

    /// Adds a row. Values beyond the last column are dropped, missing ones at the end are none.
    pub fn push(&mut self, mut row: Vec<Option<Cell>>) {
        row.resize(self.names.len(), None);
        self.rows.push(row);
    }

    /// The columns' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<Option<Cell>>] {
        &self.rows
    }

    /// Writes the table to a file. Atomic: the file is whole or as it was.
    ///
    /// # Errors
    /// [`LedgerError::DiskFull`], [`LedgerError::NotWritable`] or [`LedgerError::Io`];
    /// [`LedgerError::TableTooLarge`] for a column of more than 2 GiB in Parquet.
    pub fn write(&self, path: impl AsRef<Path>, format: TableFormat) -> Result<(), LedgerError> {
        let path = path.as_ref();
        let bytes = match format {
            TableFormat::Csv => self.csv(path)?,
            TableFormat::Jsonl => self.jsonl()?.into_bytes(),
            TableFormat::Parquet => {
                parquet::bytes(self).ok_or_else(|| LedgerError::TableTooLarge { path: path.to_owned() })?
            }
        };
        replace(path, &bytes)
    }

    fn csv(&self, path: &Path) -> Result<Vec<u8>, LedgerError> {
        let unwritable = |error: csv::Error| LedgerError::io("write", path, std::io::Error::other(error));
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(&self.names).map_err(unwritable)?;
        for row in &self.rows {
            let fields = row.iter().map(|cell| cell.as_ref().map_or_else(String::new, Cell::to_text));
            writer.write_record(fields).map_err(unwritable)?;
        }
        writer.into_inner().map_err(|error| unwritable(error.into_error().into()))
    }

    fn jsonl(&self) -> Result<String, LedgerError> {
        let mut text = String::new();
        for row in &self.rows {
            // Written by hand, so that the columns keep their order.
            let fields = self.names.iter().zip(row).filter_map(|(name, cell)| {
                Some(format!("{}:{}", serde_json::Value::from(name.as_str()), cell.as_ref()?.to_json()))
            });
            text.push_str(&format!("{{{}}}\n", fields.collect::<Vec<_>>().join(",")));
        }
        Ok(text)
    }
}

impl Cell {
    /// As a field of a CSV.
    fn to_text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Integer(number) => number.to_string(),
            Cell::Boolean(value) => value.to_string(),
        }
    }

    /// As JSON; an infinite number or NaN is `null`.
    fn to_json(&self) -> serde_json::Value {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Number(number) => (*number).into(),
            Cell::Integer(number) => (*number).into(),
            Cell::Boolean(value) => (*value).into(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of column, gaps, and more rows than a run of eight.
    pub(super) fn sample() -> Table {
        let names = ["name", "value", "count", "shown", "mixed", "never"];
        let mut table = Table::new(names.map(str::to_owned).to_vec());
        for row in 0..19i64 {
            let value = (row % 3 != 1).then(|| Cell::Number(row as f64 / 8.0 - 1.0));
            let mixed = if row == 4 { Cell::Text("four".into()) } else { Cell::Integer(row) };
            table.push(vec![
                Some(Cell::Text(format!("näme, \"{row}\""))),
                value,
                Some(Cell::Integer(row * row - (1 << 40))),
                (row > 2).then_some(Cell::Boolean(row % 2 == 0)),
                Some(mixed),
            ]);
        }
        table
    }

    #[test]
    fn text_formats() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::new(vec!["b".into(), "a".into()]);
        table.push(vec![Some("x, \"y\"".into()), Some(Cell::Number(0.1))]);
        table.push(vec![None, Some(Cell::Integer(-3))]);
        table.push(vec![Some(Cell::Boolean(true))]);
        let written = |name: &str| {
            let path = folder.path().join(name);
            table.write(&path, TableFormat::of_path(&path).unwrap()).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(written("t.csv"), "b,a\n\"x, \"\"y\"\"\",0.1\n,-3\ntrue,\n");
        assert_eq!(written("t.jsonl"), "{\"b\":\"x, \\\"y\\\"\",\"a\":0.1}\n{\"a\":-3}\n{\"b\":true}\n");
        assert_eq!(TableFormat::of_path(Path::new("t.txt")), None);
        assert_eq!(TableFormat::of_path(Path::new("t.PARQUET")), Some(TableFormat::Parquet));
    }

    #[test]
    fn nothing_half_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        sample().write(&path, TableFormat::Parquet).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["t.parquet"]);
        let gone = folder.path().join("gone/t.csv");
        let message = sample().write(&gone, TableFormat::Csv).unwrap_err().to_string();
        assert!(message.contains("gone"), "{message}");
    }
}
