"""Models between Tribute and diffusers, both ways: the same noise must become the same pictures.

    python -m pytest tests/diffusers

needs torch, diffusers, pillow, pytest and the `tribute` package (`pip install ./python`), and the release binaries in
target/release, or in the folder that TRIBUTE_BINARIES names.

Pictures are compared in 8 bits. Both sides compute in float32, in different orders, so a value next to a rounding border may
fall on either side: none may differ by more than 1 of 255, and one in a hundred may differ at all.
"""

import json
import os
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import tribute
from diffusers import (
    AutoencoderKL, DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel, VQModel,
)
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TRIBUTE_BINARIES", ROOT / "target/release"))
STEPS, COUNT, SIDE = 10, 6, 16

STUDY = f"""name = "round-trip"
seed = 3
weights = "{ROOT}/datasets/weights"
behaviors = ["colourfulness"]

[data]
path = "{ROOT}/datasets/openclipart32"
resolution = {SIDE}
select = {{ names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"] }}

[model]
block_out_channels = [16, 32]
norm_num_groups = 4
attention_levels = [1]
attention_head_dim = 8
layers_per_block = 2

[train]
steps = 6

[train.optimization]
batch_size = 8
optimizer = {{ kind = "adam", learning_rate = 2e-3 }}

[prune]
ratio = 0.3

[fine_tune]
steps = 3

[unlearn]
steps = 2

[coalitions]
count = 6

[sample]
count = {COUNT}
num_inference_steps = {STEPS}

[evaluation]
test_coalitions = 3
"""


