//! The Inception v3 of published Fréchet distances: "Rethinking the Inception architecture for computer vision", Szegedy et al.
//! 2015, arXiv 1512.00567, as TensorFlow's graph of 2015-12-05 has it and pytorch-fid ports it.
//!
//! It differs from torchvision's in three points: average pools leave the padding out, the last block has a maximum in place of
//! the average, and there are 1008 classes.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData};

use super::conv::folded;
use super::squeezenet::spatial_mean;
use super::weights::Weights;
use crate::BehaviorError;

/// Features of the last pool.
pub(super) const FEATURES: usize = 2048;
/// Classes of the last layer.
const CLASSES: usize = 1008;

/// A convolution, its batch norm folded in, and ReLU.
#[derive(Module, Debug)]
struct Unit {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    padding: [usize; 2],
}

impl Unit {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [vertical, horizontal] = self.padding;
        let (x, padding) = if vertical == horizontal {
            (x, vertical)
        } else {
            (x.pad([(vertical, vertical), (horizontal, horizontal)], PadMode::Constant(0.0)), 0)
        };
        relu(kernels::conv2d(x, self.weight.val(), Some(self.bias.val()), self.stride, padding))
    }
}

/// Reads units one after the other; a branch's next unit takes the width of its last one.
struct Reader<'a> {
    weights: &'a mut Weights,
    device: &'a Device,
}

impl Reader<'_> {
    /// A unit of `kernel` `[height, width]`, padded so that stride 1 keeps the size where `pads`.
    fn unit(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        kernel: [usize; 2],
        stride: usize,
        pads: bool,
    ) -> Result<Unit, BehaviorError> {
        let shape = [outputs, inputs, kernel[0], kernel[1]];
        let (weight, bias) = folded(self.weights, &format!("{name}.conv"), &format!("{name}.bn"), shape)?;
        Ok(Unit {
            weight: Param::from_tensor(Tensor::from_data(TensorData::new(weight, shape), self.device)),
            bias: Param::from_tensor(Tensor::from_data(TensorData::new(bias, [outputs]), self.device)),
            stride,
            padding: if pads { kernel.map(|side| side / 2) } else { [0; 2] },
        })
    }

    /// Units in a row: name, outputs, kernel; stride 1 and padded.
    fn branch(
        &mut self,
        block: &str,
        inputs: usize,
        units: &[(&str, usize, [usize; 2])],
    ) -> Result<Vec<Unit>, BehaviorError> {
        let mut width = inputs;
        units
            .iter()
            .map(|&(name, outputs, kernel)| {
                let unit = self.unit(&format!("{block}.{name}"), [width, outputs], kernel, 1, true);
                width = outputs;
                unit
            })
            .collect()
    }
}

/// What a branch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Average,
    Maximum,
}

/// Branches side by side, their results joined.
#[derive(Module, Debug)]
struct Block {
    branches: Vec<Branch>,
}

/// Units in a row.
#[derive(Module, Debug)]
struct Branch {
    #[module(skip)]
    pool: Option<Pool>,
    units: Vec<Unit>,
    /// Two units side by side after the others, or none.
    fork: Vec<Unit>,
}

impl Branch {
    fn plain(units: Vec<Unit>) -> Self {
        Self { pool: None, units, fork: Vec::new() }
    }

    fn pooled(pool: Pool, units: Vec<Unit>) -> Self {
        Self { pool: Some(pool), units, fork: Vec::new() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match self.pool {
            None => x,
            Some(Pool::Average) => {
                let options = AvgPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
                avg_pool2d(x, options.with_count_include_pad(false))
            }
            Some(Pool::Maximum) => {
                max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]))
            }
        };
        let x = self.units.iter().fold(x, |x, unit| unit.forward(x));
        match &self.fork[..] {
            [] => x,
            fork => Tensor::cat(fork.iter().map(|unit| unit.forward(x.clone())).collect(), 1),
        }
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        Tensor::cat(self.branches.iter().map(|branch| branch.forward(x.clone())).collect(), 1)
    }
}

