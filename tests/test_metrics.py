"""Figures of merit against values worked out by hand and against scikit-image; the table of results."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity

import utils


@pytest.fixture
def case(photos):
    masks = utils.evaluation_masks("random", 64)
    noise = 0.2 * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    filled = utils.composite((photos.test / 255 + noise).clamp(0, 1), photos.test / 255, masks)
    return filled, photos.test, masks


def test_a_constant_error_has_the_figures_worked_out_by_hand():
    images = torch.full((2, 3, 32, 32), 51, dtype=torch.uint8)  # 0.2
    masks = utils.evaluation_masks("random", 2)
    filled = utils.composite(torch.tensor(0.5), images / 255, masks)
    scores = utils.score_images(filled, images, masks)
    assert scores.mse.to_numpy() == pytest.approx([0.09, 0.09], abs=1e-6)
    assert scores.mae.to_numpy() == pytest.approx([0.3, 0.3], abs=1e-6)
    assert scores.mae_4x4.to_numpy() == pytest.approx([0.3, 0.3], abs=1e-6)
    assert utils.psnr(scores.mse) == pytest.approx(10.457575, abs=1e-4)


def test_psnr_is_pooled_over_images():
    assert utils.psnr(np.array([0.1, 0.001])) == pytest.approx(-10 * np.log10(0.0505))


def test_errors_count_the_hole_alone(case):
    filled, images, masks = case
    scores = utils.score_images(filled, images, masks)
    hole = masks[5, 0] == 0
    error = (filled[5] - images[5] / 255)[:, hole]
    assert scores.mse[5] == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert scores.mae[5] == pytest.approx(error.abs().mean().item(), rel=1e-5)


def test_ssim_is_scikit_images_map_over_the_hole(case):
    filled, images, masks = case
    scores = utils.score_images(filled, images, masks)
    for i in (0, 7):
        pictures = [x.permute(1, 2, 0).numpy() for x in (images[i] / 255, filled[i])]
        ssim = structural_similarity(*pictures, channel_axis=-1, data_range=1, full=True)[1]
        assert scores.ssim[i] == pytest.approx(ssim[masks[i, 0].numpy() == 0].mean(), abs=1e-5)


def test_sharpness_is_1_for_the_truth_less_for_blur_and_0_for_an_even_fill(case):
    _, images, masks = case
    truth = images / 255
    blurred = torch.nn.functional.avg_pool2d(truth, 3, stride=1, padding=1)
    sharpness = []
    for fill in (truth, blurred, torch.full_like(truth, 0.5)):
        filled = utils.composite(fill, truth, masks)
        scores = utils.score_images(filled, images, masks)
        sharpness.append(scores.gradient.mean() / scores.true_gradient.mean())
    assert sharpness[0] == pytest.approx(1)
    assert 0.1 < sharpness[1] < 0.9
    assert sharpness[2] == pytest.approx(0, abs=1e-6)


def test_block_means_forgive_what_averages_out():
    images = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    masks = utils.square_holes(torch.tensor([[3, 7]]), 12)
    stripes = torch.tensor([0.1, -0.1]).repeat(16)[:, None].expand(32, 32)
    scores = utils.score_images(utils.composite(images / 255 + stripes, images / 255, masks), images, masks)
    assert scores.mae[0] == pytest.approx(0.1, abs=1e-5)
    assert scores.mae_4x4[0] == pytest.approx(0, abs=1e-5)


def test_block_means_only_for_holes_of_12(photos):
    masks = utils.evaluation_masks("center", 64)
    assert "mae_4x4" not in utils.score_images(photos.test / 255, photos.test, masks)


def test_the_interval_is_the_percentile_one_and_comes_again():
    values = np.random.default_rng(0).normal(3, 1, 400)
    low, high = utils.interval(np.mean, values)
    assert (low, high) == utils.interval(np.mean, values)
    assert low < 3 < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    paired = utils.interval(lambda a, b, axis: np.mean(a - b, axis=axis), values, values + 0.5)
    assert paired == pytest.approx((-0.5, -0.5))


def test_error_by_distance_on_a_hole_made_by_hand():
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    masks = utils.square_holes(torch.tensor([[10, 10], [20, 20]]), 12)
    ring = torch.zeros(12, 12)
    for d in range(6):
        ring[d : 12 - d, d : 12 - d] = (d + 1) / 10
    filled = torch.zeros(2, 3, 32, 32)
    filled[0, :, 10:22, 10:22] = ring
    # The second hole touches two edges: its distances grow away from the two sides that have known pixels.
    filled[1, :, 20:, 20:] = torch.minimum(torch.arange(1, 13)[:, None], torch.arange(1, 13)) / 10
    curve = utils.error_by_distance(filled, images, masks)
    assert list(curve.index) == list(range(1, 13))
    assert curve.to_numpy() == pytest.approx(np.arange(1, 13) / 10, abs=1e-6)


def test_notebooks_that_end_at_the_same_moment_lose_no_row(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)

    def end(number: int) -> None:
        row = {"notebook": number, "model": f"model {number}", "hole": "random"}
        utils.keep(f"notebook {number}", photos, [row])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(8)))
    assert sorted(pd.read_csv(tmp_path / "data" / "results.csv").notebook) == list(range(8))


def test_what_is_kept_comes_back_only_for_the_same_data_and_effort(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    assert utils.recall("1_direct_convolution", photos) is None
    utils.keep("1_direct_convolution", photos, [], mse_random=np.arange(3.0))
    assert utils.recall("1_direct_convolution", photos)["mse_random"].tolist() == [0, 1, 2]
    capsys.readouterr()
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "quick")
    assert utils.recall("1_direct_convolution", photos) is None
    assert "left out: it has not been run on stand-in photographs at quick effort" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        utils._write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_grid_is_a_picture_of_its_images(photos, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    images = torch.ones(2, 3, 32, 32) * torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    utils.show_grid({"red": images, "blue": images.flip(1)}, "Two rows", save_as="grid.png")
    with Image.open(tmp_path / "readme_image" / "grid.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1000)}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
