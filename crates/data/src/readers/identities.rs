//! Images with an identity file: lines `name id`, as CelebA and CelebA-HQ have them.

use crate::folder::{self, FILE_COLUMN};
use crate::source::Source;
use crate::table::{Row, Table};
use crate::{DataError, Notice, NoticeKind, OpenOptions};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The identity file of a folder: the one named in the options, or the only `*.txt` in the folder whose name holds
/// `identity` or `identities`.
pub(super) fn find(path: &Path, options: &OpenOptions) -> Option<PathBuf> {
    if let Some(file) = &options.identities {
        return Some(file.clone());
    }
    let named = |file: &Path| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("").to_ascii_lowercase();
        name.ends_with(".txt") && (name.contains("identity") || name.contains("identities"))
    };
    let files = fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = files.filter(|file| named(file) && file.is_file()).collect();
    if files.len() == 1 { files.pop() } else { None }
}

/// Opens all images below `dir`. The table has the columns `contributor` (the identity) and `file`, in the order of the
/// files' paths.
pub(super) fn open(dir: &Path, file: &Path, resolution: Option<u32>) -> Result<(Table, Source), DataError> {
    let text = fs::read(file).map_err(DataError::read(file))?;
    let identities = parse(file, &text)?;
    let mut files = Vec::new();
    folder::collect(dir, "", &mut files)?;
    let mut unused: BTreeMap<&str, u64> =
        identities.iter().map(|(name, &(line, _))| (name.as_str(), line)).collect();
    let mut rows = Vec::with_capacity(files.len());
    for image in &files {
        let base = image.rsplit('/').next().unwrap_or(image);
        // A line names a path below the folder, or a file by its name alone.
        let (name, (line, identity)) = identities
            .get_key_value(image.as_str())
            .or_else(|| identities.get_key_value(base))
            .ok_or_else(|| DataError::Malformed {
                path: file.to_owned(),
                message: format!(
                    "there is no line for {image}: add one, or move the image out of the folder"
                ),
            })?;
        let again = unused.remove(name.as_str()).is_none() && name.as_str() == base && base != image;
        if again {
            return Err(DataError::Malformed {
                path: file.to_owned(),
                message: format!(
                    "line {line} names {base}, but there are two files of this name: write their paths"
                ),
            });
        }
        rows.push(Row { line: *line, fields: vec![identity.clone(), image.clone()] });
    }
    if rows.is_empty() {
        let remedy = format!("{} names images, but there are none below the folder", file.display());
        return Err(DataError::NoImages { path: dir.to_owned(), remedy });
    }
    let columns = vec!["contributor".to_owned(), FILE_COLUMN.to_owned()];
    let source = folder::files_source(dir, files, resolution)?;
    let mut table = Table::new(file.to_owned(), columns, rows);
    if let Some((name, line)) = unused.iter().min_by_key(|(_, line)| **line) {
        table.notices.push(Notice {
            kind: NoticeKind::IdentityWithoutImage,
            count: unused.len(),
            first: format!("{} line {line}: {name}", file.display()),
        });
    }
    Ok((table, source))
}

/// Line and identity of every name.
fn parse(file: &Path, text: &[u8]) -> Result<BTreeMap<String, (u64, String)>, DataError> {
    let wrong = |line: u64, message: String| DataError::Csv { path: file.to_owned(), line, message };
    let text = std::str::from_utf8(text).map_err(|_| wrong(1, "the text is not UTF-8".to_owned()))?;
    let mut identities = BTreeMap::new();
    for (line, text) in (1u64..).zip(text.lines()) {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            // CelebA's other lists begin with the number of their lines.
            [] => continue,
            [count] if line == 1 && count.bytes().all(|byte| byte.is_ascii_digit()) => continue,
            [name, identity] => {
                let name = folder::inside(name)
                    .ok_or_else(|| wrong(line, format!("{name:?} leads out of the folder of the images")))?;
                if let Some((first, _)) = identities.insert(name.clone(), (line, identity.to_owned())) {
                    return Err(wrong(
                        line,
                        format!("{name} is already in line {first}: remove one of the two"),
                    ));
                }
            }
            _ => return Err(wrong(line, format!("{text:?} is not a name and an identity: write `name id`"))),
        }
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, Selection};

    fn folder_with(lines: &str, images: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (value, image) in images.iter().enumerate() {
            let path = dir.path().join(image);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(2, 2, image::Rgb([value as u8; 3])).save(path).unwrap();
        }
        fs::write(dir.path().join("CelebA-HQ-identity.txt"), lines).unwrap();
        dir
    }

    fn message(lines: &str, images: &[&str]) -> String {
        Dataset::open(folder_with(lines, images).path(), &OpenOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_files_or_paths_and_lines_without_images_are_told() {
        let images = ["0.png", "1.png", "more/2.png", "more/3.png"];
        let dir = folder_with("0.png 77\n1.png 5\n2.png 77\nmore/3.png 5\n9.png 8\n", &images);
        let dataset = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        let names: Vec<&str> = dataset.contributors().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["5", "77"]);
        assert_eq!(dataset.contributors()[1].images, [0, 2]);
        assert_eq!(dataset.image(3).unwrap()[..], [3; 12]);
        let notices = dataset.notices();
        assert_eq!((notices.len(), notices[0].count), (1, 1));
        assert!(notices[0].first.ends_with("identity.txt line 5: 9.png"), "{}", notices[0].first);
    }

    #[test]
    fn fifty_of_many_are_drawn_by_a_seed() {
        let images: Vec<String> = (0..120).map(|image| format!("{image}.png")).collect();
        let lines: String = (0..120).map(|image| format!("{image}.png {}\n", 1000 + image / 2)).collect();
        let dir = folder_with(&lines, &images.iter().map(String::as_str).collect::<Vec<_>>());
        let all = Dataset::open(dir.path(), &OpenOptions::default()).unwrap();
        let fifty = all.select(&Selection::random(50, 0)).unwrap();
        assert_eq!((all.contributors().len(), fifty.contributors().len(), fifty.len()), (60, 50, 100));
    }

    #[test]
    fn faults_are_named() {
        assert!(message("0.png 1\n", &["0.png", "1.png"]).contains("there is no line for 1.png"));
        assert!(
            message("0.png 1 2\n", &["0.png"])
                .contains("line 1: \"0.png 1 2\" is not a name and an identity")
        );
        assert!(message("0.png 1\n0.png 2\n", &["0.png"]).contains("line 2: 0.png is already in line 1"));
        assert!(message("../0.png 1\n", &["0.png"]).contains("leads out of the folder"));
        let twice = message("0.png 1\n1.png 2\n", &["a/0.png", "b/0.png", "1.png"]);
        assert!(twice.contains("there are two files of this name"), "{twice}");
    }
}
