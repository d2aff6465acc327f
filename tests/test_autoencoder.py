"""Notebook 2's two constructions and their losses are what it says of them."""

from types import SimpleNamespace

import pytest
import torch

import utils
from notebooks import load_definitions

notebook2 = load_definitions("2_autoencoder")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=generator(seed))


class Answer(SimpleNamespace):
    """Stands for a network: it answers `part`, whatever it sees."""

    margin = 12

    def __call__(self, window):
        return self.part


def test_sizes():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    whole, part, rim = notebook2.WholeImage(), notebook2.MissingPart(), notebook2.MissingPart(16)
    for size in (32, 64):
        assert whole(torch.rand(2, 4, size, size)).shape == (2, 3, size, size)
    masks = utils.random_holes(2, generator())
    for network, side in ((part, 12), (rim, 16), (notebook2.MissingPart(margin=20), 12)):
        found = notebook2.predict_part(network, some_images(2), masks)
        assert found.shape == (2, 3, side, side)
    assert count(whole.encoder) == count(part.encoder) == count(rim.encoder)
    assert count(part) == count(rim)


def test_without_skips_everything_passes_through_the_code():
    x = torch.rand(4, 4, 32, 32, generator=generator())
    for skips in (True, False):
        network = notebook2.WholeImage(code=4, skips=skips)
        torch.nn.init.normal_(network.to_image.weight)
        torch.nn.init.zeros_(network.encoder.to_code.weight)
        output = network(x)
        assert torch.allclose(output[0], output[1], atol=1e-5) is not skips


@pytest.mark.parametrize("margin", [4, 8])
def test_the_margin_is_what_is_seen_and_no_hidden_pixel_is(margin):
    masks = utils.square_holes(torch.tensor([[10, 10]]), 12)
    network = notebook2.MissingPart(margin=margin)
    torch.nn.init.normal_(network.to_part.weight)
    images = some_images(1).requires_grad_()
    notebook2.predict_part(network, images, masks).square().sum().backward()
    seen = images.grad.abs().sum(dim=(0, 1))
    spots = seen.nonzero()
    assert spots.amin(dim=0).tolist() == [10 - margin] * 2
    assert spots.amax(dim=0).tolist() == [21 + margin] * 2
    assert seen[10:22, 10:22].max() == 0


def test_the_part_goes_into_the_hole_and_another_hole_is_refused():
    masks = utils.random_holes(3, generator())
    part = torch.rand(3, 3, 16, 16, generator=generator(1))
    filled = notebook2.fill_part(Answer(side=16, part=part), some_images(3), masks)
    assert torch.equal(utils.cut_windows(filled, masks, 12), part[..., 2:-2, 2:-2])
    assert torch.equal(filled * masks, some_images(3) * masks)
    with pytest.raises(ValueError, match="12x12"):
        notebook2.fill_part(
            Answer(side=16, part=part), some_images(3), utils.center_holes(3, generator())
        )


def test_the_plain_parts_loss_is_that_over_the_hole():
    images, answer, masks = some_images(5), some_images(5, 1), utils.random_holes(5, generator())
    part = Answer(side=12, part=utils.cut_windows(answer, masks, 12))
    loss, numbers = notebook2.part_loss(part, images, masks, 0)
    expected, _ = notebook2.hole_loss(lambda x: answer, images, masks, 0)
    assert loss.item() == pytest.approx(expected.item())
    assert numbers["psnr"].item() == pytest.approx(-10 * torch.log10(loss).item())


def test_the_rim_costs_more_and_nothing_outside_the_photograph():
    corners = torch.tensor([[0, 0], [0, 20], [20, 0], [20, 20], [7, 9]])
    images, masks = some_images(5), utils.square_holes(corners, 12)
    truth = utils.cut_windows(images, masks, 12, 2)
    inside = utils.cut_windows(torch.ones_like(masks), masks, 12, 2)
    rim, middle = inside.clone(), torch.zeros_like(inside)
    rim[:, :, 2:-2, 2:-2], middle[:, :, 3:-3, 3:-3] = 0, 1
    outermost = inside - rim - middle
    total = 1.5 * rim.sum() + 3 * outermost.sum() + middle.sum()
    for error, cost in ((1 - inside, 0), (rim, 1.5), (outermost, 3), (middle, 1)):
        loss, _ = notebook2.rim_loss(Answer(side=16, part=truth + error), images, masks, 0)
        assert loss.item() == pytest.approx(cost * (error.sum() / total).item())


def test_asking_twice_gives_the_same_fill_for_the_mirrored_image(photos):
    images, masks = photos.test[:8] / 255, utils.evaluation_masks("random", 8)
    leaning = torch.linspace(0, 1, 32).expand(8, 3, 32, 32)  # this fill knows left from right

    def ask(images, masks):
        return notebook2.fill_twice(lambda network, i, m: leaning * i.mean(), None, images, masks)

    assert torch.allclose(ask(images, masks), ask(images.flip(3), masks.flip(3)).flip(3))
    assert torch.allclose(ask(images, masks), images.mean() / 2)
