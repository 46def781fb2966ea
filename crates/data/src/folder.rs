//! Image files: a folder for each contributor, or a CSV that names files.

use crate::source::Source;
use crate::table::{Row, Table};
use crate::{DataError, pixels};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Column of a table that names the image file.
pub(crate) const FILE_COLUMN: &str = "file";

/// Reads `dir/contributor/**/*.png|jpg|jpeg`. The table has the columns `contributor` (the name of the folder below `dir`)
/// and `file` (the path below `dir`, with `/`), sorted by them.
pub(crate) fn open_folder(dir: &Path, resolution: Option<u32>) -> Result<(Table, Source), DataError> {
    let mut rows = Vec::new();
    for entry in sorted_entries(dir)? {
        if entry.hidden {
            continue;
        }
        if !entry.path.is_dir() {
            if kind(&entry.path) != Kind::Other {
                return Err(DataError::StrayImage { path: entry.path });
            }
            continue;
        }
        let mut files = Vec::new();
        collect(&entry.path, &entry.name, &mut files)?;
        if files.is_empty() {
            let reason = format!("in {}", entry.path.display());
            return Err(DataError::ContributorWithoutImages { contributor: entry.name, reason });
        }
        rows.extend(files.into_iter().map(|file| Row { line: 0, fields: vec![entry.name.clone(), file] }));
    }
    if rows.is_empty() {
        let remedy = "it needs one folder of PNG or JPEG images for each contributor".to_owned();
        return Err(DataError::NoImages { path: dir.to_owned(), remedy });
    }
    let columns = vec!["contributor".to_owned(), FILE_COLUMN.to_owned()];
    let names: Vec<String> = rows.iter().map(|row| row.fields[1].clone()).collect();
    let source = files_source(dir, names, resolution)?;
    Ok((Table { path: dir.to_owned(), columns, rows }, source))
}

/// Reads a CSV with a column `file`: paths relative to the table's folder.
pub(crate) fn open_table(path: &Path, resolution: Option<u32>) -> Result<(Table, Source), DataError> {
    let table = Table::parse(path, &fs::read(path).map_err(DataError::read(path))?)?;
    let column = table.column(FILE_COLUMN)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut lines = BTreeMap::new();
    let mut names = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let file = &row.fields[column];
        let name = inside(file).ok_or_else(|| DataError::PathEscape {
            path: path.to_owned(),
            line: row.line,
            file: file.clone(),
        })?;
        if let Some(first_line) = lines.insert(name.clone(), row.line) {
            return Err(DataError::DuplicateRow {
                path: path.to_owned(),
                line: row.line,
                first_line,
                image: format!("file {name}"),
            });
        }
        let full = dir.join(&name);
        if !full.is_file() {
            return Err(DataError::MissingFile { path: path.to_owned(), line: row.line, file: full });
        }
        names.push(name);
    }
    let source = files_source(dir, names, resolution)?;
    Ok((table, source))
}

/// The files below `dir`. Without a resolution their headers are read, and must all give the same size.
fn files_source(dir: &Path, names: Vec<String>, resolution: Option<u32>) -> Result<Source, DataError> {
    let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    let mut size = None;
    if resolution.is_none() {
        for path in &paths {
            let found = pixels::size(path)?;
            match size {
                None => size = Some(found),
                Some(first_size) if first_size != found => {
                    return Err(DataError::MixedSizes {
                        first: paths[0].clone(),
                        first_size,
                        second: path.clone(),
                        second_size: found,
                    });
                }
                Some(_) => {}
            }
        }
    }
    Ok(Source::Files { paths, names, size })
}

/// A path that stays below its folder, without `.` parts; nothing for one that does not.
fn inside(file: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(file).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

struct Entry {
    path: PathBuf,
    name: String,
    hidden: bool,
}

/// The entries of a folder by name, so that the order of images never depends on the file system.
fn sorted_entries(dir: &Path) -> Result<Vec<Entry>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(DataError::read(dir))? {
        let path = entry.map_err(DataError::read(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| DataError::Read {
            path: path.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, "the name is not UTF-8: rename it"),
        })?;
        entries.push(Entry { path, hidden: name.starts_with('.'), name });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The images below a contributor's folder, as paths below the data set.
fn collect(dir: &Path, below: &str, files: &mut Vec<String>) -> Result<(), DataError> {
    for entry in sorted_entries(dir)? {
        if entry.hidden {
            continue;
        }
        let name = format!("{below}/{}", entry.name);
        if entry.path.is_dir() {
            if entry.path.is_symlink() {
                let source = std::io::Error::new(
                    std::io::ErrorKind::InvalidInput,
                    "a link to a folder inside a contributor's folder is not followed: move the folder here",
                );
                return Err(DataError::Read { path: entry.path, source });
            }
            collect(&entry.path, &name, files)?;
            continue;
        }
        match kind(&entry.path) {
            Kind::Readable => files.push(name),
            Kind::OtherImage => return Err(DataError::UnsupportedFormat { path: entry.path }),
            Kind::Other => {}
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// PNG or JPEG by its name.
    Readable,
    /// An image that is not read: leaving it out silently would lose somebody's work.
    OtherImage,
    /// Licences, notes and the like.
    Other,
}

fn kind(path: &Path) -> Kind {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "png" | "jpg" | "jpeg" => Kind::Readable,
        "gif" | "webp" | "bmp" | "tif" | "tiff" | "avif" | "heic" | "jxl" | "svg" | "tga" | "ppm" => {
            Kind::OtherImage
        }
        _ => Kind::Other,
    }
}
