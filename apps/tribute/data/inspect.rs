//! `tribute data inspect`: what a data set holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use data::{Dataset, MAX_DISTANCE, NearDuplicate, NearDuplicates, Notice};
use serde::Serialize;
use study::StudyError;
use terminal::{print, print_json, usage};

use super::{SourceArgs, page, warn};

/// Side of images on the contact sheet where they differ in size.
const THUMBNAIL: u32 = 64;
/// Pairs of near duplicates that are written down.
const PAIRS: usize = 1000;
/// Pairs and sizes that are printed.
const PRINTED: usize = 20;

/// Arguments of `tribute data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Side to which images are cropped and resized; their own when left out, and 64 where it differs
    #[arg(long)]
    size: Option<u32>,
    /// New folder for a contact sheet, contact-sheet.png, and a page with names and near duplicates, index.html
    #[arg(long)]
    out: Option<PathBuf>,
    /// Images of each contributor on the contact sheet
    #[arg(long, default_value_t = 12)]
    columns: usize,
    /// Percent of their contrast by which near duplicates may differ in any place
    #[arg(long, default_value_t = 20)]
    distance: u32,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// What a data set holds.
#[derive(Serialize)]
pub(super) struct Inspection {
    pub path: PathBuf,
    /// SHA-256 of all that determines images and contributors.
    pub content_hash: String,
    pub images: usize,
    /// Width and height of the images as they are looked at.
    pub size: (u32, u32),
    pub stored_sizes: Vec<StoredSize>,
    pub columns: Vec<String>,
    pub contributor_key: Vec<String>,
    pub contributors: Vec<Person>,
    pub licence: Option<String>,
    pub credit: Option<String>,
    pub origin: Option<String>,
    pub notices: Vec<Notice>,
    pub near_duplicates: Vec<Pair>,
    /// Pairs in all; the list holds the closest ones.
    pub near_duplicate_pairs: usize,
}

/// How many images are stored at a size.
#[derive(Serialize)]
pub(super) struct StoredSize {
    pub width: u32,
    pub height: u32,
    pub images: usize,
}

/// A contributor.
#[derive(Serialize)]
pub(super) struct Person {
    pub name: String,
    pub images: usize,
}

/// Two images that look alike.
#[derive(Serialize)]
pub(super) struct Pair {
    pub distance: u32,
    pub first: Side,
    pub second: Side,
}

/// One of two images.
#[derive(Serialize)]
pub(super) struct Side {
    pub image: usize,
    pub contributor: String,
    /// Its file, where it has one.
    pub file: Option<String>,
}

/// Inspects.
pub fn inspect(arguments: &InspectArgs) -> anyhow::Result<()> {
    if arguments.distance > MAX_DISTANCE {
        return Err(usage(format!("--distance {} is beyond {MAX_DISTANCE} percent", arguments.distance)));
    }
    if arguments.columns == 0 {
        return Err(usage("--columns 0 shows nothing: give 1 or more"));
    }
    if let Some(out) = arguments.out.as_ref().filter(|out| out.exists()) {
        return Err(usage(format!("{} exists already: name a new folder with --out", out.display())));
    }
    let dataset = arguments.source.open_at(arguments.size, Some(THUMBNAIL))?;
    let inspection = Inspection::of(&dataset, arguments.distance)?;
    if let Some(out) = &arguments.out {
        let write = |name: &str, content: &[u8]| {
            let path = out.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
        };
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        write("contact-sheet.png", &page::contact_sheet(&dataset, arguments.columns)?)?;
        write("index.html", page::page(&dataset, &inspection, arguments.columns)?.as_bytes())?;
    }
    if arguments.json {
        return print_json(&serde_json::to_value(&inspection)?);
    }
    warn(&dataset);
    print(inspection.text().trim_end())?;
    if let Some(out) = &arguments.out {
        print(format_args!("contact sheet: {}", out.join("contact-sheet.png").display()))?;
        print(format_args!("page: {}", out.join("index.html").display()))?;
    }
    Ok(())
}

