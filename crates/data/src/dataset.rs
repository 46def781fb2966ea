//! A data set: images with their contributors.

use crate::cache::{DEFAULT_BUDGET, PixelCache};
use crate::folder;
use crate::pack::{self, Layout, PackDescription};
use crate::source::Source;
use crate::table::{Row, Table};
use crate::{Channels, ContributorKey, DataError, DataFormat, Latents, Notice, Resize, Split, View, readers};
use image::RgbImage;
use rayon::prelude::*;
use removal::Coalition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use streams::Streams;

/// Somebody who supplied images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contributor {
    /// The values of the key columns, joined with " / ".
    pub name: String,
    /// Numbers of the contributor's images in the data set, ascending.
    pub images: Vec<usize>,
}

/// How to open a data set whose kind is not known beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenOptions {
    /// Columns that make a contributor.
    pub key: ContributorKey,
    /// Side to which images are cropped and resized; needed where files differ in size.
    pub resolution: Option<u32>,
    /// Side of a pack's tiles, where neither `pack.toml` nor the usual 44 columns say it.
    pub tile: Option<u32>,
    /// Tiles a row of a pack's sheet.
    pub columns: Option<u32>,
    /// What it is; found out when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// Lines `name id` that say who is in each image of a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identities: Option<PathBuf>,
    /// How images become smaller or larger.
    pub resize: Resize,
    /// Whether networks see grey or colour.
    #[serde(skip_serializing_if = "Channels::is_rgb")]
    pub channels: Channels,
    /// Most bytes of pixels that are kept in memory, 512 MiB when left out; images beyond are read at each use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<u64>,
}

/// How the images of a table become pixels.
#[derive(Debug, Clone, Copy)]
struct Pixels {
    resolution: Option<u32>,
    resize: Resize,
    channels: Channels,
    cache_bytes: u64,
}

impl Pixels {
    fn at(resolution: Option<u32>) -> Self {
        Self {
            resolution,
            resize: Resize::default(),
            channels: Channels::default(),
            cache_bytes: DEFAULT_BUDGET,
        }
    }

    fn of(options: &OpenOptions) -> Self {
        let cache_bytes = options.cache_bytes.unwrap_or(DEFAULT_BUDGET);
        Self {
            resolution: options.resolution,
            resize: options.resize,
            channels: options.channels,
            cache_bytes,
        }
    }
}

/// Images, numbered from 0 in the order of their table, with the contributors who supplied them, sorted by name.
///
/// A data set is cheap to clone, and so are selections of it: all share one table and one cache of pixels. Sheets are
/// decoded when opened; files are read when first used, and kept as 8-bit RGB up to a limit, beyond which they are read
/// at each use. The rules for colours and sizes are those of [the crate](crate#pixels).
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(crate) table: Arc<Table>,
    pixels: Arc<PixelCache>,
    description: Option<Arc<PackDescription>>,
    key: ContributorKey,
    /// Table row of every image.
    pub(crate) rows: Arc<[usize]>,
    /// Contributor of every image.
    owners: Arc<[usize]>,
    contributors: Arc<[Contributor]>,
    hash: Arc<OnceLock<String>>,
    /// What batches hold in place of pixels.
    latents: Option<Latents>,
}

