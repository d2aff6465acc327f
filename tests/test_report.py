"""Scores of one answer against values worked out by hand; intervals; results and what is kept."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

import report
import runs
import utils


@pytest.fixture
def case(photos):
    """Composites with noise in the hole, the images and the masks."""
    truth, masks = photos.test / 255, utils.evaluation_masks("random", 64)
    noise = 0.2 * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return utils.composite((truth + noise).clamp(0, 1), truth, masks), photos.test, masks


def test_a_constant_error_has_the_scores_worked_out_by_hand():
    images, masks = torch.full((2, 3, 32, 32), 51, dtype=torch.uint8), torch.ones(2, 1, 32, 32)
    masks[:, :, 5:17, 9:21] = 0
    filled = utils.composite(torch.tensor(0.5), images / 255, masks)  # the truth is 0.2
    scores = utils.score_images(filled, images, masks)
    assert scores.mse.to_numpy() == pytest.approx([0.09, 0.09], abs=1e-6)
    assert scores.mae.to_numpy() == pytest.approx([0.3, 0.3], abs=1e-6)
    assert scores.mae_4x4.to_numpy() == pytest.approx([0.3, 0.3], abs=1e-6)
    assert utils.psnr(scores.mse) == pytest.approx(10.457575, abs=1e-4)
    assert utils.psnr([0.1, 0.001]) == pytest.approx(-10 * np.log10(0.0505)), "pooled"


def test_scores_count_the_hole_alone_and_ssim_is_scikit_images(case):
    filled, images, masks = case
    scores, hole = utils.score_images(filled, images, masks), masks[5, 0] == 0
    error = (filled[5] - images[5] / 255)[:, hole]
    assert scores.mse[5] == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert scores.mae[5] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    pictures = [x.movedim(0, -1).numpy() for x in (images[5] / 255, filled[5])]
    _, ssim = structural_similarity(*pictures, channel_axis=-1, data_range=1, full=True)
    assert scores.ssim[5] == pytest.approx(ssim[hole.numpy()].mean(), abs=1e-5)


def test_error_by_distance_on_a_hole_made_by_hand():
    images, masks = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.ones(1, 1, 32, 32)
    filled, masks[0, 0, 10:22, 10:22] = torch.zeros(1, 3, 32, 32), 0
    for d in range(6):
        filled[0, :, 10 + d : 22 - d, 10 + d : 22 - d] = (d + 1) / 10
    curve = report.error_by_distance(filled, images, masks)
    assert curve.to_dict() == pytest.approx({d: d / 10 for d in range(1, 7)}, abs=1e-6)


def test_intervals_are_percentile_ones_paired_and_come_again():
    values = np.random.default_rng(0).normal(3, 1, 400)
    low, high = report.interval(np.mean, values)
    assert (low, high) == report.interval(np.mean, values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    ours, theirs = np.full(50, 0.01), np.full(50, 0.02)
    assert report.compare(utils.psnr, ours, theirs, "dB") == "+3.010 dB [+3.010, +3.010]"
    assert report.compare(np.mean, ours, theirs) == "-0.0100 [-0.0100, -0.0100]"
    assert report.compare(np.mean, ours, theirs, "%") == "-50.0 % [-50.0, -50.0]"


def test_results_come_back_for_the_same_images_and_effort_alone(case, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    name = "1_direct_convolution"
    assert runs.recall(name, photos) is None
    row = report.make_row(1, "noise", "", "random", photos, utils.score_images(*case))
    for number in (1.0, 2.0):  # written whole, so the second run's stand in the first one's place
        report.keep(name, photos, [row], mse=np.array([number]))
    assert runs.recall(name, photos)["mse"] == [2]
    (found,) = runs.read_results(photos).itertuples()
    assert (found.model, found.psnr) == ("noise", pytest.approx(row["psnr"], rel=1e-6))
    assert found.psnr_low < found.psnr < found.psnr_high
    table = report.by_hole(runs.read_results(photos))
    assert table.loc["noise", "random"] == pytest.approx(row["psnr"], rel=1e-6)
    other = photos._replace(test=photos.test.flip(3))
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "quick")
    assert runs.recall(name, other) is runs.recall(name, photos) is None
    assert runs.read_results(photos).empty
    assert "has not been run on stand-in photographs" in capsys.readouterr().out


def test_a_damaged_file_of_an_earlier_run_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    report.keep("1_direct_convolution", photos, [], mse=np.ones(3))
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"1_direct_convolution\.npz is damaged"):
        runs.recall("1_direct_convolution", photos)


def test_pictures_have_an_alternative_text_and_the_readme_gets_its_copy(case, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(utils, "OUTPUT", tmp_path)
    monkeypatch.setattr(report.display, "display", lambda *x, metadata: shown.append(metadata))
    few = [x[:2] for x in case]
    report.show_fills({"noise": few[0]}, *few[1:], "Noise\nin holes", save_as="fills.png")
    report.show_grid({"a row": few[0]}, "A grid")
    report.draw_curves({"one": pd.DataFrame({"a": [1.0, 2.0]})}, "x", "y", "Curves")
    texts = [about["image/png"]["alt"] for about in shown]
    assert "filled by noise; last the truth" in texts[0]
    assert "rows from the top: a row" in texts[1]
    assert "a from 1 to 2" in texts[2]
    assert Image.open(tmp_path / "readme_image" / "fills.png").width > 300
