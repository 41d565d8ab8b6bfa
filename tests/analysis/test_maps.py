"""ActivationMaps: the definition by hand, what it leaves untouched, what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from transferkit.analysis import maps as package
from transferkit.analysis.maps import ActivationMaps, Wanted, upsample
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.testing.tiny import tiny_images, tiny_model

from .map_models import assert_same_maps, images_for, model_of, plain_maps, weighted, wrapped


class Pooled(nn.Module):
    """Images are their own maps; what follows is `head`, then a linear classifier."""

    def __init__(self, head, width, classes=2, channels=3):
        super().__init__()
        self.num_features, self.num_classes = channels, classes
        self.head, self.fc = head, nn.Linear(width, classes)

    def forward_features(self, images):
        return images * 1.0

    def forward_head(self, maps, pre_logits=False):
        features = self.head(maps)
        return features if pre_logits else self.fc(features)

    def forward(self, images):
        return self.forward_head(self.forward_features(images))

    def get_classifier(self):
        return self.fc


def mean_pooled(size=(2, 3), classes=2):
    net = Pooled(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3, classes)
    return wrapped(net, size, classes)


def source_head(model, classes=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, model.num_features, generator=generator)
    return SourceHead(weight, torch.randn(classes, generator=generator), [str(i) for i in range(classes)])


def test_two_pixels_by_hand():
    model = mean_pooled((1, 2))
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 1.0]]))
    images = torch.tensor([[[[1.0, 5.0]], [[2.0, 0.0]], [[1.0, 1.0]]]])  # channels (1, 2, 1) and (5, 0, 1)
    output = ActivationMaps(model)(images, Wanted(torch.tensor([0])), Wanted(torch.tensor([1])))
    # class 0: (1 - 2, 5 - 2) / 2 positions, then the ReLU; class 1: (6 + 1, 0 + 1) / 2
    assert output.maps[0].tolist() == [[[0.0, 1.5]]]
    assert output.maps[1].tolist() == [[[3.5, 0.5]]]
    assert output.features.tolist() == [[3.0, 1.0, 1.0]]
    assert output.maps[0].dtype == torch.float32


def test_the_closed_form_is_exact_for_linear_layers_behind_the_pooling():
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 70, 1), nn.Flatten(), nn.Linear(70, 5))
    model = wrapped(Pooled(head, 5), (4, 6), 2)
    maps = ActivationMaps(model)
    assert maps.closed_form
    images, classes = images_for(model, 3), torch.tensor([0, 1, 1])
    found = maps(images, Wanted(classes)).maps[0]
    parts = plain_maps(model, "forward_features", images, lambda logits: logits[torch.arange(3), classes])
    assert_same_maps(found, weighted(*parts), 1e-5)


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(3), nn.Linear(3, 5)),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 5)),
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)),
        nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["activation", "norm", "max", "before", "in-place", "border"],
)
def test_other_heads_have_no_closed_form_and_the_right_map(head):
    torch.manual_seed(0)
    model = wrapped(Pooled(copy.deepcopy(head), 5), (4, 6), 2)
    maps = ActivationMaps(model)
    assert not maps.closed_form
    images, classes = images_for(model, 3), torch.tensor([0, 1, 1])
    found = maps(images, Wanted(classes)).maps[0]
    activations = images  # the library's way to keep them would see what works in place
    _, gradient = plain_maps(_out_of_place(model), "forward_features", images, lambda z: z[torch.arange(3), classes])
    assert_same_maps(found, weighted(activations, gradient), 1e-5)


def _out_of_place(model):
    for part in model.net.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    return model


@pytest.mark.parametrize("curve", [nn.Hardswish(), nn.Tanh(), nn.Softsign()])
def test_a_curve_is_seen_where_small_maps_make_it_look_straight(curve):
    class Faint(Pooled):
        def forward_features(self, images):
            return images * 1e-7

    model = wrapped(Faint(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), curve), 3), (4, 6), 2)
    assert not ActivationMaps(model).closed_form


def test_several_heads_and_classes_share_one_pass():
    model = model_of("test_resnet", 64)
    source, images, classes = source_head(model), images_for(model, 3), torch.tensor([3, 0, 1])
    passes = []
    handle = model.net.conv1.register_forward_hook(lambda *call: passes.append(1))
    maps = ActivationMaps(model)
    passes.clear()
    output = maps(images, Wanted(), Wanted(classes, source), Wanted("predicted", source, "margin"))
    handle.remove()
    assert len(passes) == 1
    rows = torch.arange(3)
    own = plain_maps(model, "forward_features", images, lambda z: z.max(dim=1).values)
    assert_same_maps(output.maps[0], weighted(*own))
    alien = copy.deepcopy(model)
    alien.set_head(source)
    theirs = plain_maps(alien, "forward_features", images, lambda z: z[rows, classes])
    assert_same_maps(output.maps[1], weighted(*theirs))

    def margin(z):
        best = z.max(dim=1).values
        return best - (z.sum(dim=1) - best) / 3

    assert_same_maps(output.maps[2], weighted(*plain_maps(alien, "forward_features", images, margin)))
    assert output.logits.shape == (3, 3)


@pytest.mark.parametrize("name, options", [("test_resnet", {}), ("vit_tiny_patch16_224", {"sized": True, "depth": 2})])
def test_nothing_is_left_behind(name, options):
    model = model_of(name, 64, **options)
    for index, part in enumerate(model.net.modules()):
        part.training = index % 2 == 0
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
    next(p for p in model.parameters() if p.requires_grad).grad = torch.tensor(7.0).expand_as(
        next(p for p in model.parameters() if p.requires_grad)
    )
    model.tap(model.default_taps()[:1])
    before = _facts(model)
    images = images_for(model)
    given = images.clone()
    ActivationMaps(model)(images, Wanted(), Wanted(torch.tensor([0, 1]), of="margin"))
    assert _facts(model) == before
    assert torch.equal(images, given)
    assert not model._store


def _facts(model):
    values = {k: (v.requires_grad, v.grad is not None, v.sum().item()) for k, v in model.named_parameters()}
    buffers = {k: v.double().sum().item() for k, v in model.named_buffers()}
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks), part.training) for part in model.modules()]
    return values, buffers, hooks, torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize("name, options", [("test_resnet", {}), ("vit_tiny_patch16_224", {"sized": True, "depth": 2})])
def test_frozen_models_and_no_grad_change_nothing(name, options):
    model = model_of(name, 64, **options)
    images, wanted = images_for(model), Wanted(torch.tensor([1, 2]))
    free = ActivationMaps(model)(images, wanted).maps[0]
    model.requires_grad_(False)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            output = ActivationMaps(model)(images * 1.0, wanted)
        assert torch.equal(output.maps[0], free)
        assert not output.features.requires_grad and not output.logits.requires_grad


@pytest.mark.parametrize(
    "name, options",
    [("test_resnet", {}), ("convnext_atto", {}), ("vit_tiny_patch16_224", {"sized": True, "depth": 2})],
)
def test_one_by_one_is_the_same_as_all_at_once(name, options):
    model = model_of(name, 64, **options)
    maps, images, classes = ActivationMaps(model), images_for(model, 4), torch.tensor([0, 1, 2, 1])
    together = maps(images, Wanted(classes))
    for index in range(4):
        alone = maps(images[index : index + 1], Wanted(classes[index : index + 1]))
        assert_same_maps(alone.maps[0], together.maps[0][index : index + 1], 1e-5)
        assert torch.allclose(alone.maps[0], together.maps[0][index : index + 1], atol=1e-6)
        assert torch.equal(alone.empty[0], together.empty[0][index : index + 1])


def test_maps_that_are_all_zero_are_said_to_be_empty():
    model = mean_pooled()
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]))
    images = torch.rand(2, 3, 2, 3) + 0.1
    output = ActivationMaps(model)(images, Wanted(torch.tensor([0, 1])))
    assert output.empty[0].tolist() == [False, True]
    assert float(output.maps[0][1].abs().max()) == 0


def test_of_two_classes_the_margin_maps_are_exact_negatives():
    model = model_of("test_resnet", 64, classes=2)
    maps, images = ActivationMaps(model), images_for(model)
    zeros, ones = torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    first, second = maps(images, Wanted(zeros, of="margin"), Wanted(ones, of="margin")).maps
    weight = model.head.weight.detach()
    flat = model.eval().net.forward_features(images).detach()
    signed = torch.einsum("c,bchw->bhw", (weight[0] - weight[1]) / (flat.shape[2] * flat.shape[3]), flat)
    assert torch.allclose(first - second, signed, atol=1e-6)
    assert float((first * second).abs().max()) == 0
    assert float(first.max()) > 0
    assert float(second.max()) > 0


def test_a_head_of_zeros_has_empty_maps_and_hinders_nothing():
    model = model_of("vit_tiny_patch16_224", 64, sized=True, depth=2)
    with torch.no_grad():
        model.head.weight.zero_()
    maps = ActivationMaps(model)
    assert maps.layer == "blocks.1.norm1"
    output = maps(images_for(model), Wanted(), Wanted("predicted", source_head(model)))
    assert output.empty[0].all()
    assert not output.empty[1].all()


def test_a_backbone_without_a_classifier_explains_a_head_that_is_given():
    model = model_of("test_resnet", 64)
    given = source_head(model)
    expected = ActivationMaps(model)(images_for(model), Wanted("predicted", given)).maps[0]
    model.net.reset_classifier(0)
    maps = ActivationMaps(model)
    assert torch.equal(maps(images_for(model), Wanted("predicted", given)).maps[0], expected)
    with pytest.raises(InputError, match="no classifier of its own"):
        maps(images_for(model), Wanted())


def spot(model, cell, grid):
    """A grey image with noise in one cell of the grid, and the grey image itself."""
    height, width = model.preprocessing.input_size
    image = torch.zeros(1, 3, height, width)
    rows = slice(cell[0] * height // grid[0], (cell[0] + 1) * height // grid[0])
    columns = slice(cell[1] * width // grid[1], (cell[1] + 1) * width // grid[1])
    noise = torch.randn(
        3, rows.stop - rows.start, columns.stop - columns.start, generator=torch.Generator().manual_seed(0)
    )
    image[0, :, rows, columns] = 3 * noise
    return image


CELLS = pytest.mark.parametrize("cell", [(0, 4), (2, 0), (1, 3)])
ZEROS, ONES = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)


def signed_map(maps, image):
    """The map before the ReLU, from the maps of two classes that are each other's negative."""
    first, second = maps(image, Wanted(ZEROS, of="margin"), Wanted(ONES, of="margin")).maps
    return first - second


