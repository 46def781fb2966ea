//! Image files: a folder for each contributor, or a CSV that names files.

use crate::DataError;
use crate::encoded::Encoded;
use crate::source::Source;
use crate::table::{Row, Table};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Column of a table that names the image file.
pub(crate) const FILE_COLUMN: &str = "file";
/// Its name in the `metadata.csv` of Hugging Face's image folders.
const HUGGING_FACE_FILE_COLUMN: &str = "file_name";

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
    Ok((Table::new(dir.to_owned(), columns, rows), source))
}

/// Reads a CSV with a column `file` or, without one, `file_name`: paths relative to the table's folder.
pub(crate) fn open_table(path: &Path, resolution: Option<u32>) -> Result<(Table, Source), DataError> {
    let table = Table::parse(path, &fs::read(path).map_err(DataError::read(path))?)?;
    let column = table
        .column(FILE_COLUMN)
        .or_else(|error| table.column(HUGGING_FACE_FILE_COLUMN).map_err(|_| error))?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut root = Root::new(dir)?;
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
        if root.is_left_by(&full) {
            return Err(DataError::PathEscape { path: path.to_owned(), line: row.line, file: file.clone() });
        }
        names.push(name);
    }
    let source = files_source(dir, names, resolution)?;
    Ok((table, source))
}

/// The files below `dir`.
pub(crate) fn files_source(
    dir: &Path,
    names: Vec<String>,
    resolution: Option<u32>,
) -> Result<Source, DataError> {
    let paths = names.iter().map(|name| dir.join(name)).collect();
    Source::encoded(Encoded::Files { paths, names }, resolution)
}

/// A path that stays below its folder, without `.` parts; nothing for one that does not.
pub(crate) fn inside(file: &str) -> Option<String> {
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

/// The folder that files must stay in, whatever links there are.
struct Root {
    folder: PathBuf,
    /// Whether folders met so far lie in it.
    inside: BTreeMap<PathBuf, bool>,
}

impl Root {
    fn new(dir: &Path) -> Result<Self, DataError> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let folder = dir.canonicalize().map_err(DataError::read(dir))?;
        Ok(Self { folder, inside: BTreeMap::new() })
    }

    fn contains(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| path.starts_with(&self.folder))
    }

    /// Whether links lead an existing file out of the folder.
    fn is_left_by(&mut self, file: &Path) -> bool {
        let folder = file.parent().unwrap_or(file);
        let inside = match self.inside.get(folder) {
            Some(&inside) => inside,
            None => {
                let inside = folder.as_os_str().is_empty() || self.contains(folder);
                self.inside.insert(folder.to_owned(), inside);
                inside
            }
        };
        !inside || (file.is_symlink() && !self.contains(file))
    }
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

/// The images below a folder, as paths that begin with `below`.
pub(crate) fn collect(dir: &Path, below: &str, files: &mut Vec<String>) -> Result<(), DataError> {
    for entry in sorted_entries(dir)? {
        if entry.hidden {
            continue;
        }
        let name = if below.is_empty() { entry.name } else { format!("{below}/{}", entry.name) };
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
            Kind::Readable => {
                check_regular(&entry.path)?;
                files.push(name);
            }
            Kind::OtherImage => return Err(DataError::UnsupportedFormat { path: entry.path }),
            Kind::Other => {}
        }
    }
    Ok(())
}

/// Refuses what has the name of an image and is none: reading a pipe waits for ever, and a device need not end.
fn check_regular(path: &Path) -> Result<(), DataError> {
    if fs::metadata(path).map_err(DataError::read(path))?.is_file() {
        return Ok(());
    }
    let source = std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        "it is a pipe, a socket or a device: put an image in its place, or remove it",
    );
    Err(DataError::Read { path: path.to_owned(), source })
}

#[derive(PartialEq, Eq)]
pub(crate) enum Kind {
    /// PNG or JPEG by its name.
    Readable,
    /// An image that is not read: leaving it out silently would lose somebody's work.
    OtherImage,
    /// Licences, notes and the like.
    Other,
}

/// What a file is by its name.
pub(crate) fn kind(path: &Path) -> Kind {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "png" | "jpg" | "jpeg" => Kind::Readable,
        "gif" | "webp" | "bmp" | "tif" | "tiff" | "avif" | "heic" | "jxl" | "svg" | "tga" | "ppm" => {
            Kind::OtherImage
        }
        _ => Kind::Other,
    }
}
