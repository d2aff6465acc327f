"""Figures of merit against values worked out by hand and against scikit-image; the table of results."""

import math
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity

import utils
from notebooks import load_definitions


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


def test_a_comparison_is_the_difference_with_its_paired_interval():
    ours, theirs = np.full(50, 0.01), pd.Series(np.full(50, 0.02))
    assert utils.compare(utils.psnr, ours, theirs, "dB") == "+3.010 dB [+3.010, +3.010]"
    assert utils.compare(np.mean, ours, theirs) == "-0.0100 [-0.0100, -0.0100]"
    assert utils.compare(np.mean, ours, theirs, "%") == "-50.0 % [-50.0, -50.0]"
    assert utils.compare(np.mean, 100 * ours, 600 * theirs, "nats") == "-11 nats [-11, -11]"


def test_a_comparison_is_as_sure_as_the_pairs_are_alike():
    rng = np.random.default_rng(0)
    images, noise = rng.normal(5, 1, 400), rng.normal(0, 0.01, 400)
    figure, low, high = re.findall(r"[+-][\d.]+", utils.compare(np.mean, images + 0.1 + noise, images))
    assert float(low) < float(figure) < float(high)
    assert float(high) - float(low) == pytest.approx(4 * 0.01 / 20, rel=0.1)


GREY = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
Y = 128 / 255