@CELLS
@pytest.mark.parametrize(
    "name, size, layer, options",
    [
        ("resnet18", (96, 160), "layer4", {}),
        ("vit_tiny_patch16_224", (48, 80), "blocks.1.norm1", {"sized": True, "depth": 2}),
    ],
)
def test_a_planted_activation_shows_at_its_place(name, size, layer, options, cell):
    model = model_of(name, size, classes=2, **options)
    maps = ActivationMaps(model)
    assert maps.grid == (3, 5)

    def plant(module, inputs, output):
        planted = torch.zeros_like(output)
        here = planted[..., cell[0], cell[1]] if output.dim() == 4 else planted[:, 1 + 5 * cell[0] + cell[1]]
        here += torch.linspace(0, 1, here.shape[1])
        return planted

    model.net.get_submodule(layer).register_forward_hook(plant)
    found = signed_map(maps, images_for(model, 1))[0]
    assert [divmod(int(index), 5) for index in found.flatten().nonzero()] == [cell]
    large = upsample(found[None].abs(), size)[0]
    row, column = divmod(int(large.argmax()), size[1])
    assert (row * 3 // size[0], column * 5 // size[1]) == cell


@CELLS
def test_what_stands_out_in_the_image_stands_out_there_in_the_map(cell):
    model = model_of("vit_tiny_patch16_224", (48, 80), classes=2, sized=True, depth=2)
    nn.init.zeros_(model.net.pos_embed)
    found = signed_map(ActivationMaps(model), spot(model, cell, (3, 5)))
    assert divmod(int((found - found.median()).abs().argmax()), 5) == cell


def test_upsampling_goes_between_the_centres_of_cells():
    row = torch.tensor([[[0.0, 1.0]]])
    assert torch.allclose(upsample(row, (1, 4)), torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))
    assert torch.allclose(upsample(torch.ones(2, 3, 5), (96, 160)), torch.ones(2, 96, 160))


