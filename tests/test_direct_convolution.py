"""Notebook 1's losses are what it says of them."""

import pytest
import torch

import utils
from notebooks import load_definitions

notebook1 = load_definitions("1_direct_convolution")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [12, 14])
def test_the_windows_loss_is_the_holes(side):
    torch.manual_seed(0)
    network, images = notebook1.make_network(), torch.rand(9, 3, 32, 32, generator=generator())
    torch.nn.init.normal_(network[-1].weight, std=0.1)  # an answer that is not the same everywhere
    masks = utils.square_holes(torch.randint(0, 33 - side, (9, 2), generator=generator()), side)
    whole, _ = notebook1.hole_loss(network, images, masks, 0)
    window, _ = notebook1.window_loss(network, images, masks, 0, side)
    assert window.item() == pytest.approx(whole.item(), rel=1e-4)


def test_a_hole_of_any_shape_has_a_loss_that_known_pixels_have_no_part_in():
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 3, 21))
    images, masks = torch.rand(4, 3, 32, 32, generator=generator()), utils.scribbled_holes(4, generator())
    loss, figures = notebook1.hole_loss(network, images, masks, 0)
    answer = notebook1.fill_with(network, images, masks)
    assert loss.item() == pytest.approx((answer - images)[(masks == 0).expand_as(images)].square().mean().item())
    assert figures["psnr"].item() == pytest.approx(-10 * torch.log10(loss).item())


def test_a_fixed_hole_is_the_photographs_own(photos):
    """Whatever the masks of this step: the same hole for the same photograph, others for others."""
    seen = []

    class Network(torch.nn.Module):
        def forward(self, window):
            seen.append(window)
            return window[:, :3, 10:-10, 10:-10]

    images = photos.train[:32] / 255
    for seed in range(2):
        notebook1.fixed_hole_loss(Network(), images, utils.random_holes(32, generator(seed)), 0)
    assert torch.equal(*seen)
    holes = (255 * images[:, :2]).round().sum(dim=(2, 3)).long() % 21
    assert len(holes.unique(dim=0)) > 16


def test_three_quarters_of_the_holes_are_scribbled():
    hidden = (notebook1.cut_scribbles_and_squares(64, generator()) == 0)[:, 0]
    boxes = hidden.any(dim=2).sum(dim=1) * hidden.any(dim=1).sum(dim=1)  # of rows and columns that a hole touches
    square = boxes == hidden.sum(dim=(1, 2))
    assert square[:16].all()
    assert square[16:].float().mean() < 0.1
