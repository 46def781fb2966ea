//! What can be wrong with images, tables and selections.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// A data set that cannot be read or used as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A path that is neither a pack, a table nor a folder.
    #[error(
        "{} is not a data set: give a pack (folder with pack.toml, its CSV or its PNG), a CSV with a `file` column, or \
         a folder with one folder of images a contributor",
        path.display()
    )]
    NotADataset {
        /// The path.
        path: PathBuf,
    },
    /// A format asked for that is not there.
    #[error("{} holds no data set in the format {format}: leave the format out to find out what it is", path.display())]
    NotInFormat {
        /// The path.
        path: PathBuf,
        /// The format.
        format: crate::DataFormat,
    },
    /// A file of a published layout whose content is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A broken `pack.toml`.
    #[error("{}: {message}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and key.
        message: String,
    },

    /// As many numbers as do not belong to the images.
    #[error("{found} numbers were given for {images} images, but they need {expected}")]
    LatentCount {
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
        /// Number of images.
        images: usize,
    },
    /// Mirrored images are asked for, and only the plain ones were encoded.
    #[error("batches are to be mirrored at random, but mirrored images were not encoded: encode them too")]
    NotMirrored,

    /// A table that is not well-formed CSV.
    #[error("{} line {line}: {message}", path.display())]
    Csv {
        /// The table.
        path: PathBuf,
        /// Line in the table, from 1.
        line: u64,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A column that the table does not have.
    #[error("{} has no column `{column}`: it has {available}", path.display())]
    UnknownColumn {
        /// The table or folder.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns that there are.
        available: String,
    },
    /// A contributor key that is not a list of different columns.
    #[error(
        "{text:?} is not a contributor key: {reason}; write one or more columns, as in contributor,skin_tone"
    )]
    Key {
        /// The key.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two different contributors whose joined names are the same.
    #[error("{}: two different contributors are both called {name:?} by the key {key}: rename one", path.display())]
    AmbiguousName {
        /// The table.
        path: PathBuf,
        /// The name.
        name: String,
        /// The key.
        key: String,
    },
    /// A row that names an image already named.
    #[error("{} line {line}: {image} is already in line {first_line}: remove one of the two rows", path.display())]
    DuplicateRow {
        /// The table.
        path: PathBuf,
        /// Line of the second row.
        line: u64,
        /// Line of the first row.
        first_line: u64,
        /// The tile or file.
        image: String,
    },
    /// A row without its image file.
    #[error(
        "{} line {line}: there is no file {}: add the image or remove the row (paths are relative to the table)",
        path.display(), file.display()
    )]
    MissingFile {
        /// The table.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// The file that should be there.
        file: PathBuf,
    },
    /// A row without its tile.
    #[error(
        "{} line {line}: there is no tile {tile} in {}, which holds {tiles} tiles (0 to {}): remove the row or \
         correct its index, the tile size or the number of columns",
        path.display(), sheet.display(), tiles.saturating_sub(1)
    )]
    MissingTile {
        /// The table.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// The tile asked for.
        tile: u64,
        /// The sheet.
        sheet: PathBuf,
        /// Tiles that it holds.
        tiles: u64,
    },
    /// A row that points outside of the data set's folder.
    #[error(
        "{} line {line}: {file:?} leads out of the table's folder: write a path below it, without `..`, a leading `/` or \
         links to elsewhere",
        path.display()
    )]
    PathEscape {
        /// The table.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// The path as written.
        file: String,
    },
    /// A sheet that is not a whole grid of tiles.
    #[error("{} is {width} x {height} pixels, which is no grid of {columns} square tiles a row: {remedy}", path.display())]
    Sheet {
        /// The sheet.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// Tiles a row.
        columns: u32,
        /// What would be right.
        remedy: String,
    },

    /// An image that does not decode.
    #[error("{} does not decode: {message}; replace or remove the file", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        message: String,
    },
    /// A four-channel JPEG.
    #[error(
        "{} is a CMYK image, whose colours depend on the printer that it was made for: convert it to RGB first, for \
         example with `magick in.jpg -colorspace sRGB out.png`",
        path.display()
    )]
    Cmyk {
        /// The file.
        path: PathBuf,
    },
    /// A file format that is not read.
    #[error("{} is neither PNG nor JPEG: convert it to PNG, or move it out of the data set", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
    },
    /// An image that belongs to no contributor.
    #[error(
        "{} lies beside the contributors' folders: move it into the folder of its contributor, or write a CSV with the \
         columns file and contributor and open that",
        path.display()
    )]
    StrayImage {
        /// The file.
        path: PathBuf,
    },
    /// Images of different sizes and no resolution to bring them to.
    #[error(
        "images differ in size: {} is {} x {} and {} is {} x {}: set a resolution, and every image is cropped to its \
         central square and resized to it",
        first.display(), first_size.0, first_size.1, second.display(), second_size.0, second_size.1
    )]
    MixedSizes {
        /// One image.
        first: PathBuf,
        /// Its width and height.
        first_size: (u32, u32),
        /// Another image.
        second: PathBuf,
        /// Its width and height.
        second_size: (u32, u32),
    },
    /// A resolution that no image can have.
    #[error("resolution {resolution} is not possible: choose 1 to 4096 pixels")]
    Resolution {
        /// The resolution asked for.
        resolution: u32,
    },
    /// Pixels handed over in memory that are not an RGB image of the size.
    #[error("image {index} has {found} bytes, but {width} x {height} RGB pixels are {expected}")]
    PixelCount {
        /// Number of the image.
        index: usize,
        /// Bytes that were given.
        found: usize,
        /// Bytes that are needed.
        expected: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Images that cannot become a pack.
    #[error("the images cannot become a pack: {reason}")]
    NotPackable {
        /// Why, and what would be right.
        reason: String,
    },
    /// A PNG that could not be made.
    #[error("cannot make the PNG: {message}")]
    Encode {
        /// Why.
        message: String,
    },

    /// No images at all.
    #[error("{} holds no images: {remedy}", path.display())]
    NoImages {
        /// The table or folder.
        path: PathBuf,
        /// What would be right.
        remedy: String,
    },
    /// A contributor without images.
    #[error(
        "contributor {contributor:?} has no images {reason}: add images, loosen the filters or leave the contributor out"
    )]
    ContributorWithoutImages {
        /// The contributor.
        contributor: String,
        /// Where they should be, or why they are gone.
        reason: String,
    },
    /// A contributor asked for by name who has fewer images than asked for.
    #[error(
        "contributor {contributor:?} has {images} images, fewer than min_images = {needed}: lower min_images or leave the \
         contributor out"
    )]
    TooFewImages {
        /// The contributor.
        contributor: String,
        /// Images that the contributor has.
        images: usize,
        /// Images asked for.
        needed: usize,
    },
    /// Everything comes from one contributor.
    #[error(
        "{} has one contributor only ({contributor:?}, by the key {key}): credit needs at least two; choose another key \
         or more contributors",
        path.display()
    )]
    OneContributor {
        /// The table or folder.
        path: PathBuf,
        /// The contributor.
        contributor: String,
        /// The key.
        key: String,
    },
    /// A contributor asked for by a name that nobody has.
    #[error("there is no contributor {contributor:?} by the key {key}: {hint}")]
    UnknownContributor {
        /// The name asked for.
        contributor: String,
        /// The key.
        key: String,
        /// Names that exist.
        hint: String,
    },
    /// More contributors asked for than there are.
    #[error(
        "the {asked} largest contributors were asked for, but there are {available}{condition}: ask for fewer"
    )]
    NotEnoughContributors {
        /// Number asked for.
        asked: usize,
        /// Number that there are.
        available: usize,
        /// Empty, or the other conditions of the selection.
        condition: String,
    },
    /// More contributors to be drawn than there are.
    #[error(
        "{asked} random contributors were asked for, but there are {available} after the other conditions: ask for fewer"
    )]
    NotEnoughToDraw {
        /// Number asked for.
        asked: usize,
        /// Number that there are.
        available: usize,
    },
    /// A filter value that no image has.
    #[error("no image has {value:?} in column `{column}`: the values are {available}")]
    UnknownValue {
        /// The column filtered by.
        column: String,
        /// The value asked for.
        value: String,
        /// Values that exist.
        available: String,
    },

    /// A held-out share that is not one.
    #[error("held-out fraction {fraction} is outside of [0, 1)")]
    HeldOutFraction {
        /// The fraction asked for.
        fraction: f64,
    },
    /// A contributor that cannot be split.
    #[error(
        "contributor {contributor:?} has {images} image only, but a held-out split needs one for training and one held \
         out: select contributors with min_images = 2 or more, or hold out nothing"
    )]
    TooFewToSplit {
        /// The contributor.
        contributor: String,
        /// Images that it has.
        images: usize,
    },
    /// A coalition over another number of contributors.
    #[error(
        "the coalition is over {coalition} contributors, but the data set has {dataset}: it belongs to another data set or selection"
    )]
    CoalitionSize {
        /// Contributors of the coalition.
        coalition: usize,
        /// Contributors of the data set.
        dataset: usize,
    },
    /// Batches asked of no images.
    #[error(
        "there are no images to make batches of: an empty coalition has no training data (its model is the untrained one)"
    )]
    EmptyView,
    /// Batches of no images.
    #[error("a batch size of 0 is not possible: choose at least 1")]
    EmptyBatch,
    /// An image number beyond the last.
    #[error("image {index} does not exist: the data set has {len} images, numbered from 0")]
    ImageOutOfRange {
        /// The number asked for.
        index: usize,
        /// Number of images.
        len: usize,
    },
}

impl DataError {
    /// Whether what was asked for is wrong, rather than the images: a program ends with exit code 2 then, not 1.
    pub fn is_about_settings(&self) -> bool {
        matches!(
            self,
            Self::Key { .. }
                | Self::UnknownColumn { .. }
                | Self::UnknownValue { .. }
                | Self::UnknownContributor { .. }
                | Self::NotEnoughContributors { .. }
                | Self::NotEnoughToDraw { .. }
                | Self::TooFewImages { .. }
                | Self::NotInFormat { .. }
                | Self::Resolution { .. }
                | Self::HeldOutFraction { .. }
                | Self::NotPackable { .. }
        )
    }

    /// Wraps an I/O error with the path that it is about.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
        move |source| DataError::Read { path: path.to_owned(), source }
    }
}