class Tribute:
    def __init__(self, folder):
        self.folder = folder
        self.study = folder / "study.toml"
        self.study.write_text(STUDY)

    def run(self, program, *arguments, check=True):
        command = [BINARIES / program, *map(str, arguments), "--quiet"]
        return subprocess.run(command, check=check, capture_output=True, text=True)

    def sample(self, model, *more):
        """The noise that pictures start from, and the pictures."""
        out, noise = self.folder / f"samples-{Path(model).name}", self.folder / "noise.safetensors"
        self.run("tribute-sample", self.study, "--model", model, "--out", out, "--noise", noise, *more)
        about = json.loads((out / "samples.json").read_text())
        sheet = np.asarray(Image.open(out / "samples.png").convert("RGB"))
        side, columns = about["height"], about["columns"]
        cut = lambda k: sheet[k // columns * side :, k % columns * side :][:side, :side]
        return load_file(noise)["noise"], np.stack([cut(k) for k in range(about["count"])])


def pictures(pipeline, noise):
    """What a pipeline makes of this noise, `[pictures, height, width, 3]` in 8 bits."""
    pipeline.set_progress_bar_config(disable=True)
    module = type(pipeline).__module__
    with mock.patch(f"{module}.randn_tensor", lambda *args, **kwargs: noise.clone()):
        images = pipeline(batch_size=len(noise), num_inference_steps=STEPS, output_type="np").images
    return (images * 255).round().astype(np.uint8)


def averaged_pipeline(folder):
    """A model folder with the averaged weights, by diffusers alone."""
    return DDIMPipeline.from_pretrained(folder, unet=UNet2DModel.from_pretrained(folder, variant="ema"))


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape == (COUNT, SIDE, SIDE, 3)
    assert ours.std() > 10
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1, difference.max()
    assert (difference > 0).mean() < 0.01, (difference > 0).mean()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    programs = Tribute(tmp_path_factory.mktemp("models"))
    programs.run("tribute-train", programs.study, "--out", programs.folder / "full")
    return programs


@pytest.fixture(scope="module")
def unet():
    """A network of diffusers whose weights are multiples of 1/1024 under 2: float16 holds them exactly."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=SIDE, block_out_channels=(16, 16, 32), norm_num_groups=4, attention_head_dim=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), downsample_padding=0, freq_shift=1, flip_sin_to_cos=False,
    )
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.copy_(torch.round(parameter * 1024) / 1024)
    return unet.eval()


def test_a_trained_model_is_a_pipeline(programs):
    full = programs.folder / "full"
    noise, ours = programs.sample(full)
    assert_same(ours, pictures(averaged_pipeline(full), noise))
    assert_same(ours, pictures(tribute.load_pipeline(full), noise))
    # The trained weights are what is loaded without the variant.
    trained = DDPMPipeline.from_pretrained(full).unet.state_dict()
    averaged = averaged_pipeline(full).unet.state_dict()
    stored = {name: load_file(full / name) for name in ["diffusion_pytorch_model.safetensors", "ema.safetensors"]}
    for key in trained:
        assert torch.equal(trained[key], stored["diffusion_pytorch_model.safetensors"][key])
        assert torch.equal(averaged[key], stored["ema.safetensors"][key])
    assert any(not torch.equal(trained[key], averaged[key]) for key in trained)


@pytest.mark.parametrize("more", [["--ratio", "0.5"], ["--fine-tune"]])
def test_a_pruned_model_is_built_by_the_package(programs, more):
    full, pruned = programs.folder / "full", programs.folder / f"pruned{len(more)}"
    study = ["--study", programs.study]
    programs.run("tribute-prune", full, "--out", pruned, *study, *more)
    noise, ours = programs.sample(pruned)
    pipeline = tribute.load_pipeline(pruned)
    count = lambda unet: sum(parameter.numel() for parameter in unet.parameters())
    assert count(pipeline.unet) < 0.8 * count(tribute.load_unet(full))
    assert_same(ours, pictures(pipeline, noise))
    with pytest.raises(Exception):
        DDIMPipeline.from_pretrained(pruned)


@pytest.mark.parametrize("form", ["whole", "sharded", "half", "network alone"])
def test_a_pipeline_of_diffusers_gives_its_pictures(programs, unet, form):
    folder = programs.folder / form.replace(" ", "-")
    pipeline = DDIMPipeline(unet, DDIMScheduler())
    match form:
        case "whole":
            pipeline.save_pretrained(folder)
        case "sharded":
            DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder, max_shard_size="50KB")
            assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 2
        case "half":
            half = UNet2DModel.from_config(unet.config)
            half.load_state_dict(unet.state_dict())
            DDIMPipeline(half.half(), DDIMScheduler()).save_pretrained(folder, variant="fp16")
        case "network alone":
            unet.save_pretrained(folder)
    noise, ours = programs.sample(folder)
    assert_same(ours, pictures(pipeline, noise))


def test_a_pipeline_of_diffusers_is_pruned_and_unlearned(programs, unet):
    folder = programs.folder / "theirs"
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    pruned, coalition = programs.folder / "theirs-pruned", programs.folder / "theirs-coalition"
    programs.run("tribute-prune", folder, "--out", pruned, "--ratio", "0.25")
    noise, ours = programs.sample(pruned)
    assert_same(ours, pictures(tribute.load_pipeline(pruned), noise))
    programs.run(
        "tribute-unlearn", programs.study, "--load", folder, "--method", "gd_u", "--members", "0,2", "--out", coalition
    )
    noise, ours = programs.sample(coalition)
    assert_same(ours, pictures(averaged_pipeline(coalition), noise))


def test_networks_of_one_channel_go_both_ways(programs):
    grey = ["--set", "data.channels=1", "--set", 'behaviors=["brightness"]']
    full = programs.folder / "grey"
    programs.run("tribute-train", programs.study, "--out", full, *grey)
    noise, ours = programs.sample(full, *grey)
    assert noise.shape == (COUNT, 1, SIDE, SIDE)
    assert_same(ours, pictures(averaged_pipeline(full), noise).repeat(3, axis=-1))
    assert DDPMPipeline.from_pretrained(full).unet.config.in_channels == 1

    torch.manual_seed(1)
    theirs = UNet2DModel(
        sample_size=SIDE, in_channels=1, out_channels=1, block_out_channels=(16, 32), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    folder = programs.folder / "theirs-grey"
    pipeline = DDIMPipeline(theirs, DDIMScheduler())
    pipeline.save_pretrained(folder)
    noise, ours = programs.sample(folder, *grey)
    assert_same(ours, pictures(pipeline, noise).repeat(3, axis=-1))


def test_other_noise_levels_are_refused(programs, unet):
    folder = programs.folder / "cosine"
    DDIMPipeline(unet, DDIMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(folder)
    sample = ["tribute-sample", programs.study, "--model", folder, "--out", programs.folder / "refused"]
    refused = programs.run(*sample, check=False)
    assert refused.returncode == 2 and "beta_schedule" in refused.stderr
    noise, ours = programs.sample(folder, "--set", "diffusion.beta_schedule=cosine")
    assert_same(ours, pictures(DDIMPipeline.from_pretrained(folder), noise))


AUTOENCODER = dict(
    block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    latent_channels=3, norm_num_groups=4, sample_size=SIDE,
)
AUTOENCODERS = {
    "VQModel": lambda: VQModel(num_vq_embeddings=32, scaling_factor=0.6, **AUTOENCODER),
    "AutoencoderKL": lambda: AutoencoderKL(scaling_factor=1.7, **AUTOENCODER),
}


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_a_pipeline_of_latents_goes_both_ways(programs, unet, kind):
    torch.manual_seed(1)
    autoencoder = AUTOENCODERS[kind]().eval()
    with torch.no_grad():
        # Pictures with contrast, which nobody has trained it to make.
        autoencoder.decoder.conv_out.weight.mul_(4)
        if kind == "VQModel":
            # Codes as far apart as the latents that are sampled.
            autoencoder.quantize.embedding.weight.normal_()
    latent_unet = UNet2DModel.from_config(unet.config, sample_size=SIDE // 2)
    latent_unet.load_state_dict(unet.state_dict())
    scheduler = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
    pipeline = LDMPipeline(vqvae=autoencoder, unet=latent_unet.eval(), scheduler=scheduler)
    folder = programs.folder / f"latent-{kind}"
    pipeline.save_pretrained(folder)
    sets = ["diffusion.beta_schedule=scaled_linear", "diffusion.beta_start=0.0015", "diffusion.beta_end=0.0195",
            'sample.sampler={ kind = "ddim", clip_sample = false }']
    of_latents = [part for key in sets for part in ("--set", key)]

    noise, ours = programs.sample(folder, *of_latents)
    assert noise.shape == (COUNT, 3, SIDE // 2, SIDE // 2)
    assert_same(ours, pictures(pipeline, noise))

    # Trained on: a pipeline that diffusers loads alone, and the package with averaged weights.
    trained, pruned, coalition = [programs.folder / f"latent-{kind}-{name}" for name in ["trained", "pruned", "coalition"]]
    programs.run("tribute-train", programs.study, "--load", folder, "--out", trained, *of_latents)
    noise, ours = programs.sample(trained, *of_latents)
    averaged = UNet2DModel.from_pretrained(trained, variant="ema")
    loaded = LDMPipeline.from_pretrained(trained, unet=averaged)
    assert type(loaded.vqvae).__name__ == kind and loaded.vqvae.config.scaling_factor == autoencoder.config.scaling_factor
    assert_same(ours, pictures(loaded, noise))
    assert_same(ours, pictures(tribute.load_pipeline(trained), noise))
    assert not np.array_equal(ours, pictures(LDMPipeline.from_pretrained(trained), noise)), "trained weights are others"

    programs.run("tribute-prune", trained, "--out", pruned, "--ratio", "0.5")
    noise, ours = programs.sample(pruned, *of_latents)
    assert_same(ours, pictures(tribute.load_pipeline(pruned), noise))

    members = ["--method", "gd_u", "--members", "0,2"]
    programs.run("tribute-unlearn", programs.study, "--load", trained, *members, "--out", coalition, *of_latents)
    noise, ours = programs.sample(coalition, *of_latents)
    loaded = LDMPipeline.from_pretrained(coalition, unet=UNet2DModel.from_pretrained(coalition, variant="ema"))
    assert_same(ours, pictures(loaded, noise))
