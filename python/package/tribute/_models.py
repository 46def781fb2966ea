"""Model folders of Tribute as networks and pipelines of diffusers, pruned ones included."""

import json
from pathlib import Path

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_AVERAGED = "ema.safetensors"
# The key of config.json that diffusers has no meaning for.
_WIDTHS = "pruned_channels"


def load_unet(folder, *, averaged=True):
    """The network in a model folder, as a `diffusers.UNet2DModel` in evaluation mode.

    A pruned network has layers of uneven widths, which `UNet2DModel.from_pretrained` cannot build: here the network is built
    by its full widths and each layer is then replaced by one of the width that its weights have.

    :param folder: a model folder: `config.json` with its weights beside it
    :param averaged: the averaged weights (`ema.safetensors`), with which Tribute samples and measures, if the folder has them;
        `False` for the trained ones
    :raises FileNotFoundError: if the folder lacks a file
    :raises ValueError: if the weights are not those of the architecture
    """
    import torch
    from diffusers import UNet2DModel
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    pruned = bool(config.pop(_WIDTHS, {}))
    weights = folder / (_AVERAGED if averaged and (folder / _AVERAGED).is_file() else _WEIGHTS)
    state = load_file(weights)
    with torch.device("meta"):
        unet = UNet2DModel.from_config(config)
    if pruned:
        _resize(unet, state)
    missing, unexpected = unet.load_state_dict(state, strict=False, assign=True)
    if missing or unexpected:
        raise ValueError(f"{weights} does not fit {folder / 'config.json'}: missing {missing}, unexpected {unexpected}")
    return unet.eval()


def load_pipeline(folder, *, averaged=True, kind="ddim"):
    """The network and forward process in a model folder, as a pipeline that samples images: an `LDMPipeline` if the folder has
    an autoencoder, on whose latents the network works.

    :param folder: a model folder with `scheduler_config.json`, as every training and pruning with a study writes
    :param averaged: as in `load_unet`
    :param kind: `"ddim"` or `"ddpm"`
    """
    import diffusers
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    kinds = {"ddim": (DDIMPipeline, DDIMScheduler), "ddpm": (DDPMPipeline, DDPMScheduler)}
    if kind not in kinds:
        raise ValueError(f"kind = {kind!r}: use 'ddim' or 'ddpm'")
    pipeline, scheduler = kinds[kind]
    parts = {"unet": load_unet(folder, averaged=averaged), "scheduler": scheduler.from_pretrained(folder)}
    autoencoder = Path(folder) / "vqvae"
    if not autoencoder.is_dir():
        return pipeline(**parts)
    config = json.loads((autoencoder / "config.json").read_text())
    if config.get("shift_factor"):
        raise ValueError(f"{autoencoder} shifts its latents, which LDMPipeline does not undo: sample with tribute-sample")
    parts["vqvae"] = getattr(diffusers, config["_class_name"]).from_pretrained(autoencoder)
    return diffusers.LDMPipeline(**parts)


def _resize(unet, state):
    """Gives every layer the widths of its weights."""
    import torch
    from diffusers.models.attention_processor import Attention, AttnProcessor
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.upsampling import Upsample2D

    for name, layer in list(unet.named_modules()):
        weight = state.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(layer, torch.nn.Conv2d):
            new = torch.nn.Conv2d(
                weight.shape[1], weight.shape[0], layer.kernel_size, layer.stride, layer.padding, device="meta"
            )
        elif isinstance(layer, torch.nn.Linear):
            new = torch.nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        elif isinstance(layer, torch.nn.GroupNorm):
            new = torch.nn.GroupNorm(layer.num_groups, weight.shape[0], layer.eps, device="meta")
        else:
            raise ValueError(f"{name} is a {type(layer).__name__}, which a pruned network does not have")
        parent, _, last = name.rpartition(".")
        setattr(unet.get_submodule(parent), last, new)
    for layer in unet.modules():
        # They check that the input has as many channels as they were made for.
        if isinstance(layer, (Downsample2D, Upsample2D)):
            layer.channels = layer.conv.in_channels
            layer.out_channels = layer.conv.out_channels
        # Scores are divided by the square root of a head's width before pruning, which the plain processor keeps.
        if isinstance(layer, Attention):
            layer.set_processor(AttnProcessor())