/// Halves the map: strided units, and a maximum beside them.
#[derive(Module, Debug)]
struct Reduction {
    branches: Vec<Branch>,
}

impl Reduction {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut parts: Vec<Tensor<4>> =
            self.branches.iter().map(|branch| branch.forward(x.clone())).collect();
        parts.push(halved(x));
        Tensor::cat(parts, 1)
    }
}

fn halved(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// The network, for inference, its batch norms folded into the convolutions.
#[derive(Module, Debug)]
pub(super) struct Inception {
    stem: Vec<Unit>,
    before_6a: Vec<Block>,
    to_17: Reduction,
    before_7a: Vec<Block>,
    to_8: Reduction,
    last: Vec<Block>,
    classes: Param<Tensor<2>>,
}

const ONE: [usize; 2] = [1, 1];
const THREE: [usize; 2] = [3, 3];

impl Inception {
    pub fn load(weights: &mut Weights, device: &Device) -> Result<Self, BehaviorError> {
        // The branch that helped to train it, which torchvision's files have.
        weights.ignore(|key| key.starts_with("AuxLogits."));
        let classes = weights.take("fc.weight", &[CLASSES, FEATURES])?;
        let classes = Tensor::<2>::from_data(TensorData::new(classes.data, [CLASSES, FEATURES]), device);
        weights.take("fc.bias", &[CLASSES])?;
        let mut read = Reader { weights, device };
        let stem = vec![
            read.unit("Conv2d_1a_3x3", [3, 32], THREE, 2, false)?,
            read.unit("Conv2d_2a_3x3", [32, 32], THREE, 1, false)?,
            read.unit("Conv2d_2b_3x3", [32, 64], THREE, 1, true)?,
            read.unit("Conv2d_3b_1x1", [64, 80], ONE, 1, false)?,
            read.unit("Conv2d_4a_3x3", [80, 192], THREE, 1, false)?,
        ];
        let before_6a = [("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)]
            .map(|(name, inputs, pool)| block_a(&mut read, name, inputs, pool));
        let wide = read.unit("Mixed_6a.branch3x3", [288, 384], THREE, 2, false)?;
        let mut double =
            read.branch("Mixed_6a", 288, &[("branch3x3dbl_1", 64, ONE), ("branch3x3dbl_2", 96, THREE)])?;
        double.push(read.unit("Mixed_6a.branch3x3dbl_3", [96, 96], THREE, 2, false)?);
        let to_17 = Reduction { branches: vec![Branch::plain(vec![wide]), Branch::plain(double)] };
        let before_7a = [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]
            .map(|(name, width)| block_c(&mut read, name, width));
        let mut three = read.branch("Mixed_7a", 768, &[("branch3x3_1", 192, ONE)])?;
        three.push(read.unit("Mixed_7a.branch3x3_2", [192, 320], THREE, 2, false)?);
        let mut seven = read.branch(
            "Mixed_7a",
            768,
            &[("branch7x7x3_1", 192, ONE), ("branch7x7x3_2", 192, [1, 7]), ("branch7x7x3_3", 192, [7, 1])],
        )?;
        seven.push(read.unit("Mixed_7a.branch7x7x3_4", [192, 192], THREE, 2, false)?);
        let to_8 = Reduction { branches: vec![Branch::plain(three), Branch::plain(seven)] };
        let last = [("Mixed_7b", 1280, Pool::Average), ("Mixed_7c", 2048, Pool::Maximum)]
            .map(|(name, inputs, pool)| block_e(&mut read, name, inputs, pool));
        Ok(Self {
            stem,
            before_6a: before_6a.into_iter().collect::<Result<_, _>>()?,
            to_17,
            before_7a: before_7a.into_iter().collect::<Result<_, _>>()?,
            to_8,
            last: last.into_iter().collect::<Result<_, _>>()?,
            classes: Param::from_tensor(classes.transpose()),
        })
    }

    /// `[batch, 3, 299, 299]` (R, G, B in [-1, 1]) to features `[batch, 2048]` and logits `[batch, 1008]`. The logits are without
    /// the bias, as in published Inception scores.
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let mut x = x;
        for (index, unit) in self.stem.iter().enumerate() {
            x = unit.forward(x);
            if index == 2 || index == 4 {
                x = halved(x);
            }
        }
        let x = self.before_6a.iter().fold(x, |x, block| block.forward(x));
        let x = self.before_7a.iter().fold(self.to_17.forward(x), |x, block| block.forward(x));
        let x = self.last.iter().fold(self.to_8.forward(x), |x, block| block.forward(x));
        let features = spatial_mean(x);
        let logits = features.clone().matmul(self.classes.val());
        (features, logits)
    }
}

fn block_a(read: &mut Reader<'_>, name: &str, inputs: usize, pool: usize) -> Result<Block, BehaviorError> {
    let mut branch = |units: &[_]| read.branch(name, inputs, units);
    Ok(Block {
        branches: vec![
            Branch::plain(branch(&[("branch1x1", 64, ONE)])?),
            Branch::plain(branch(&[("branch5x5_1", 48, ONE), ("branch5x5_2", 64, [5, 5])])?),
            Branch::plain(branch(&[
                ("branch3x3dbl_1", 64, ONE),
                ("branch3x3dbl_2", 96, THREE),
                ("branch3x3dbl_3", 96, THREE),
            ])?),
            Branch::pooled(Pool::Average, branch(&[("branch_pool", pool, ONE)])?),
        ],
    })
}

fn block_c(read: &mut Reader<'_>, name: &str, width: usize) -> Result<Block, BehaviorError> {
    let mut branch = |units: &[_]| read.branch(name, 768, units);
    Ok(Block {
        branches: vec![
            Branch::plain(branch(&[("branch1x1", 192, ONE)])?),
            Branch::plain(branch(&[
                ("branch7x7_1", width, ONE),
                ("branch7x7_2", width, [1, 7]),
                ("branch7x7_3", 192, [7, 1]),
            ])?),
            Branch::plain(branch(&[
                ("branch7x7dbl_1", width, ONE),
                ("branch7x7dbl_2", width, [7, 1]),
                ("branch7x7dbl_3", width, [1, 7]),
                ("branch7x7dbl_4", width, [7, 1]),
                ("branch7x7dbl_5", 192, [1, 7]),
            ])?),
            Branch::pooled(Pool::Average, branch(&[("branch_pool", 192, ONE)])?),
        ],
    })
}

fn block_e(read: &mut Reader<'_>, name: &str, inputs: usize, pool: Pool) -> Result<Block, BehaviorError> {
    let one = read.branch(name, inputs, &[("branch1x1", 320, ONE)])?;
    let three = read.branch(name, inputs, &[("branch3x3_1", 384, ONE)])?;
    let double =
        read.branch(name, inputs, &[("branch3x3dbl_1", 448, ONE), ("branch3x3dbl_2", 384, THREE)])?;
    let mut fork = |a: &str, b: &str| {
        let mut side = |part: &str, kernel| read.unit(&format!("{name}.{part}"), [384, 384], kernel, 1, true);
        Ok::<_, BehaviorError>(vec![side(a, [1, 3])?, side(b, [3, 1])?])
    };
    let three = Branch { fork: fork("branch3x3_2a", "branch3x3_2b")?, ..Branch::plain(three) };
    let double = Branch { fork: fork("branch3x3dbl_3a", "branch3x3dbl_3b")?, ..Branch::plain(double) };
    let pooled = Branch::pooled(pool, read.branch(name, inputs, &[("branch_pool", 192, ONE)])?);
    Ok(Block { branches: vec![Branch::plain(one), three, double, pooled] })
}
