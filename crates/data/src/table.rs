//! CSV tables: columns, rows and the lines that they stand in.

use crate::{ContributorKey, DataError, Notice};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A table with one row an image.
#[derive(Debug)]
pub(crate) struct Table {
    /// Where it was read from, for messages.
    pub path: PathBuf,
    /// Column names.
    pub columns: Vec<String>,
    /// One row an image.
    pub rows: Vec<Row>,
    /// What users should hear about it.
    pub notices: Vec<Notice>,
}

/// A row of a [`Table`].
#[derive(Debug)]
pub(crate) struct Row {
    /// Line in the table, from 1; 0 where there is no table file.
    pub line: u64,
    /// One value a column.
    pub fields: Vec<String>,
}

impl Table {
    /// A table with nothing to hear about.
    pub fn new(path: PathBuf, columns: Vec<String>, rows: Vec<Row>) -> Self {
        Self { path, columns, rows, notices: Vec::new() }
    }

    /// Reads CSV text (comma separated, quoted as in RFC 4180, UTF-8, first line = column names). Spaces around names and
    /// values are dropped.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let lines = Lines { bytes };
        let headers = reader.headers().map_err(|error| csv_error(path, lines, &error))?;
        let columns: Vec<String> = headers.iter().map(str::to_owned).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = columns.iter().find(|column| !seen.insert(column.as_str())) {
            let message = format!("column `{twice}` is named twice: rename one");
            return Err(DataError::Csv { path: path.to_owned(), line: 1, message });
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| csv_error(path, lines, &error))?;
            let line = record.position().map_or(0, |position| lines.of(position));
            rows.push(Row { line, fields: record.iter().map(str::to_owned).collect() });
        }
        if rows.is_empty() {
            let remedy = "add a row for every image below the line of column names".to_owned();
            return Err(DataError::NoImages { path: path.to_owned(), remedy });
        }
        Ok(Self::new(path.to_owned(), columns, rows))
    }

    /// The place of a column.
    pub fn column(&self, name: &str) -> Result<usize, DataError> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| DataError::UnknownColumn {
            path: self.path.clone(),
            column: name.to_owned(),
            available: self.columns.join(", "),
        })
    }

    /// The values of the key columns in every row.
    pub fn key_values(&self, key: &ContributorKey) -> Result<Vec<Vec<&str>>, DataError> {
        let places: Vec<usize> =
            key.columns().iter().map(|name| self.column(name)).collect::<Result<_, _>>()?;
        let mut values = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if let Some(&empty) = places.iter().find(|&&place| row.fields[place].is_empty()) {
                let message = format!(
                    "column `{}` is empty, and it is part of the contributor key {key}: fill it in or remove the row",
                    self.columns[empty]
                );
                return Err(DataError::Csv { path: self.path.clone(), line: row.line, message });
            }
            values.push(places.iter().map(|&place| row.fields[place].as_str()).collect());
        }
        Ok(values)
    }
}

/// Finds the lines of rows. The reader places a row after the row before it, so that blank lines between them would be
/// counted too few.
#[derive(Clone, Copy)]
struct Lines<'a> {
    bytes: &'a [u8],
}

impl Lines<'_> {
    fn of(&self, position: &csv::Position) -> u64 {
        let start = (position.byte() as usize).min(self.bytes.len());
        let blank = &self.bytes[start..];
        let blank = &blank[..blank.iter().take_while(|&&byte| byte == b'\n' || byte == b'\r').count()];
        let breaks = |(at, &byte): (usize, &u8)| byte == b'\n' || blank.get(at + 1) != Some(&b'\n');
        position.line() + blank.iter().enumerate().filter(|&place| breaks(place)).count() as u64
    }
}

fn csv_error(path: &Path, lines: Lines, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, |position| lines.of(position));
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "the row has {len} fields, but the table has {expected_len} columns: complete it, and quote values that \
             hold commas"
        ),
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8: save the table as UTF-8".to_owned(),
        _ => error.to_string(),
    };
    DataError::Csv { path: path.to_owned(), line, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table, DataError> {
        Table::parse(Path::new("art.csv"), text.as_bytes())
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_columns_rows_and_lines() {
        let table = parse("\u{feff}file, contributor\n a.png ,\"Doe, Jane \"\n\nb.png,Ann\n").unwrap();
        assert_eq!(table.columns, ["file", "contributor"]);
        let key = ContributorKey::default();
        assert_eq!(table.key_values(&key).unwrap(), [["Doe, Jane"], ["Ann"]]);
        assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn lines_count_blank_lines_and_breaks_in_quotes() {
        let lines = |text: &str| parse(text).unwrap().rows.iter().map(|row| row.line).collect::<Vec<_>>();
        assert_eq!(lines("a,b\n1,2\n3,4\n"), [2, 3]);
        assert_eq!(lines("a,b\n\n\n1,2\n\n3,4"), [4, 6]);
        assert_eq!(lines("a,b\r\n1,2\r\n\r\n3,4\r\n"), [2, 4]);
        assert_eq!(lines("a,b\n1,\"two\nlines\"\n3,4\n"), [2, 4]);
    }

    #[test]
    fn faults_name_file_and_line() {
        assert_eq!(
            message("a,b\n1,2\n3\n"),
            "art.csv line 3: the row has 1 fields, but the table has 2 columns: complete it, and quote values that hold commas"
        );
        assert_eq!(message("a,a\n1,2\n"), "art.csv line 1: column `a` is named twice: rename one");
        assert!(message("a,b\n").starts_with("art.csv holds no images"));
        assert!(message("").starts_with("art.csv holds no images"));
        let error = Table::parse(Path::new("art.csv"), b"a,b\n1,2\n\xff,2\n").unwrap_err();
        assert_eq!(error.to_string(), "art.csv line 3: the text is not UTF-8: save the table as UTF-8");
    }

    #[test]
    fn keys_need_existing_filled_columns() {
        let table = parse("file,contributor\na.png,Ann\nb.png,\n").unwrap();
        let error = table.key_values(&ContributorKey::default()).unwrap_err().to_string();
        assert!(error.starts_with("art.csv line 3: column `contributor` is empty"), "{error}");
        let error = table.key_values(&"artist".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "art.csv has no column `artist`: it has file, contributor");
    }
}
