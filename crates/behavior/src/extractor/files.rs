use std::path::{Path, PathBuf};

use super::ExtractorNetwork;
use super::weights::SHIPPED;
use crate::BehaviorError;

/// Where the weights of the networks are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightFiles {
    /// Folder of those that ship with the project (`datasets/weights`).
    pub folder: PathBuf,
    /// File with the Inception of published Fréchet distances: a state dict of pytorch-fid (`pt_inception-2015-12-05-*.pth`), as
    /// `torch.save` or safetensors writes it.
    pub inception: Option<PathBuf>,
    /// File with CLIP, or its image tower alone: a state dict of OpenAI's code or of Hugging Face's classes, likewise.
    pub clip: Option<PathBuf>,
    /// File with the linear head of the aesthetic score.
    pub aesthetic_head: Option<PathBuf>,
}

impl WeightFiles {
    /// The networks that ship with the project alone.
    pub fn shipped(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..Self::default() }
    }

    /// The file of a network.
    ///
    /// # Errors
    /// [`BehaviorError::Missing`] for a network that does not ship and whose file is not named.
    pub fn of(&self, network: ExtractorNetwork) -> Result<PathBuf, BehaviorError> {
        let named = match network {
            ExtractorNetwork::SqueezeNet | ExtractorNetwork::Lite0 => {
                return Ok(self.folder.join(network.file_name()));
            }
            ExtractorNetwork::Inception => &self.inception,
            ExtractorNetwork::Clip => &self.clip,
        };
        named.clone().ok_or_else(|| BehaviorError::Missing {
            behavior: format!("the extractor `{}`", network.name()),
            what: "its weights, which do not ship with Tribute",
            remedy: remedy(network),
        })
    }
}

/// Where to get a network's weights.
pub(super) fn remedy(network: ExtractorNetwork) -> &'static str {
    match network {
        ExtractorNetwork::SqueezeNet | ExtractorNetwork::Lite0 => SHIPPED,
        ExtractorNetwork::Inception => {
            "name pytorch-fid's file (pt_inception-2015-12-05-6726825d.pth) with `measures.inception`"
        }
        ExtractorNetwork::Clip => "name a file with CLIP's state dict with `measures.clip`",
    }
}