impl Dataset {
    /// Opens a pack (its folder with `pack.toml`, its CSV or its PNG), a CSV with a `file` column, any other
    /// [`DataFormat`], or a folder of contributors' folders.
    ///
    /// # Errors
    /// Those of [`Dataset::open_pack`], [`Dataset::open_table`] and [`Dataset::open_folder`]; files of a format that are
    /// not what they should be, and [`DataError::NotInFormat`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, DataError> {
        let path = path.as_ref();
        let pixels = Pixels::of(options);
        if let Some((table, source)) = readers::open(path, options)? {
            return Self::build(table, source, None, &options.key, pixels);
        }
        if let Some(format) = options.format {
            return Err(DataError::NotInFormat { path: path.to_owned(), format });
        }
        let layout = Layout { tile: options.tile, columns: options.columns };
        if path.is_dir() && !path.join(pack::DESCRIPTION_FILE).is_file() {
            let (table, source) = folder::open_folder(path, options.resolution)?;
            return Self::build(table, source, None, &options.key, pixels);
        }
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv && !path.with_extension("png").is_file() {
            let (table, source) = folder::open_table(path, options.resolution)?;
            return Self::build(table, source, None, &options.key, pixels);
        }
        if !path.exists() {
            return Err(DataError::NotADataset { path: path.to_owned() });
        }
        let (table, source, description) = pack::open(path, layout)?;
        Self::build(table, source, description, &options.key, pixels)
    }

    /// Opens a pack: its folder with `pack.toml`, its CSV or its PNG. A CSV and PNG without a `pack.toml` have 44 tiles a
    /// row. The column `index` of the table, where it has one, is the number of the tile; otherwise row k is tile k.
    ///
    /// # Errors
    /// Files that cannot be read or decoded, a table with faulty or repeated rows or rows without a tile, a key column that
    /// does not exist or is empty somewhere, and fewer than two contributors.
    pub fn open_pack(path: impl AsRef<Path>, key: &ContributorKey) -> Result<Self, DataError> {
        let (table, source, description) = pack::open(path.as_ref(), Layout::default())?;
        Self::build(table, source, description, key, Pixels::at(None))
    }

    /// Opens `dir/contributor/**/*.png|jpg|jpeg`: each folder below `dir` is a contributor (column `contributor`). Hidden
    /// files and files that are no images are ignored.
    ///
    /// With a `resolution` nothing but the names is read yet; without one, the headers are, since all images must have one
    /// size.
    ///
    /// # Errors
    /// Unreadable folders, images of other formats, images outside of a contributor's folder, contributors without images,
    /// fewer than two contributors, and different sizes when `resolution` is not given.
    pub fn open_folder(
        dir: impl AsRef<Path>,
        key: &ContributorKey,
        resolution: Option<u32>,
    ) -> Result<Self, DataError> {
        let (table, source) = folder::open_folder(dir.as_ref(), resolution)?;
        Self::build(table, source, None, key, Pixels::at(resolution))
    }

    /// Opens a CSV whose column `file` names an image in each row, relative to the table's folder and below it.
    ///
    /// # Errors
    /// Faulty or repeated rows, rows without a file or whose path leads elsewhere, key columns that do not exist or are
    /// empty somewhere, fewer than two contributors, and different sizes when `resolution` is not given.
    pub fn open_table(
        path: impl AsRef<Path>,
        key: &ContributorKey,
        resolution: Option<u32>,
    ) -> Result<Self, DataError> {
        let (table, source) = folder::open_table(path.as_ref(), resolution)?;
        Self::build(table, source, None, key, Pixels::at(resolution))
    }

    /// A data set of images in memory: pairs of contributor and 8-bit RGB pixels `[height, width, 3]`.
    ///
    /// # Errors
    /// Pixels that are not `3 * width * height` bytes, no images, or fewer than two contributors.
    pub fn from_images(
        (width, height): (u32, u32),
        images: impl IntoIterator<Item = (impl Into<String>, Vec<u8>)>,
    ) -> Result<Self, DataError> {
        let expected = 3 * width as usize * height as usize;
        let (mut rows, mut decoded) = (Vec::new(), Vec::new());
        for (index, (contributor, bytes)) in images.into_iter().enumerate() {
            let found = bytes.len();
            let image =
                RgbImage::from_raw(width, height, bytes).filter(|_| found == expected && expected > 0);
            decoded.push(image.ok_or(DataError::PixelCount { index, found, expected, width, height })?);
            rows.push(Row { line: 0, fields: vec![contributor.into()] });
        }
        let path = PathBuf::from("(images in memory)");
        if rows.is_empty() {
            return Err(DataError::NoImages { path, remedy: "give some".to_owned() });
        }
        let table = Table::new(path, vec!["contributor".to_owned()], rows);
        let source = Source::Memory { images: decoded, size: (width, height) };
        Self::build(table, source, None, &ContributorKey::default(), Pixels::at(None))
    }

    fn build(
        table: Table,
        source: Source,
        description: Option<PackDescription>,
        key: &ContributorKey,
        Pixels { resolution, resize, channels, cache_bytes }: Pixels,
    ) -> Result<Self, DataError> {
        let rows = table.rows.len();
        let pixels = PixelCache::new(Arc::new(source), resolution, resize, channels, cache_bytes, rows)?;
        let rows: Vec<usize> = (0..table.rows.len()).collect();
        Self::group(Arc::new(table), Arc::new(pixels), description.map(Arc::new), key.clone(), rows)
    }

    /// Groups rows by contributor.
    fn group(
        table: Arc<Table>,
        pixels: Arc<PixelCache>,
        description: Option<Arc<PackDescription>>,
        key: ContributorKey,
        rows: Vec<usize>,
    ) -> Result<Self, DataError> {
        let values = table.key_values(&key)?;
        let mut groups: BTreeMap<String, (&[&str], Vec<usize>)> = BTreeMap::new();
        for (image, &row) in rows.iter().enumerate() {
            let name = ContributorKey::name(&values[row]);
            let (of, images) = groups.entry(name.clone()).or_insert((&values[row], Vec::new()));
            if *of != values[row].as_slice() {
                return Err(DataError::AmbiguousName {
                    path: table.path.clone(),
                    name,
                    key: key.to_string(),
                });
            }
            images.push(image);
        }
        let contributors: Arc<[Contributor]> =
            groups.into_iter().map(|(name, (_, images))| Contributor { name, images }).collect();
        if let [only] = &*contributors {
            let contributor = only.name.clone();
            return Err(DataError::OneContributor {
                path: table.path.clone(),
                contributor,
                key: key.to_string(),
            });
        }
        let mut owners = vec![0; rows.len()];
        for (contributor, Contributor { images, .. }) in contributors.iter().enumerate() {
            images.iter().for_each(|&image| owners[image] = contributor);
        }
        let (rows, owners) = (rows.into(), owners.into());
        let hash = Arc::default();
        Ok(Self { table, pixels, description, key, rows, owners, contributors, hash, latents: None })
    }

    /// The data set with the given images only, numbered anew.
    pub(crate) fn keep(&self, images: impl IntoIterator<Item = usize>) -> Result<Self, DataError> {
        Self::group(
            Arc::clone(&self.table),
            Arc::clone(&self.pixels),
            self.description.clone(),
            self.key.clone(),
            images.into_iter().map(|image| self.rows[image]).collect(),
        )
    }

    /// The data set with every image cropped to its central square and resized to `resolution` pixels a side.
    ///
    /// # Errors
    /// [`DataError::Resolution`] for 0 and for more than 4096.
    pub fn resized(&self, resolution: u32) -> Result<Self, DataError> {
        let pixels = self.pixels.resized(resolution)?;
        Ok(Self { pixels: Arc::new(pixels), hash: Arc::default(), latents: None, ..self.clone() })
    }

    /// The data set with latents, which batches hold in place of its pixels. Its pictures stay what they are. A selection of it
    /// has pixels again.
    ///
    /// # Errors
    /// [`DataError::LatentCount`] for the numbers of fewer or more images.
    pub fn with_latents(&self, latents: Latents) -> Result<Self, DataError> {
        if latents.images() != self.len() {
            let size: usize = latents.shape().iter().product();
            let (found, expected) = (latents.images() * size, self.len() * size);
            return Err(DataError::LatentCount { found, expected, images: self.len() });
        }
        Ok(Self { latents: Some(latents), ..self.clone() })
    }

    /// What batches hold in place of pixels.
    pub(crate) fn latents(&self) -> Option<&Latents> {
        self.latents.as_ref()
    }

    /// The contributors, sorted by name: contributor i is member i of a coalition.
    pub fn contributors(&self) -> &[Contributor] {
        &self.contributors
    }

    /// The number of the contributor with this name.
    pub fn contributor(&self, name: &str) -> Option<usize> {
        self.contributors.binary_search_by(|contributor| contributor.name.as_str().cmp(name)).ok()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no images: never, since every data set has at least two contributors.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of the contributor who supplied an image.
    pub fn owner(&self, image: usize) -> Option<usize> {
        self.owners.get(image).copied()
    }

    /// The columns of the table.
    pub fn columns(&self) -> &[String] {
        &self.table.columns
    }

    /// The value of an image in a column of the table.
    pub fn field(&self, image: usize, column: &str) -> Option<&str> {
        let place = self.table.columns.iter().position(|name| name == column)?;
        Some(&self.table.rows[*self.rows.get(image)?].fields[place])
    }

    /// The columns that make a contributor.
    pub fn key(&self) -> &ContributorKey {
        &self.key
    }

    /// The table or folder that the data set was opened from.
    pub fn path(&self) -> &Path {
        &self.table.path
    }

    /// The pack's `pack.toml`: licence and credit.
    pub fn description(&self) -> Option<&PackDescription> {
        self.description.as_deref()
    }

    /// Width and height of every image in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.pixels.size()
    }

    /// What networks see of every image.
    pub fn channels(&self) -> Channels {
        self.pixels.channels()
    }

    /// 8-bit RGB `[height, width, 3]` of an image, read now if it was not used before. With [`Channels::Grey`], the three are
    /// equal.
    ///
    /// # Errors
    /// [`DataError::ImageOutOfRange`], and files that cannot be read or decoded.
    pub fn image(&self, image: usize) -> Result<Arc<[u8]>, DataError> {
        self.pixels.image(self.row(image)?)
    }

    fn row(&self, image: usize) -> Result<usize, DataError> {
        self.rows.get(image).copied().ok_or(DataError::ImageOutOfRange { index: image, len: self.len() })
    }

    /// Reads images now, on all threads, so that a faulty file is found before a long run and not in its middle: all of
    /// them, or as many as are kept in memory.
    ///
    /// # Errors
    /// The first file that cannot be read or decoded.
    pub fn preload(&self) -> Result<(), DataError> {
        let read = |image: usize| -> Result<(), (usize, DataError)> {
            if !self.pixels.has_room() && !self.pixels.holds(self.rows[image]) {
                return Ok(());
            }
            self.image(image).map(drop).map_err(|error| (image, error))
        };
        // All are tried, so that the message does not depend on which thread was first.
        let first = (0..self.len())
            .into_par_iter()
            .filter_map(|image| read(image).err())
            .min_by_key(|(image, _)| *image);
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether what batches hold of these images is in memory.
    pub(crate) fn holds_all(&self, images: &[usize]) -> bool {
        if let Some(latents) = &self.latents {
            return latents.are_in_memory();
        }
        images.iter().all(|&image| self.pixels.holds(self.rows[image]))
    }

    /// Width and height of an image as it is stored, before it is resized.
    ///
    /// # Errors
    /// [`DataError::ImageOutOfRange`], and files that cannot be read.
    pub fn stored_size(&self, image: usize) -> Result<(u32, u32), DataError> {
        self.pixels.source().size_of(self.row(image)?)
    }

    /// How many images are stored at each width and height.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn stored_sizes(&self) -> Result<BTreeMap<(u32, u32), usize>, DataError> {
        let sizes: Vec<(u32, u32)> =
            (0..self.len()).into_par_iter().map(|image| self.stored_size(image)).collect::<Result<_, _>>()?;
        let mut counts = BTreeMap::new();
        sizes.into_iter().for_each(|size| *counts.entry(size).or_insert(0) += 1);
        Ok(counts)
    }

    /// What was done to images that their makers might not expect, for those images whose files were read so far: by
    /// [`preload`](Self::preload), [`content_hash`](Self::content_hash) or use. To be shown to users.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = self.table.notices.clone();
        notices.extend(self.pixels.notices(&self.rows));
        notices
    }

    /// All images.
    pub fn all(&self) -> View {
        View::new(self.clone(), (0..self.len()).collect())
    }

    /// The images of a coalition's members: numbers only, never a copy of pixels.
    ///
    /// # Errors
    /// [`DataError::CoalitionSize`] for a coalition over another number of contributors.
    pub fn view(&self, coalition: &Coalition) -> Result<View, DataError> {
        self.all().restricted_to(coalition)
    }

    /// Splits every contributor's images into training and held-out ones: see [`Split`].
    ///
    /// # Errors
    /// A fraction outside of [0, 1); a contributor with one image where the fraction is above 0.
    pub fn split(&self, held_out_fraction: f64, streams: &Streams) -> Result<Split, DataError> {
        Split::of(self, held_out_fraction, streams)
    }

    /// Hexadecimal SHA-256 of everything that determines the images and contributors: for a pack its table, sheet and tile
    /// layout, for files their names and bytes, and then the key, the resolution, and the selected images with their
    /// contributors. The ways by which a selection was written down do not matter, nor does the place of the files.
    ///
    /// Kept once computed; for files, every selected file is read, on all threads.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn content_hash(&self) -> Result<String, DataError> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash.clone());
        }
        let mut hash = Sha256::new();
        hash.update(b"tribute data v1");
        let source = self.pixels.source();
        source.hash_into(&self.rows, &mut hash, |row, traits| self.pixels.note(row, traits))?;
        source.hash_resizing(self.pixels.resolution(), self.pixels.resize(), &mut hash);
        if self.channels() == Channels::Grey {
            hash.update(b"grey");
        }
        let (width, height) = self.pixels.size();
        for number in [width, height, u32::from(self.pixels.resolution().is_some())] {
            hash.update(number.to_le_bytes());
        }
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        text(&self.key.to_string());
        for (image, row) in self.rows.iter().enumerate() {
            text(&row.to_string());
            text(&self.contributors[self.owners[image]].name);
        }
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(self.hash.get_or_init(|| hash).clone())
    }
}
