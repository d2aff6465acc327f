"""Holes, the input, windows and parts, fills, and the classical fillers."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label, maximum

import utils
from notebooks import generator

SIZES = pytest.mark.parametrize("size", [32, 64])


@SIZES
def test_holes_are_what_their_names_say(size):
    assert utils.find_corners(utils.center_holes(1, generator(), size)).tolist() == [[size // 2 - 8] * 2]
    hidden = 1 - utils.random_holes(200, generator(), size)
    for side in (hidden[:, 0].amax(dim=2), hidden[:, 0].amax(dim=1)):  # 12 rows without a gap
        assert (side.sum(dim=1) == 12).all()
        assert (side.diff(dim=1).abs().sum(dim=1) <= 2).all()
    strokes = 1 - utils.irregular_holes(200, generator(), size)
    assert 0.099 < strokes.mean(dim=(1, 2, 3)).min() < strokes.mean(dim=(1, 2, 3)).max() < 0.401
    assert all(label(x[0].numpy(), np.ones((3, 3)))[1] == 1 for x in strokes[:50])
    scribbles, depths = utils.scribbled_holes(200, generator(), size)[:, 0].numpy() == 0, []
    for hole in scribbles:
        pieces, count = label(hole, np.ones((3, 3)))
        depths += maximum(distance_transform_edt(hole), pieces, range(1, count + 1)).tolist()
    assert len(depths) > 1.5 * 200
    assert np.quantile(depths, 0.1) <= 2 < 5 <= np.quantile(depths, 0.9)
    assert not scribbles.all(axis=(1, 2)).any()


def test_center_is_rows_8_to_21_and_random_holes_cover_every_place_independently():
    assert utils.find_corners(utils.center_holes(1, generator())).tolist() == [[8, 8]]
    assert (utils.center_holes(1, generator()) == 0).sum() == 14 * 14
    top, left = utils.find_corners(utils.random_holes(20_000, generator())).unbind(dim=1)
    counts = torch.bincount(21 * top + left, minlength=441)
    expected = 20_000 / 441
    assert counts.min() > 0
    assert ((counts - expected) ** 2 / expected).sum() < 540  # chi-square, p about 0.001
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.03


@pytest.mark.parametrize("kind", utils.HOLES)
def test_no_known_pixel_changes_and_no_hidden_one_is_seen(kind):
    images, masks = torch.rand(4, 3, 32, 32), utils.HOLES[kind](4, generator())
    fill, known = torch.full_like(images, torch.nan), (masks == 1).expand_as(images)
    result = utils.composite(fill, images, masks)  # even where a network fails
    assert torch.equal(result[known].view(torch.int32), images[known].view(torch.int32))
    assert result[~known].isnan().all()
    x = utils.network_input(images, masks)
    assert torch.equal(x[:, 3:], masks)
    assert torch.equal(x[:, :3], images * masks)


@pytest.mark.parametrize("margin", [0, 3, 12])
def test_windows_are_what_slicing_gives(margin):
    images, corners = torch.rand(9, 3, 32, 32), torch.randint(0, 21, (9, 2))
    windows = utils.cut_windows(images, utils.square_holes(corners, 12), 12, margin)
    padded, side = torch.nn.functional.pad(images, (margin,) * 4), 12 + 2 * margin
    for image, window, (top, left) in zip(padded, windows, corners.tolist(), strict=True):
        assert torch.equal(window, image[:, top : top + side, left : left + side])


def test_a_part_put_back_is_exact_at_every_place_and_other_holes_are_refused():
    corners = torch.cartesian_prod(torch.arange(21), torch.arange(21))
    images, masks = torch.rand(441, 3, 32, 32), utils.square_holes(corners, 12)
    parts = torch.rand(441, 3, 12, 12, requires_grad=True)
    filled = utils.put_back(parts, images, masks)
    assert torch.equal(utils.cut_windows(filled, masks, 12), parts)
    assert torch.equal(filled * masks, images * masks)
    (filled * images).sum().backward()
    assert torch.equal(parts.grad, utils.cut_windows(images, masks, 12))
    two = torch.ones(1, 1, 32, 32)
    two[..., 2:8, 5:17] = two[..., 20:26, 5:17] = 0  # as many pixels, in two pieces
    for other in (utils.center_holes(1, generator()), torch.ones(1, 1, 32, 32), two):
        with pytest.raises(ValueError, match="fit one hole of 12x12 pixels in each image"):
            utils.put_back(parts[:1], images[:1], other)


def test_fillers_are_not_given_what_they_guess_and_keep_known_pixels(photos):
    for kind in utils.HOLES:
        masks = utils.evaluation_masks(kind, 64)
        spoiled = torch.where(masks > 0, photos.test, 255 - photos.test)
        for name, filler in (utils.BASELINES | {"cheat": lambda images, masks: images}).items():
            filled = utils.fill_images(filler, photos.test, masks)
            assert torch.equal(filled * masks, photos.test / 255 * masks), name
            other = utils.fill_images(filler, spoiled, masks)
            assert torch.equal(filled * (1 - masks), other * (1 - masks)), name
    with pytest.raises(ValueError, match="A fill is no number"):
        utils.fill_images(lambda images, masks: images * torch.nan, photos.test, masks)


def test_heat_is_at_rest_and_all_fillers_are_right_where_the_answer_is_known(photos):
    images, masks = photos.test[:8] / 255, utils.evaluation_masks("irregular", 8)
    filled = utils.composite(utils.fill_heat(images * masks, masks), images, masks)
    padded = torch.nn.functional.pad(filled, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    assert (((across + down) / 4 - filled) * (1 - masks)).abs().max() < 1e-5
    ramp, masks = torch.linspace(0, 1, 32).expand(1, 3, 32, 32), utils.center_holes(1, generator())
    for filler in (utils.fill_heat, utils.fill_biharmonic):  # a slope goes on as it is
        assert ((filler(ramp * masks, masks) - ramp) * (1 - masks)).abs().max() < 1e-3
    known = ramp[masks.expand_as(ramp) == 1].mean()
    mean = utils.fill_mean_colour(ramp * masks, masks)[0, 0, 15, 15]
    assert mean == pytest.approx(known.item(), abs=1e-6)
