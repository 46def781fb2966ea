//! Packs: a PNG sheet of square tiles and a CSV table with one row a tile.

use crate::source::Source;
use crate::table::Table;
use crate::{DataError, pixels};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Tiles a row where nothing says otherwise.
const DEFAULT_COLUMNS: u32 = 44;
/// Name of a pack's description.
pub(crate) const DESCRIPTION_FILE: &str = "pack.toml";

/// `pack.toml`: what a pack consists of, and whom to thank for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackDescription {
    /// Name of the pack.
    pub name: String,
    /// File name of the PNG sheet, beside this file.
    pub sheet: String,
    /// File name of the CSV table, beside this file.
    pub table: String,
    /// Side of a tile in pixels.
    pub tile: u32,
    /// Tiles a row of the sheet.
    pub columns: u32,
    /// Licence of the images (SPDX expression where there is one).
    pub licence: String,
    /// Whom to credit wherever images of the pack are shown.
    pub credit: String,
    /// Where the images come from and how the pack was made.
    pub origin: String,
}

/// Tile size and tiles a row, where they are given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    pub tile: Option<u32>,
    pub columns: Option<u32>,
}

/// Opens the pack at `path`: its folder, its `pack.toml`, its CSV or its PNG.
pub(crate) fn open(
    path: &Path,
    layout: Layout,
) -> Result<(Table, Source, Option<PackDescription>), DataError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    let (table, sheet, description) = match extension.to_ascii_lowercase().as_str() {
        "csv" | "png" => {
            let (table, sheet) = (path.with_extension("csv"), path.with_extension("png"));
            let description = sibling_description(path, &table, &sheet)?;
            (table, sheet, description)
        }
        _ => {
            let file = if path.is_dir() { path.join(DESCRIPTION_FILE) } else { path.to_owned() };
            if file.file_name().is_none_or(|name| name != DESCRIPTION_FILE) || !file.is_file() {
                return Err(DataError::NotADataset { path: path.to_owned() });
            }
            let description = read_description(&file)?;
            let (table, sheet) =
                (file.with_file_name(&description.table), file.with_file_name(&description.sheet));
            (table, sheet, Some(description))
        }
    };
    let layout = match (&description, layout) {
        (Some(described), Layout { tile: None, columns: None }) => {
            Layout { tile: Some(described.tile), columns: Some(described.columns) }
        }
        _ => layout,
    };
    let (table, source) = open_files(&table, &sheet, layout)?;
    Ok((table, source, description))
}

/// The description in the folder of a CSV or PNG, if it is about that pack.
fn sibling_description(
    path: &Path,
    table: &Path,
    sheet: &Path,
) -> Result<Option<PackDescription>, DataError> {
    let file = path.with_file_name(DESCRIPTION_FILE);
    if !file.is_file() {
        return Ok(None);
    }
    let description = read_description(&file)?;
    let same =
        file.with_file_name(&description.table) == table && file.with_file_name(&description.sheet) == sheet;
    Ok(same.then_some(description))
}

fn read_description(file: &Path) -> Result<PackDescription, DataError> {
    let text = fs::read_to_string(file).map_err(DataError::read(file))?;
    let wrong = |message: String| DataError::Description { path: file.to_owned(), message };
    let description: PackDescription = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    for (key, name) in [("sheet", &description.sheet), ("table", &description.table)] {
        if Path::new(name).file_name().is_none_or(|plain| plain != name.as_str()) {
            return Err(wrong(format!("{key} = {name:?} is not the name of a file beside it")));
        }
    }
    Ok(description)
}

fn open_files(table_path: &Path, sheet_path: &Path, layout: Layout) -> Result<(Table, Source), DataError> {
    let table_bytes = fs::read(table_path).map_err(DataError::read(table_path))?;
    let sheet_bytes = fs::read(sheet_path).map_err(DataError::read(sheet_path))?;
    let table = Table::parse(table_path, &table_bytes)?;
    let (sheet, traits) = pixels::decode(sheet_path, &sheet_bytes)?;
    let (width, height) = sheet.dimensions();
    let (tile, columns) = grid(sheet_path, width, height, layout)?;
    let tiles = tiles_of_rows(&table, sheet_path, u64::from(columns) * u64::from(height / tile))?;

    let mut hash = Sha256::new();
    hash.update(b"pack");
    for part in [&table_bytes, &sheet_bytes] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(tile.to_le_bytes());
    hash.update(columns.to_le_bytes());
    let (path, hash) = (sheet_path.display().to_string(), hash.finalize().into());
    Ok((table, Source::Sheet { sheet, traits, path, tile, columns, tiles, hash }))
}

/// Tile side and tiles a row of a sheet.
fn grid(path: &Path, width: u32, height: u32, layout: Layout) -> Result<(u32, u32), DataError> {
    let wrong = |columns: u32, remedy: String| DataError::Sheet {
        path: path.to_owned(),
        width,
        height,
        columns,
        remedy,
    };
    let (tile, columns) = match layout {
        Layout { tile: Some(0), .. } | Layout { columns: Some(0), .. } => {
            return Err(wrong(0, "tile size and columns must be at least 1".to_owned()));
        }
        Layout { tile: Some(tile), columns: Some(columns) } => (tile, columns),
        Layout { tile: Some(tile), columns: None } => (tile, width / tile),
        Layout { tile: None, columns } => {
            let columns = columns.unwrap_or(DEFAULT_COLUMNS);
            (width / columns, columns)
        }
    };
    if tile == 0 || u64::from(tile) * u64::from(columns) != u64::from(width) || !height.is_multiple_of(tile) {
        return Err(wrong(
            columns,
            format!(
                "width must be tile x columns (given: tile {tile}) and height a multiple of tile; set `tile` or `columns`"
            ),
        ));
    }
    Ok((tile, columns))
}

/// The tile of every row: its `index` column where there is one, otherwise the row's place.
fn tiles_of_rows(table: &Table, sheet: &Path, tiles: u64) -> Result<Vec<u32>, DataError> {
    let index_column = table.columns.iter().position(|column| column == "index");
    let mut lines = BTreeMap::new();
    let mut answer = Vec::with_capacity(table.rows.len());
    for (place, row) in table.rows.iter().enumerate() {
        let path = || -> PathBuf { table.path.clone() };
        let tile = match index_column {
            None => place as u64,
            Some(column) => row.fields[column].parse().map_err(|_| DataError::Csv {
                path: path(),
                line: row.line,
                message: format!("index {:?} is not the number of a tile (0, 1, 2, ...)", row.fields[column]),
            })?,
        };
        if let Some(first_line) = lines.insert(tile, row.line) {
            return Err(DataError::DuplicateRow {
                path: path(),
                line: row.line,
                first_line,
                image: format!("tile {tile}"),
            });
        }
        let small = u32::try_from(tile).ok().filter(|_| tile < tiles);
        let missing =
            || DataError::MissingTile { path: path(), line: row.line, tile, sheet: sheet.to_owned(), tiles };
        answer.push(small.ok_or_else(missing)?);
    }
    Ok(answer)
}