def gaussian(n: int, k: int, size: float | torch.Tensor = 0.05, centre: float | torch.Tensor = Y, seed: int = 0):
    """Samples `(n, k, 3, 32, 32)` of a Gaussian too narrow to be clipped, and masks."""
    noise = torch.randn(n, k, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return centre + size * noise, utils.evaluation_masks("random", n)


def uniform(n: int, k: int, kind: str = "random"):
    """Images and samples of the same distribution, 256 grey levels of equal chance, and masks: the right model."""
    generator = torch.Generator().manual_seed(n + k)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    samples = torch.randint(0, 256, (n, k, 3, 32, 32), generator=generator, dtype=torch.uint8) / 255
    return samples, images, utils.evaluation_masks(kind, n)


@pytest.mark.parametrize("k", [2, 5, 19])
def test_the_scores_of_gaussian_samples_are_their_closed_forms_for_every_k(k):
    """E|X - y| less E|X - X'| / 2 for y at the mean: s (sqrt(2) - 1) / sqrt(pi) in one dimension (Gneiting & Raftery
    2007), the same with the mean of the chi distribution in 432 of them, and in blocks s is a quarter.
    """
    samples, masks = gaussian(150, k)
    scores = utils.score_samples(samples, GREY.expand(150, -1, -1, -1), masks).mean()
    closed = 0.05 * (math.sqrt(2) - 1) / math.sqrt(math.pi)
    assert scores.crps == pytest.approx(closed, rel=0.03)
    assert scores.crps_4x4 == pytest.approx(closed / 4, rel=0.15)
    chi = math.sqrt(2) * math.exp(math.lgamma(433 / 2) - math.lgamma(432 / 2))
    assert scores.energy == pytest.approx(0.05 * chi * (1 - math.sqrt(2) / 2) / math.sqrt(432), rel=0.03)
    assert scores.diversity == pytest.approx(0.05 * 2 / math.sqrt(math.pi), rel=0.01)


@pytest.mark.parametrize("k", [2, 19])
def test_the_mean_of_the_samples_is_scored_as_if_they_were_infinitely_many(k):
    samples, masks = gaussian(150, k, centre=Y + 0.1)
    scores = utils.score_samples(samples, GREY.expand(150, -1, -1, -1), masks)
    assert scores.mse_mean.mean() == pytest.approx(0.01, rel=0.01)


def test_the_best_sample_is_the_oracles_and_the_first_has_the_scores_of_images(case):
    filled, images, masks = case
    samples = torch.stack([filled, images / 255, filled], dim=1)
    scores, single = utils.score_samples(samples, images, masks), utils.score_images(filled, images, masks)
    assert scores[single.columns].equals(single)
    assert scores.mse_best.max() < 1e-12


@pytest.mark.parametrize("kind", list(utils.HOLES))
def test_scores_of_samples_by_their_definition_in_every_shape_of_hole(kind, photos):
    masks, images = utils.evaluation_masks(kind, 64), photos.test
    samples = torch.rand(64, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    samples = torch.stack([utils.composite(x, images / 255, masks) for x in samples.unbind(dim=1)], dim=1)
    scores = utils.score_samples(samples, images, masks)
    assert ("crps_4x4" in scores) == (kind == "random")
    for i in (0, 40, 63):
        hole = (masks[i, 0] == 0).numpy()
        x, y = samples[i].numpy()[:, :, hole].reshape(4, -1), (images[i] / 255).numpy()[:, hole].ravel()
        pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
        apart = np.mean([np.abs(x[a] - x[b]).mean() for a, b in pairs])
        assert scores.crps[i] == pytest.approx(np.abs(x - y).mean() - apart / 2, rel=1e-4)
        assert scores.diversity[i] == pytest.approx(apart, rel=1e-4)
        apart = np.mean([np.linalg.norm(x[a] - x[b]) for a, b in pairs])
        energy = np.linalg.norm(x - y, axis=1).mean() - apart / 2
        assert scores.energy[i] == pytest.approx(energy / np.sqrt(y.size), rel=1e-4)
        assert scores.mse_best[i] == pytest.approx(np.square(x - y).mean(axis=1).min(), rel=1e-4)


def test_the_crps_is_the_one_that_notebook_3_teaches(photos):
    notebook, masks = load_definitions("3_cvae"), utils.evaluation_masks("random", 64)
    samples = torch.rand(64, 19, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    taught = notebook.crps(samples, photos.test / 255)
    scores = utils.score_samples(samples, photos.test, masks)
    expected = (taught * (1 - masks)).sum(dim=(1, 2, 3)) / 432
    assert scores.crps.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4)


def test_what_lies_outside_the_hole_counts_for_nothing():
    samples, images, masks = uniform(20, 5)
    other = torch.where(masks[:, None] > 0, 0.5, samples)
    columns = ["energy", "crps", "crps_4x4", "diversity", "coverage", "mse_mean", "mse_best"]
    scores = [utils.score_samples(x, images, masks)[columns] for x in (samples, other)]
    assert scores[0].equals(scores[1])
    assert (utils.rank_histogram(samples, images, masks) == utils.rank_histogram(other, images, masks)).all()
    assert utils.spread_against_error(samples, images, masks).equals(utils.spread_against_error(other, images, masks))


def test_block_means_of_samples_forgive_what_averages_out():
    stripes = torch.tensor([0.1, -0.1]).repeat(16)[:, None].expand(32, 32)
    samples = (Y + stripes).expand(1, 2, 3, 32, 32)
    scores = utils.score_samples(samples, GREY, utils.square_holes(torch.tensor([[3, 7]]), 12))
    assert scores.crps[0] == pytest.approx(0.1, abs=1e-5)
    assert scores.crps_4x4[0] == pytest.approx(0, abs=1e-5)


def test_one_sample_is_refused_with_a_word_on_what_to_use():
    with pytest.raises(ValueError, match=r"\(1, 1, 3, 32, 32\) hold one an image; 2 are needed\. score_images"):
        utils.score_samples(torch.zeros(1, 1, 3, 32, 32), GREY, utils.evaluation_masks("random", 1))


def test_right_samples_cover_the_truth_four_times_in_five_and_have_even_ranks():
    case = uniform(200, 19)
    scores = utils.score_samples(*case)
    assert scores.coverage.mean() == pytest.approx(0.8, abs=0.005)
    assert scores.crps.mean() == pytest.approx(1 / 6, abs=0.002)
    counts = utils.rank_histogram(*case)
    assert counts.sum() == 200 * 432
    assert counts == pytest.approx(np.full(20, 200 * 432 / 20), rel=0.06)
    assert scores.coverage.mean() == pytest.approx(counts[2:18].sum() / counts.sum())


def test_ties_are_broken_at_random_and_come_again():
    """Samples that all are the truth leave its rank to chance alone: 16 of 20 ranks count as covered."""
    _, images, masks = uniform(100, 19)
    samples = (images / 255)[:, None].expand(-1, 19, -1, -1, -1)
    counts, coverage = (
        utils.rank_histogram(samples, images, masks),
        utils.score_samples(samples, images, masks).coverage,
    )
    assert counts == pytest.approx(np.full(20, 100 * 432 / 20), rel=0.08)
    assert coverage.mean() == pytest.approx(16 / 20, abs=0.01)
    assert (counts == utils.rank_histogram(samples, images, masks)).all()
    missed = utils.score_samples((samples + 0.01).expand(-1, 19, -1, -1, -1), images, masks)
    assert missed.coverage.max() == 0


def test_ranks_count_the_samples_below_the_truth():
    samples = torch.tensor([0.1, 0.2, 0.9]).view(1, 3, 1, 1, 1).expand(-1, -1, 3, 32, 32)
    assert utils.rank_histogram(samples, GREY, utils.evaluation_masks("random", 1)).tolist() == [0, 0, 432, 0]


def truths_of_two_sizes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images around grey, whose upper half deviates by 0.02 and whose lower half by 0.1; and these sizes."""
    sizes = torch.cat([torch.full((3, 16, 32), 0.02), torch.full((3, 16, 32), 0.1)], dim=1)
    truth = gaussian(n, 1, sizes, seed=1)[0][:, 0]
    return (truth.clamp(0, 1) * 255).round().to(torch.uint8), sizes


def test_spread_foretells_the_error_of_right_samples():
    images, sizes = truths_of_two_sizes(200)
    curve = utils.spread_against_error(gaussian(200, 19, sizes)[0], images, utils.evaluation_masks("random", 200))
    assert list(curve.columns) == ["spread", "error"]
    assert len(curve) == 10
    assert curve.error.to_numpy() == pytest.approx(curve.spread.to_numpy(), rel=0.03)
    assert curve.error.iloc[-1] > 4 * curve.error.iloc[0]


def test_spread_of_one_size_foretells_nothing():
    """No luck of 19 samples passes for knowledge: white noise has one spread in all classes, and off the diagonal."""
    images, _ = truths_of_two_sizes(200)
    curve = utils.spread_against_error(gaussian(200, 19, 0.05)[0], images, utils.evaluation_masks("random", 200))
    assert curve.spread.max() < 1.03 * curve.spread.min()
    assert (curve.error > 1.2 * curve.spread).all()


def test_the_summary_of_one_answer_has_its_mae_as_crps(case):
    scores = utils.score_images(*case)
    figures = utils.summarise(scores)
    assert figures["psnr"] == pytest.approx(utils.psnr(scores.mse))
    assert figures["psnr_low"] < figures["psnr"] < figures["psnr_high"]
    assert figures["crps"] == figures["mae"] == pytest.approx(scores.mae.mean())
    assert (figures["crps_low"], figures["crps_high"]) == utils.interval(np.mean, scores.mae)
    assert figures["crps_4x4"] == pytest.approx(scores.mae_4x4.mean())
    assert figures["energy"] == pytest.approx(np.sqrt(scores.mse).mean())
    assert figures["sharpness"] == pytest.approx(scores.gradient.mean() / scores.true_gradient.mean())
    assert not {"psnr_mean", "psnr_best", "coverage", "diversity"} & set(figures)


def test_the_summary_of_equal_samples_is_that_of_the_one_answer(case):
    """So both kinds can stand in one table. Their coverage is that of what is never tied, none."""
    filled, images, masks = case
    samples = filled[:, None].expand(-1, 19, -1, -1, -1)
    one, many = utils.summarise(utils.score_images(*case)), utils.summarise(utils.score_samples(samples, images, masks))
    same = {"psnr", "psnr_low", "psnr_high", "mae", "ssim", "sharpness", "crps", "crps_low", "crps_high", "crps_4x4"}
    for name in same | {"energy"}:
        assert many[name] == pytest.approx(one[name], rel=1e-4), name
    assert many["psnr_mean"] == pytest.approx(one["psnr"], abs=1e-3)
    assert many["psnr_best"] == pytest.approx(one["psnr"], abs=1e-3)
    assert many["diversity"] == pytest.approx(0, abs=1e-6)


def test_the_summary_of_samples_has_every_figure_of_the_table(case):
    samples, images, masks = uniform(30, 19)
    scores = utils.score_samples(samples, images, masks).assign(critic=0.75)
    figures = utils.summarise(scores)
    ours = utils.COLUMNS[utils.COLUMNS.index("psnr") :]
    assert {name for name in ours if name not in figures} <= {"loglik", "images"}
    assert figures["critic"] == 0.75
    assert figures["psnr_mean"] == pytest.approx(-10 * np.log10(scores.mse_mean.mean()))
    assert figures["psnr_best"] == pytest.approx(-10 * np.log10(scores.mse_best.mean()))
    assert figures["crps_low"] < scores.crps.mean() == figures["crps"] < figures["crps_high"]


def test_the_critic_tells_mean_colour_from_photographs(photos, monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")  # more images than the smoke effort takes
    images, masks = utils.load_images("photos").train[:160], utils.evaluation_masks("random", 160)
    right = utils.critic(utils.fill_images(utils.fill_mean_colour, images, masks), images, masks)
    assert right.shape == (160,)
    assert set(right) <= {0, 0.5, 1}
    assert right.mean() > 0.95
    low, high = utils.interval(np.mean, right)
    assert 0.9 < low <= right.mean() <= high <= 1


def test_the_critic_cannot_tell_what_is_the_same_or_labelled_by_chance(photos):
    images, masks = photos.test, utils.evaluation_masks("random", 64)
    assert (utils.critic(images / 255, images, masks) == 0.5).all()
    filled = (utils.fill_images(utils.fill_mean_colour, images, masks) * 255).round().to(torch.uint8)
    swapped = (torch.arange(64) % 2 == 0).view(-1, 1, 1, 1)
    right = utils.critic(torch.where(swapped, images, filled) / 255, torch.where(swapped, filled, images), masks)
    assert right.mean() == pytest.approx(0.5, abs=0.15)


def test_the_critic_comes_again_and_leaves_no_trace_in_its_callers_random_numbers(case):
    filled, images, masks = (x[:20] for x in case)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    right = utils.critic(filled, images, masks)
    assert torch.equal(torch.rand(3), expected)
    assert (utils.critic(filled, images, masks) == right).all()


def test_the_critic_refuses_other_holes_before_it_trains(photos):
    with pytest.raises(ValueError, match="fit one hole of 12x12"):
        utils.critic(photos.test / 255, photos.test, utils.evaluation_masks("irregular", 64))


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


def test_noise_of_a_given_covariance_is_added_in_the_hole_alone():
    masks = utils.evaluation_masks("random", 200)
    filled, factor = torch.full((200, 3, 32, 32), 0.5), torch.zeros(432, 432)
    factor[:, 0] = torch.linspace(0.01, 0.1, 432)  # all values of a hole go up and down together
    samples = utils.add_noise(filled, masks, factor)
    assert samples.shape == (200, 19, 3, 32, 32)
    hidden = (masks == 0)[:, None].expand_as(samples)
    assert (samples[~hidden] == 0.5).all()
    noise = samples[hidden].view(-1, 432) - 0.5
    assert torch.allclose(noise.std(dim=0), factor[:, 0], rtol=0.05)
    assert torch.corrcoef(noise.T).min() > 0.99


@pytest.fixture
def noisy_answers(photos):
    """Answers that miss by Gaussian noise, in every other image three times as large, and the covariance, packed."""
    generator, parts = torch.Generator().manual_seed(5), {}
    factor = 0.02 * torch.eye(432) + 0.02 / 432**0.5 * torch.ones(432, 432).tril()
    for split in ("validation", "test"):
        images, masks = getattr(photos, split), utils.evaluation_masks("random", len(getattr(photos, split)))
        noise = torch.randn(len(images), 432, generator=generator) @ factor.T
        noise[::2] *= 3
        parts[split] = (utils.cut_windows(images / 255, masks, 12) * 255 + noise.view(-1, 3, 12, 12) * 255).round()
    covariance = (factor @ factor.T)[*torch.tril_indices(432, 432)]
    return parts, covariance.numpy()


def test_a_packed_covariance_comes_back_as_its_factor(noisy_answers):
    packed = torch.from_numpy(noisy_answers[1])
    factor = utils.unpack_covariance(packed)
    assert torch.allclose((factor @ factor.T)[*torch.tril_indices(432, 432)], packed, atol=1e-5)


def test_noise_is_fitted_and_judged_by_its_gaussian(noisy_answers, photos):
    parts, packed = noisy_answers
    factor = utils.unpack_covariance(packed)
    samples, density = utils.fit_noise(parts, photos, factor)
    masks = utils.evaluation_masks("random", len(photos.test))
    assert samples.shape == (len(photos.test), 19, 3, 32, 32)
    known = (masks == 1).expand_as(photos.test)
    assert torch.equal(samples[:, 3][known], (photos.test / 255)[known])
    errors = (utils.cut_windows(photos.test / 255, masks, 12) - parts["test"] / 255).flatten(1)
    densities = [
        torch.distributions.MultivariateNormal(torch.zeros(432), scale_tril=size * factor).log_prob(errors).mean()
        for size in (1.5, 5**0.5, 3)  # the root of the mean of 1 and 9 is best
    ]
    assert density.mean() == pytest.approx(float(densities[1]), abs=10)
    assert density.mean() > max(densities[0], densities[2])


def test_noise_whose_size_is_known_for_each_image_is_likelier(noisy_answers, photos):
    parts, packed = noisy_answers
    sizes = {split: torch.where(torch.arange(len(part)) % 2 == 0, 3.0, 1.0) for split, part in parts.items()}
    factor = utils.unpack_covariance(packed)
    known, one = (utils.fit_noise(parts, photos, factor, some)[1].mean() for some in (sizes, None))
    assert known > one + 50


def test_sizes_are_predicted_from_what_is_known_and_answered(noisy_answers, photos):
    """What lies under the hole changes no prediction for test images."""
    parts = noisy_answers[0]
    sizes = utils.predict_sizes(parts, photos)
    assert [len(size) for size in sizes.values()] == [len(photos.validation), len(photos.test)]
    masks = utils.evaluation_masks("random", len(photos.test))
    other = photos._replace(test=(photos.test * masks).byte())
    assert torch.allclose(sizes["test"], utils.predict_sizes(parts, other)["test"])


def test_the_rows_of_noise_are_named_by_what_they_are(noisy_answers, photos):
    parts, packed = noisy_answers
    few = photos._replace(validation=photos.validation[:16], test=photos.test[:8])
    parts = {"validation": parts["validation"][:16], "test": parts["test"][:8]}
    names = [f"a + {kind}" for kind in ("correlated noise", "white noise", "correlated noise, size predicted")]
    assert list(utils.noise_rows("a", parts, packed, few)) == names
    assert list(utils.noise_rows("a", parts, packed, few, others=False)) == names[:1]
