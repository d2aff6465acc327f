"""Notebook 1's losses are what it says of them."""

import pytest
import torch

import utils
from notebooks import load_definitions

notebook1 = load_definitions("1_direct_convolution")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [12, 14])
def test_the_windows_loss_is_the_holes_in_which_known_pixels_have_no_part(side):
    torch.manual_seed(0)
    network = notebook1.make_network()
    images = torch.rand(9, 3, 32, 32, generator=generator())
    torch.nn.init.normal_(network[-1].weight, std=0.1)  # an answer that is not the same everywhere
    corners = torch.randint(0, 33 - side, (9, 2), generator=generator())
    masks = utils.square_holes(corners, side)
    error = (notebook1.fill_with(network, images, masks) - images)[
        (masks == 0).expand(9, 3, 32, 32)
    ]
    for loss, _ in (
        notebook1.hole_loss(network, images, masks, 0),
        notebook1.window_loss(network, images, masks, 0, side),
    ):
        assert loss.item() == pytest.approx(error.square().mean().item(), rel=1e-4)


def test_a_fixed_hole_is_the_photographs_own(photos):
    """Whatever the masks of this step: the same hole for the same photograph, others for others."""
    seen = []

    def network(window):
        seen.append(window)
        return window[:, :3, 10:-10, 10:-10]

    for seed in range(2):
        masks = utils.random_holes(32, generator(seed))
        notebook1.fixed_hole_loss(network, photos.train[:32] / 255, masks, 0)
    assert torch.equal(*seen)
    assert len({tuple(mask.tolist()) for mask in seen[0][:, 3].flatten(1)}) > 16


def test_a_quarter_of_the_holes_are_squares_and_the_others_scribbles():
    hidden = (notebook1.cut_scribbles_and_squares(64, generator()) == 0)[:, 0]
    boxes = hidden.any(dim=2).sum(dim=1) * hidden.any(dim=1).sum(dim=1)
    square = boxes == hidden.sum(dim=(1, 2))
    assert square[:16].all()
    assert square[16:].float().mean() < 0.1