impl Inspection {
    fn of(dataset: &Dataset, distance: u32) -> Result<Self, StudyError> {
        let content_hash = dataset.content_hash()?;
        let sizes: BTreeMap<(u32, u32), usize> = dataset.stored_sizes()?;
        let NearDuplicates { total, pairs } = dataset.near_duplicates(distance, PAIRS)?;
        let mut stored_sizes: Vec<StoredSize> =
            sizes.into_iter().map(|((width, height), images)| StoredSize { width, height, images }).collect();
        stored_sizes.sort_by_key(|size| std::cmp::Reverse(size.images));
        let description = dataset.description();
        let person = |one: &data::Contributor| Person { name: one.name.clone(), images: one.images.len() };
        Ok(Self {
            path: dataset.path().to_owned(),
            content_hash,
            images: dataset.len(),
            size: dataset.size(),
            stored_sizes,
            columns: dataset.columns().to_vec(),
            contributor_key: dataset.key().columns().to_vec(),
            contributors: dataset.contributors().iter().map(person).collect(),
            licence: description.map(|pack| pack.licence.clone()),
            credit: description.map(|pack| pack.credit.clone()),
            origin: description.map(|pack| pack.origin.clone()),
            notices: dataset.notices(),
            near_duplicates: pairs.iter().map(|pair| Pair::of(dataset, pair)).collect(),
            near_duplicate_pairs: total,
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            self.path.display().to_string(),
            format!(
                "{} images by {} contributors, by the key {}",
                self.images,
                self.contributors.len(),
                self.contributor_key.join(",")
            ),
            format!("columns: {}", self.columns.join(", ")),
        ];
        match (&self.licence, &self.credit) {
            (Some(licence), Some(credit)) => lines.push(format!("licence: {licence}; credit: {credit}")),
            _ => lines.push("licence: none is given".to_owned()),
        }
        let size = |size: &StoredSize| format!("{} of {} x {}", size.images, size.width, size.height);
        let sizes: Vec<String> = self.stored_sizes.iter().take(PRINTED).map(size).collect();
        lines.push(format!(
            "sizes: {}{}",
            sizes.join(", "),
            more(self.stored_sizes.len(), PRINTED, " more sizes")
        ));
        lines.push(format!("content hash: {}", self.content_hash));
        lines.push(String::new());
        lines.extend(self.contributors.iter().map(|person| format!("{:7}  {}", person.images, person.name)));
        lines.push(String::new());
        lines.push(match self.near_duplicate_pairs {
            0 => "no near duplicates by different contributors".to_owned(),
            pairs => {
                format!("{pairs} pairs of near duplicates by different contributors (percent apart: images)")
            }
        });
        for pair in self.near_duplicates.iter().take(PRINTED) {
            lines.push(format!("{:7}: {} and {}", pair.distance, pair.first.text(), pair.second.text()));
        }
        if self.near_duplicate_pairs > PRINTED {
            lines.push(format!("         {} more", self.near_duplicate_pairs - PRINTED));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn more(all: usize, shown: usize, what: &str) -> String {
    if all > shown { format!(" and {}{what}", all - shown) } else { String::new() }
}

impl Pair {
    fn of(dataset: &Dataset, pair: &NearDuplicate) -> Self {
        let side = |image: usize| Side {
            image,
            contributor: dataset
                .owner(image)
                .map_or_else(String::new, |owner| dataset.contributors()[owner].name.clone()),
            file: dataset.field(image, "file").map(str::to_owned),
        };
        Self { distance: pair.distance, first: side(pair.first), second: side(pair.second) }
    }
}

impl Side {
    pub fn text(&self) -> String {
        match &self.file {
            Some(file) => format!("{file} by {}", self.contributor),
            None => format!("image {} by {}", self.image, self.contributor),
        }
    }
}
