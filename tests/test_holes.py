"""Holes, the input, composites and the classical fillers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import utils

SIZES = st.sampled_from([32, 48, 64])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_center_hole_is_rows_and_columns_8_to_21():
    expected = torch.ones(32, 32)
    expected[8:22, 8:22] = 0
    assert torch.equal(utils.center_holes(3, generator()), expected.expand(3, 1, 32, 32))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(0, 10_000), SIZES)
def test_random_hole_is_one_square_of_12(n, seed, size):
    hole = 1 - utils.random_holes(n, generator(seed), size)
    assert hole.shape == (n, 1, size, size)
    assert ((hole == 0) | (hole == 1)).all()
    rows, columns = hole[:, 0].amax(dim=2), hole[:, 0].amax(dim=1)
    assert (hole.sum(dim=(1, 2, 3)) == 144).all()
    for sides in (rows, columns):  # 12 hidden rows, 12 hidden columns, each without a gap
        assert (sides.sum(dim=1) == 12).all()
        assert (sides.diff(dim=1).abs().sum(dim=1) <= 2).all()


def test_random_holes_cover_every_place_and_are_independent():
    hole = 1 - utils.random_holes(20_000, generator())
    top, left = (hole[:, 0].amax(dim=d).argmax(dim=1) for d in (2, 1))
    counts = torch.zeros(21, 21).index_put_((top, left), torch.ones(len(top)), accumulate=True)
    assert (counts > 0).all(), "a place was never drawn"
    assert top.max() == left.max() == 20
    expected = len(top) / 21**2
    assert ((counts - expected) ** 2 / expected).sum() < 540  # chi-square, 440 degrees of freedom, p about 0.001
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.03


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), SIZES)
def test_irregular_hole_hides_10_to_40_percent(seed, size):
    hidden = 1 - utils.irregular_holes(16, generator(seed), size).mean(dim=(1, 2, 3))
    assert (hidden > 0.099).all()
    assert (hidden < 0.401).all()


def test_irregular_holes_are_strokes_in_one_piece():
    from scipy.ndimage import label

    for mask in utils.irregular_holes(50, generator()):
        assert label(mask[0].numpy() == 0, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("kind", utils.HOLES)
def test_equal_seeds_give_equal_holes_that_share_no_memory(kind):
    first, second = (utils.HOLES[kind](9, generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    if kind != "center":
        assert not torch.equal(first, utils.HOLES[kind](9, generator(4)))
    before = first[1].clone()
    first[0] = -1
    assert torch.equal(first[1], before)
    assert torch.equal(utils.evaluation_masks(kind, 5), utils.evaluation_masks(kind, 5))


def test_input_has_black_holes_and_the_mask_last():
    images, masks = torch.rand(4, 3, 32, 32) + 0.01, utils.random_holes(4, generator())
    x = utils.network_input(images, masks)
    assert x.shape == (4, 4, 32, 32)
    assert torch.equal(x[:, 3:], masks)
    hole = (masks == 0).expand(-1, 3, -1, -1)
    assert (x[:, :3][hole] == 0).all()
    assert torch.equal(x[:, :3][~hole], images[~hole])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(utils.HOLES)), st.integers(0, 1000))
def test_composite_changes_no_known_pixel(kind, seed):
    g = generator(seed)
    images, fill, masks = torch.rand(3, 3, 32, 32, generator=g), torch.randn(3, 3, 32, 32, generator=g), None
    masks = utils.HOLES[kind](3, g)
    fill[0] = torch.nan  # even where a network fails
    result, known = utils.composite(fill, images, masks), (masks == 1).expand(-1, 3, -1, -1)
    assert torch.equal(result[known].view(torch.int32), images[known].view(torch.int32))
    assert torch.equal(result[1:][~known[1:]], fill[1:][~known[1:]])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 12))
def test_windows_are_what_slicing_gives(seed, margin):
    g = generator(seed)
    images, corners = torch.rand(4, 3, 32, 32, generator=g), torch.randint(0, 21, (4, 2), generator=g)
    windows = utils.cut_windows(images, utils.square_holes(corners, 12), 12, margin)
    padded = torch.nn.functional.pad(images, (margin,) * 4)
    for image, window, (top, left) in zip(padded, windows, corners.tolist(), strict=True):
        assert torch.equal(window, image[:, top : top + 12 + 2 * margin, left : left + 12 + 2 * margin])


def test_fillers_are_not_given_what_they_guess(photos):
    masks = utils.evaluation_masks("random", 64)
    spoiled = torch.where(masks > 0, photos.test, 255 - photos.test)
    for name, filler in utils.BASELINES.items():
        filled = utils.fill_images(filler, photos.test, masks)
        assert torch.equal(utils.composite(torch.tensor(0.0), filled, masks), photos.test / 255 * masks), name
        spoiled_fill = utils.fill_images(filler, spoiled.byte(), masks)
        assert torch.equal(filled * (1 - masks), spoiled_fill * (1 - masks)), name


def test_heat_is_at_rest_and_within_the_range_of_the_known_pixels(photos):
    images = photos.test[:8] / 255
    for kind in utils.HOLES:
        masks = utils.evaluation_masks(kind, 8)
        filled = utils.composite(utils.fill_heat(images * masks, masks), images, masks)
        padded = torch.nn.functional.pad(filled, (1, 1, 1, 1), mode="replicate")
        neighbours = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
        assert ((neighbours / 4 - filled).abs() * (1 - masks)).max() < 1e-5, kind
        assert filled.min() >= images.min() - 1e-6
        assert filled.max() <= images.max() + 1e-6


def test_fillers_continue_an_even_slope():
    """On a plane, both equations have the plane itself as their solution; the mean colour has not."""
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    masks = utils.center_holes(1, generator())
    for filler in (utils.fill_heat, utils.fill_biharmonic):
        assert (filler(ramp * masks, masks) - ramp).abs().mul(1 - masks).max() < 1e-3
    known = ramp[masks.expand_as(ramp) == 1].mean()
    assert utils.fill_mean_colour(ramp * masks, masks)[0, 0, 15, 15] == pytest.approx(known.item(), abs=1e-6)


def test_on_a_gpu_a_hole_of_another_shape_is_marked_and_the_fill_refused(photos):
    """A GPU is not asked for the shape: the part is NaN there, and what comes back from it is looked at."""
    masks = torch.cat([utils.random_holes(2, generator()), utils.center_holes(1, generator())])
    images, fits = photos.test[:3], torch.tensor([True, True, False])
    parts = utils._mark_misfits(torch.rand(3, 3, 12, 12), fits)
    assert parts.isnan().flatten(1).any(dim=1).tolist() == [False, False, True]
    fill = torch.cat([torch.rand(2, 3, 32, 32), torch.full((1, 3, 32, 32), torch.nan)])
    with pytest.raises(ValueError, match=r"1 of 3 images is no number; the masks \(3, 1, 32, 32\) hide 144 to 196 pix"):
        utils.fill_images(lambda known, hides: fill.to(known.device), images, masks)
    assert utils.fill_images(lambda known, hides: fill[:2].to(known.device), images[:2], masks[:2]).isfinite().all()


def test_a_fill_keeps_the_known_pixels_of_the_files_on_every_device(photos):
    masks = utils.evaluation_masks("random", 8)
    filled = utils.fill_images(lambda known, hides: known + 0.25, photos.test[:8], masks, batch_size=3)
    assert torch.equal(filled * masks, photos.test[:8] / 255 * masks)
    assert (filled[(masks == 0).expand_as(filled)] == 0.25).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), SIZES)
def test_scribbled_holes_hide_some_pixels_of_each_image_and_leave_some(seed, size):
    masks = utils.scribbled_holes(16, generator(seed), size)
    assert masks.shape == (16, 1, size, size)
    assert ((masks == 0) | (masks == 1)).all()
    assert masks.flatten(1).amin(dim=1).eq(0).all()
    assert masks.flatten(1).amax(dim=1).eq(1).all()


def test_scribbled_holes_are_several_thick_and_thin_pieces():
    from scipy.ndimage import distance_transform_edt, label, maximum

    depths, holes = [], utils.scribbled_holes(200, generator())[:, 0].numpy() == 0
    for hole in holes:
        pieces, count = label(hole, np.ones((3, 3)))
        depths += maximum(distance_transform_edt(hole), pieces, range(1, count + 1)).tolist()
    assert len(depths) > 1.5 * len(holes)
    assert np.quantile(depths, 0.1) <= 2 < 5 <= np.quantile(depths, 0.9)
    assert 0.2 < holes.mean() < 0.4
