"""Every family: where its map is taken, how it is read, and that it is what a whole backward pass gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from transferkit.analysis.maps import ActivationMaps, Wanted

from .map_models import assert_same_maps, channels_first, images_for, model_of, plain_maps, weighted

WHOLE = "forward_features"


@dataclass
class Family:
    name: str
    size: Any = 64
    layer: str = WHOLE
    kind: str = "channels_first"
    grid: tuple[int, int] = (2, 2)
    prefix: int = 0
    closed: bool = True
    options: dict = field(default_factory=dict)
    sized: bool = False


def vit(name, size=64, grid=(4, 4), **more):
    options = {"depth": 2, **more.pop("options", {})}
    return Family(name, size, kind="tokens", grid=grid, options=options, sized=True, **more)


TINY_SWIN = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 2], "window_size": 2}
FAMILIES = [
    Family("resnet18", (96, 160), grid=(3, 5)),
    Family("seresnet18"),
    Family("regnetx_002"),
    Family("densenet121"),
    Family("efficientnet_b0"),
    Family("mobilenetv2_100"),
    Family("mobilenetv3_small_100", closed=False),
    Family("convnext_atto", closed=False),
    Family("vgg11", closed=False, options={"mlp_ratio": 0.05}),
    Family("hgnetv2_b0", closed=False),
    Family("repvgg_a0"),
    Family("poolformer_s12", closed=False),
    Family("edgenext_xx_small", closed=False),
    Family("ghostnet_100", closed=False),
    Family("mobilevit_xxs"),
    Family("test_maxvit", options={"img_size": 64}),
    Family("test_coatnet", options={"img_size": 64}),
    Family("fastvit_t8"),
    Family("pvt_v2_b0"),
    Family("focalnet_tiny_srf"),
    Family("swin_tiny_patch4_window7_224", 64, kind="channels_last", options=TINY_SWIN, sized=True),
    Family("test_mambaout", kind="channels_last", closed=False),
    Family("hiera_tiny_224", (64, 96), kind="tokens", grid=(2, 3), closed=False, sized=True),
    Family("mixer_s32_224", kind="tokens", sized=True),
    vit("vit_tiny_patch16_224", (64, 96), (4, 6), layer="blocks.1.norm1", prefix=1, closed=False),
    vit("vit_tiny_patch16_224", layer=WHOLE, prefix=1, closed=False, options={"global_pool": "avg"}),
    vit("deit_tiny_patch16_224", layer="blocks.1.norm1", prefix=1, closed=False),
    vit("vit_small_patch14_reg4_dinov2", 70, (5, 5), layer="blocks.1.norm1", prefix=5, closed=False),
    vit("vit_small_patch16_dinov3", prefix=5),
    vit("vit_base_patch16_siglip_224", closed=False, options={"embed_dim": 96, "num_heads": 2}),
    vit("beit_base_patch16_224", prefix=1, closed=False, options={"embed_dim": 96, "num_heads": 2}),
    vit("eva02_tiny_patch14_224", 70, (5, 5), prefix=1, closed=False),
    vit("eva02_large_patch14_224", 56, layer="blocks.1.norm1", prefix=1, closed=False,
        options={"embed_dim": 96, "num_heads": 2, "global_pool": "token"}),
    vit("xcit_nano_12_p16_224", layer="cls_attn_blocks.1.norm1", prefix=1, closed=False),
    vit("cait_xxs24_224", layer="blocks_token_only.1.norm1", prefix=1, closed=False),
    Family("convit_tiny", layer="blocks.11.norm1", kind="tokens", grid=(4, 4), prefix=1, closed=False, sized=True),
    Family("pit_ti_224", 64, layer="transformers.2.blocks.3.norm1", kind="tokens", grid=(2, 2), prefix=1, closed=False,
           sized=True),
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.name}-{family.layer}")
def test_a_map_is_what_a_whole_backward_pass_gives(family: Family):
    model = model_of(family.name, family.size, sized=family.sized, **family.options)
    maps = ActivationMaps(model)
    assert (maps.layer, maps.grid, maps.closed_form) == (family.layer, family.grid, family.closed)

    images, classes = images_for(model), torch.tensor([2, 0])
    output = maps(images, Wanted(classes), Wanted(classes, of="margin"))
    assert torch.allclose(output.logits, model.eval()(images).logits, rtol=1e-4, atol=1e-5)
    rows = torch.arange(2)

    def logit(logits):
        return logits[rows, classes]

    def margin(logits):
        return logit(logits) - (logits.sum(dim=1) - logit(logits)) / (logits.shape[1] - 1)

    for found, score in zip(output.maps, (logit, margin), strict=True):
        parts = plain_maps(model, family.layer, images, score)
        activations, gradient = (channels_first(part, family.kind, family.grid, family.prefix) for part in parts)
        assert float(gradient.abs().max()) > 0
        assert_same_maps(found, weighted(activations, gradient))
