//! From coalitions of images to coalitions of classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use removal::Coalition;

use crate::LedgerError;

/// The class of every image, by image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    of_image: Vec<usize>,
}

impl Classes {
    /// From one label an image. Classes are numbered in the order of their labels: as numbers if all are numbers, else as
    /// text.
    pub fn new(labels: &[String]) -> Classes {
        let mut names: Vec<String> = labels.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or(i64::MAX));
        }
        let places: BTreeMap<&String, usize> =
            names.iter().enumerate().map(|(place, name)| (name, place)).collect();
        let of_image = labels.iter().map(|label| places[label]).collect();
        Classes { names, of_image }
    }

    /// Reads the labels of a file: a CSV with a column `class`, `label` or `contributor` (the first of these that it has) if
    /// its name ends in `.csv`, else one label a line; image 0 first.
    ///
    /// # Errors
    /// [`LedgerError::Io`], or [`LedgerError::NotClasses`] saying what is missing.
    pub fn read(path: impl AsRef<Path>) -> Result<Classes, LedgerError> {
        let path = path.as_ref();
        let wrong = |detail: String| LedgerError::NotClasses { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(|error| LedgerError::io("read", path, error))?;
        let labels: Vec<String> = if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let header = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
            let column = ["class", "label", "contributor"]
                .iter()
                .find_map(|wanted| header.iter().position(|name| name == *wanted))
                .ok_or_else(|| wrong("it has no column `class`, `label` or `contributor`".into()))?;
            let label = |row: Result<csv::StringRecord, csv::Error>| {
                Ok(row.map_err(|error| wrong(error.to_string()))?.get(column).unwrap_or_default().to_owned())
            };
            reader.records().map(label).collect::<Result<_, LedgerError>>()?
        } else {
            text.lines().map(|line| line.trim().to_owned()).collect()
        };
        if labels.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        if let Some(place) = labels.iter().position(String::is_empty) {
            return Err(wrong(format!("image {place} has no label")));
        }
        Ok(Classes::new(&labels))
    }

    /// The labels of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.of_image.len()
    }

    /// The classes of a coalition of images, each of which must be in or out as a whole.
    ///
    /// # Errors
    /// Why they are no coalition of classes: another number of images, or a class in part.
    pub fn coalition(&self, images: &Coalition) -> Result<Coalition, String> {
        if images.n() != self.images() {
            return Err(format!("it is of {} images, the classes are of {}", images.n(), self.images()));
        }
        let mut present = vec![None; self.names.len()];
        for (image, &class) in self.of_image.iter().enumerate() {
            let is_in = images.contains(image);
            if *present[class].get_or_insert(is_in) != is_in {
                return Err(format!("only a part of class `{}` remains", self.names[class]));
            }
        }
        let members =
            present.iter().enumerate().filter(|(_, is_in)| **is_in == Some(true)).map(|(class, _)| class);
        Coalition::from_members(self.names.len(), members).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn classes_are_in_or_out() {
        let classes = Classes::new(&labels("10 9 10 9 2"));
        assert_eq!(classes.names(), ["2", "9", "10"]);
        let images = |members: &[usize]| Coalition::from_members(5, members.iter().copied()).unwrap();
        let coalition = classes.coalition(&images(&[0, 2, 4])).unwrap();
        assert_eq!(coalition.members().collect::<Vec<_>>(), [0, 2]);
        assert!(classes.coalition(&images(&[0])).unwrap_err().contains("class `10`"));
        assert!(classes.coalition(&Coalition::full(4)).unwrap_err().contains("4 images"));
        assert_eq!(Classes::new(&labels("b a 1")).names(), ["1", "a", "b"]);
    }

    #[test]
    fn files_of_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let plain = Classes::read(path("labels.txt", "cat\ndog\ncat\n")).unwrap();
        let table =
            Classes::read(path("pack.csv", "index,class,contributor\n0,cat,x\n1,dog,y\n2,cat,z\n")).unwrap();
        assert_eq!(plain, table);
        for (name, text, part) in [
            ("empty.txt", "", "it is empty"),
            ("gap.txt", "a\n\nb\n", "image 1 has no label"),
            ("other.csv", "a,b\n1,2\n", "no column"),
        ] {
            let message = Classes::read(path(name, text)).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
    }
}
