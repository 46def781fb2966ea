//! What was done to images that their makers might not expect.

use serde::Serialize;
use std::fmt;

/// What a [`Notice`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A colour profile other than sRGB's is not applied.
    ColourProfile,
    /// Of an animation, only the first picture is used.
    Animation,
    /// A line of an identity file names an image that is not there.
    IdentityWithoutImage,
}

/// Something to tell users about images: how many, and one of them.
///
/// Libraries print nothing: programs show these as warnings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// Number of images, or of lines.
    pub count: usize,
    /// The first of them.
    pub first: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, count, first } = self;
        let (noun, verb) = match (kind, count) {
            (NoticeKind::IdentityWithoutImage, 1) => ("line", "names"),
            (NoticeKind::IdentityWithoutImage, _) => ("lines", "name"),
            (_, 1) => ("image", "has"),
            _ => ("images", "have"),
        };
        write!(f, "{count} {noun} {verb} ")?;
        f.write_str(match kind {
            NoticeKind::ColourProfile => {
                "a colour profile, which is not applied: values are taken as sRGB; convert to sRGB first if colours matter"
            }
            NoticeKind::Animation => "several pictures, of which the first is used",
            NoticeKind::IdentityWithoutImage => "an image that is not there, and count for nothing",
        })?;
        write!(f, " (first: {first})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_say_count_and_first() {
        let notice = |kind, count| Notice { kind, count, first: "art/a.png".to_owned() }.to_string();
        assert!(
            notice(NoticeKind::ColourProfile, 1)
                .starts_with("1 image has a colour profile, which is not applied")
        );
        let many = notice(NoticeKind::Animation, 12);
        assert_eq!(many, "12 images have several pictures, of which the first is used (first: art/a.png)");
        assert!(
            notice(NoticeKind::IdentityWithoutImage, 3)
                .starts_with("3 lines name an image that is not there")
        );
    }
}
