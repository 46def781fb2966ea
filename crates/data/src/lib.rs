//! Images by named contributors: packs, folders, keys, splits and batches.
//!
//! A [`Dataset`] holds images and says who contributed each. It is opened from
//! * a *pack*: a PNG sheet of square tiles with a CSV table, and `pack.toml` with tile size, licence and credit;
//! * a *folder* with one folder of PNG or JPEG files for each contributor;
//! * a *table*: a CSV whose column `file` names image files;
//! * a published layout: CIFAR-10 and CIFAR-100 (binary or Python), MNIST and its kin (see [`DataFormat`]).
//!
//! Any column or combination of columns can be the [`ContributorKey`]. A [`Selection`] keeps some contributors, a [`Split`]
//! holds images out, a [`View`] is what a coalition trains on, and [`Batches`] gives the batch of any step.
//!
//! # Pixels
//! All images become 8-bit RGB of one size:
//! * 16-bit channels are rounded to 8 bits, grey is repeated in the three channels, palettes are looked up;
//! * transparency is composed on white;
//! * the EXIF orientation is applied, colour profiles are not (values are taken as sRGB);
//! * CMYK JPEGs and truncated files are refused;
//! * with a resolution r, the central square (side = the shorter side) is cut out and resized to r x r: by the mean of
//!   blocks where the side is a multiple of r, by a Lanczos filter (a = 3) otherwise. Without one, all images must have the
//!   same size.

mod batches;
mod dataset;
mod error;
mod folder;
mod format;
mod grid;
mod jpeg;
mod key;
mod known;
mod pack;
mod pixels;
mod readers;
mod selection;
mod source;
mod table;
mod view;

pub use batches::{BatchSource, Batches, ImageBatch};
pub use dataset::{Contributor, Dataset, OpenOptions};
pub use error::DataError;
pub use format::DataFormat;
pub use grid::png_grid;
pub use key::ContributorKey;
pub use known::{KnownDataset, UnknownDataset};
pub use pack::PackDescription;
pub use selection::Selection;
pub use view::{Split, View};