def test_wrong_requests_say_what_is_wrong():
    model = tiny_model()
    maps, images = ActivationMaps(model), tiny_images(2)
    with pytest.raises(InputError, match=r"takes \(b, 3, 32, 32\)"):
        maps(torch.zeros(1, 3, 40, 40), Wanted())
    with pytest.raises(InputError, match="2 images need 2 classes"):
        maps(images, Wanted(torch.tensor([0])))
    with pytest.raises(InputError, match=r"classes must be 0\.\.2"):
        maps(images, Wanted(torch.tensor([0, 3])))
    with pytest.raises(InputError, match=r"classes must be 0\.\.2"):
        maps(images, Wanted(torch.tensor([-1, 0])))
    with pytest.raises(InputError, match="at least two classes"):
        maps(images, Wanted("predicted", source_head(model, 1), "margin"))
    with pytest.raises(InputError, match='"logit" or "margin"'):
        maps(images, Wanted(of="softmax"))
    with pytest.raises(InputError, match='did you mean "layer4"'):
        ActivationMaps(model, layer="layer44")


def test_without_a_wish_there_are_features_and_logits():
    model = tiny_model()
    output = ActivationMaps(model)(tiny_images(2))
    assert output.maps == [] and output.empty == []
    assert torch.equal(output.logits, model.eval()(tiny_images(2)).logits)


def test_the_public_names():
    assert package.__all__ == ["ActivationMaps", "MapsOutput", "Wanted", "upsample"]
