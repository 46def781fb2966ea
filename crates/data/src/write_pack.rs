//! Writing packs.

use crate::grid::encode;
use crate::pack::{DESCRIPTION_FILE, PackDescription};
use crate::{DataError, Dataset};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Tiles a row of a sheet.
const COLUMNS: usize = 44;
/// Most bytes of a sheet's pixels, as many as are read back.
const MAX_SHEET: usize = 1 << 29;

/// What a pack says about its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackNotice {
    /// Name of the pack and of its files.
    pub name: String,
    /// Licence of the images (SPDX expression where there is one).
    pub licence: String,
    /// Whom to credit wherever images of the pack are shown.
    pub credit: String,
    /// Where the images come from and how the pack was made.
    pub origin: String,
}

impl Dataset {
    /// Writes the images at their current size as a pack into the new folder `dir`: `name.png`, `name.csv` and `pack.toml`.
    ///
    /// The table keeps its columns; a column `index` becomes `source_index`, since `index` is the number of the tile. The
    /// pack is read back and compared before `dir` appears.
    ///
    /// # Errors
    /// [`DataError::NotPackable`] for images that are not square, a sheet that would be too large, a name that is no file
    /// name, a folder that exists, and values that a table does not keep; [`DataError::Write`].
    pub fn write_pack(&self, dir: &Path, notice: &PackNotice) -> Result<(), DataError> {
        let refused = |reason: String| DataError::NotPackable { reason };
        let (tile, height) = self.size();
        if tile != height {
            return Err(refused(format!(
                "they have {tile} x {height} pixels, and tiles are square: give a size"
            )));
        }
        let plain = notice.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !plain || notice.name.is_empty() || notice.name.starts_with('.') {
            return Err(refused(format!(
                "{:?} is no name for its files: use letters, digits, - and _",
                notice.name
            )));
        }
        if dir.exists() {
            return Err(refused(format!(
                "{} exists already: name another folder, or remove it",
                dir.display()
            )));
        }
        let name = dir.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| refused(format!("{} is no name of a folder", dir.display())))?;
        let partial = dir.with_file_name(format!(".{name}.partial"));
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Write { path, source }
        };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(write(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(write(&partial))?;
        let written = self.write_files(&partial, notice).and_then(|()| self.check_pack(&partial));
        match written {
            Ok(()) => fs::rename(&partial, dir).map_err(write(dir)),
            Err(error) => {
                // The first error is the one to tell.
                let _ = fs::remove_dir_all(&partial);
                Err(error)
            }
        }
    }

    fn write_files(&self, dir: &Path, notice: &PackNotice) -> Result<(), DataError> {
        let columns = COLUMNS.min(self.len());
        let description = PackDescription {
            name: notice.name.clone(),
            sheet: format!("{}.png", notice.name),
            table: format!("{}.csv", notice.name),
            tile: self.size().0,
            columns: columns as u32,
            licence: notice.licence.clone(),
            credit: notice.credit.clone(),
            origin: notice.origin.clone(),
        };
        let toml = toml::to_string(&description)
            .map_err(|error| DataError::NotPackable { reason: error.to_string() })?;
        for (file, content) in [
            (description.sheet, self.sheet(columns)?),
            (description.table, self.csv()?),
            (DESCRIPTION_FILE.to_owned(), toml.into_bytes()),
        ] {
            let path = dir.join(file);
            fs::write(&path, content).map_err(|source| DataError::Write { path, source })?;
        }
        Ok(())
    }

    /// The PNG sheet; white where there is no image.
    fn sheet(&self, columns: usize) -> Result<Vec<u8>, DataError> {
        let tile = self.size().0 as usize;
        let (width, height) = (tile * columns, tile * self.len().div_ceil(columns));
        let bytes = width
            .checked_mul(height)
            .and_then(|pixels| pixels.checked_mul(3))
            .filter(|&bytes| bytes <= MAX_SHEET);
        let bytes = bytes.ok_or_else(|| DataError::NotPackable {
            reason: format!(
                "their sheet would have {width} x {height} pixels, more than {MAX_SHEET} bytes: choose a smaller size or fewer images, \
                 or train from the files"
            ),
        })?;
        let mut sheet = vec![255; bytes];
        for image in 0..self.len() {
            let (left, top) = (image % columns * tile, image / columns * tile);
            for (row, pixels) in self.image(image)?.chunks_exact(3 * tile).enumerate() {
                let start = 3 * ((top + row) * width + left);
                sheet[start..start + pixels.len()].copy_from_slice(pixels);
            }
        }
        encode(&sheet, width as u32, height as u32)
    }

    fn csv(&self) -> Result<Vec<u8>, DataError> {
        let failed = |error: csv::Error| DataError::NotPackable { reason: error.to_string() };
        let mut taken: BTreeSet<&str> = self.columns().iter().map(String::as_str).collect();
        taken.insert("index");
        let mut source_index = "source_index".to_owned();
        while taken.contains(source_index.as_str()) {
            source_index.push('_');
        }
        let renamed =
            self.columns().iter().map(|column| if column == "index" { &source_index } else { column });
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(std::iter::once("index").chain(renamed.map(String::as_str))).map_err(failed)?;
        for (index, &row) in self.rows.iter().enumerate() {
            let index = index.to_string();
            let fields = self.table.rows[row].fields.iter().map(String::as_str);
            writer.write_record(std::iter::once(index.as_str()).chain(fields)).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| DataError::NotPackable { reason: error.to_string() })
    }

    /// Whether the pack in `dir` has the same images by the same contributors.
    fn check_pack(&self, dir: &Path) -> Result<(), DataError> {
        let pack = Self::open_pack(dir, self.key())?;
        if pack.contributors() != self.contributors() {
            let same = |(own, read): (&crate::Contributor, &crate::Contributor)| own != read;
            let changed = self.contributors().iter().zip(pack.contributors()).find(|pair| same(*pair));
            let name = changed.map_or("", |(own, _)| own.name.as_str());
            return Err(DataError::NotPackable {
                reason: format!(
                    "a table does not keep the contributor {name:?} (spaces at the ends of names are lost): rename it"
                ),
            });
        }
        for image in 0..self.len() {
            if pack.image(image)? != self.image(image)? {
                return Err(DataError::NotPackable {
                    reason: format!("image {image} was not read back as it is"),
                });
            }
        }
        Ok(())
    }
}
