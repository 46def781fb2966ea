//! Images by named contributors: packs, folders, keys, splits and batches.
//!
//! A [`Dataset`] holds images and says who contributed each. It is opened from
//! * a *pack*: a PNG sheet of square tiles with a CSV table, and `pack.toml` with tile size, licence and credit;
//! * a *folder* with one folder of PNG or JPEG files for each contributor;
//! * a *table*: a CSV whose column `file` names image files;
//! * another [`DataFormat`]: CIFAR-10 and CIFAR-100 (binary or Python), MNIST and its kin, images with an identity file,
//!   WebDataset's tar files, Parquet files with images.
//!
//! Any column or combination of columns can be the [`ContributorKey`]. A [`Selection`] keeps some contributors, a [`Split`]
//! holds images out, a [`View`] is what a coalition trains on, and [`Batches`] gives the batch of any step.
//!
//! ```
//! use data::{BatchSource, Dataset, OpenOptions};
//! use removal::Coalition;
//! use streams::Streams;
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # for (name, shade) in [("Ann", 40u8), ("Bob", 200)] {
//! #     std::fs::create_dir(folder.join(name))?;
//! #     for number in 0..4u8 {
//! #         let file = folder.join(name).join(format!("{number}.png"));
//! #         image::RgbImage::from_pixel(20, 16, image::Rgb([shade + number; 3])).save(file)?;
//! #     }
//! # }
//! // A folder with the folders `Ann` and `Bob`, of four pictures each.
//! let options = OpenOptions { resolution: Some(8), ..OpenOptions::default() };
//! let dataset = Dataset::open(folder, &options)?;
//! assert_eq!(dataset.contributors()[0].name, "Ann");
//!
//! let split = dataset.split(0.25, &Streams::new(1))?;
//! let without_bob = Coalition::from_members(2, [0])?;
//! let remaining = split.train.restricted_to(&without_bob)?;
//! assert_eq!(remaining.len(), 3);
//!
//! let batches = remaining.batches(Streams::new(2), true)?;
//! assert_eq!(batches.batch(0, 16)?.shape, [16, 3, 8, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Pixels
//! All images become 8-bit RGB of one size:
//! * 16-bit channels are rounded to 8 bits, grey is repeated in the three channels, palettes are looked up;
//! * transparency is composed on white;
//! * the EXIF orientation is applied, colour profiles are not (values are taken as sRGB; see [`Dataset::notices`]);
//! * of animated PNGs the default picture is used (see [`Dataset::notices`]); animated formats, CMYK JPEGs and truncated
//!   files are refused;
//! * with [`Channels::Grey`], each pixel's channels become its luma before it is resized;
//! * with a resolution r, the central square (side = the shorter side) is cut out and resized to r x r: by the mean of
//!   blocks where the side is a multiple of r (unless [`Resize`] says otherwise), by Pillow's Lanczos filter (a = 3) else.
//!   Without one, all images must have the same size.
//!
//! # Memory
//! Of files, the names are read when a data set is opened. Pixels are decoded when first used and kept up to a limit
//! ([`OpenOptions::cache_bytes`]); the images beyond are decoded again at each use, by [`Batches`] on threads of their own
//! while the batch before is trained on. Batches are the same whatever is kept.

mod batches;
mod cache;
mod channels;
mod dataset;
mod duplicates;
mod encoded;
mod error;
mod folder;
mod format;
mod grid;
mod jpeg;
mod key;
mod known;
mod latents;
mod notice;
mod pack;
mod pixels;
mod readers;
mod resample;
mod selection;
mod source;
mod table;
mod view;
mod write_pack;

pub use batches::{BatchSource, Batches, ImageBatch, scale_to_planes};
pub use channels::Channels;
pub use dataset::{Contributor, Dataset, OpenOptions};
pub use duplicates::{MAX_DISTANCE, NearDuplicate, NearDuplicates};
pub use error::DataError;
pub use format::DataFormat;
pub use grid::png_grid;
pub use key::ContributorKey;
pub use known::{KnownDataset, UnknownDataset};
pub use latents::{LatentFiles, LatentPlace, LatentScaling, Latents};
pub use notice::{Notice, NoticeKind};
pub use pack::PackDescription;
pub use pixels::Resize;
pub use resample::{Filter, resample};
pub use selection::Selection;
pub use view::{Split, View};
pub use write_pack::PackNotice;
