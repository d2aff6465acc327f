"""Notebook 3's coin, frequencies, scores, likelihood and fills are what it says of them."""

import functools
import math

import pytest
import scipy
import torch
from torch.distributions import Normal, kl_divergence

import utils
from notebooks import load_definitions

notebook2, notebook3 = load_definitions("2_autoencoder"), load_definitions("3_cvae")
both_constructions = pytest.mark.parametrize("construction", [notebook3.MissingPart, notebook3.WholeImage])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(construction, **options) -> torch.nn.Module:
    """A network with weights that were stirred, so that nothing is 0 by its start alone."""
    torch.manual_seed(0)
    network = construction(**options)
    for parameter in network.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    for name in ("to_part", "to_image"):
        if hasattr(network, name):  # answers around grey, of which few are clipped
            getattr(network, name).weight.data *= 0.03
            getattr(network, name).bias.data += 0.5
    return network.eval()


def holed(photos, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return photos.test[:n] / 255, utils.evaluation_masks("random", n)


def test_a_draw_has_a_gradient_and_is_that_of_the_gaussian():
    mean, stddev = torch.full((50_000,), 2.0, requires_grad=True), torch.full((50_000,), 0.5, requires_grad=True)
    z = notebook3.draw(Normal(mean, stddev), generator())
    assert z.mean().item() == pytest.approx(2, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))
    assert torch.allclose(stddev.grad, (z.detach() - 2) / 0.5, atol=1e-5)


def test_half_of_the_channels_are_means_and_half_logarithms_of_deviations():
    gaussian = notebook3.as_gaussian(torch.tensor([[1.0, 2.0, 0.0, math.log(3)]]))
    assert gaussian.mean.tolist() == [[1, 2]]
    assert torch.allclose(gaussian.stddev, torch.tensor([[1.0, 3.0]]))


@pytest.mark.parametrize("variance", [torch.tensor(0.04), torch.rand(3, 12, 12, generator=generator(1)) + 0.1])
def test_the_density_is_that_of_torch(variance):
    error = torch.randn(5, 3, 12, 12, generator=generator())
    expected = Normal(torch.zeros(()), variance.sqrt()).log_prob(error).sum(dim=(1, 2, 3))
    assert torch.allclose(notebook3.log_density(error.square(), variance), expected, rtol=1e-4)


def test_the_best_variance_is_the_mean_square():
    squared = torch.randn(100, 3, 12, 12, generator=generator()).square()
    best = squared.mean(dim=0)
    densities = [notebook3.log_density(squared, factor * best).mean() for factor in (0.9, 1, 1.1)]
    assert densities[1] > max(densities[0], densities[2])


def test_frequencies_are_those_of_scipy_and_lose_nothing():
    parts = torch.rand(4, 3, 12, 12, generator=generator())
    amounts = notebook3.to_frequencies(parts)
    assert torch.allclose(notebook3.from_frequencies(amounts), parts, atol=1e-5)
    assert torch.allclose(amounts.square().sum(), parts.square().sum(), rtol=1e-5)
    brightness = scipy.fft.dctn(parts.sum(dim=1).numpy() / 3**0.5, axes=(1, 2), norm="ortho")
    assert torch.allclose(amounts[:, 0], torch.from_numpy(brightness), atol=1e-5)
    grey = notebook3.to_frequencies(torch.full((1, 3, 12, 12), 0.5))
    assert grey[0, 0, 0, 0] == pytest.approx(0.5 * 432**0.5, rel=1e-5)
    assert grey.abs().flatten()[1:].max() < 1e-5


def test_the_crps_is_that_of_its_closed_form():
    """Of a standard normal and y: y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi) (Gneiting and Raftery 2007)."""
    standard = Normal(torch.zeros(3), torch.ones(3))
    truth = torch.tensor([-1.0, 0.0, 2.0])
    closed = truth * (2 * standard.cdf(truth) - 1) + 2 * standard.log_prob(truth).exp() - 1 / math.sqrt(math.pi)
    draws = torch.randn(1, 20_000, 3, generator=generator())
    assert torch.allclose(notebook3.crps(draws, truth[None])[0], closed, atol=0.01)


def test_the_crps_of_equal_draws_is_the_absolute_error():
    truth, answer = torch.rand(4, 3, 12, 12, generator=generator(1)), torch.rand(4, 3, 12, 12, generator=generator(2))
    draws = answer[:, None].expand(-1, 5, -1, -1, -1)
    assert torch.allclose(notebook3.crps(draws, truth), (answer - truth).abs(), atol=1e-6)


def test_blocks_are_means_of_4x4_pixels_of_draws_and_of_the_truth():
    parts = torch.rand(2, 5, 3, 16, 16, generator=generator())
    assert torch.allclose(notebook3.blocks(parts)[1, 2, 0, 5, 1], parts[1, 2, 0, 10:14, 2:6].mean())
    assert torch.allclose(notebook3.blocks(parts)[:, 2], notebook3.blocks(parts[:, 2]))


def halved(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights as they are kept, at half precision; the network has them too, from now on."""
    weights = {key: value.half().float() for key, value in network.state_dict().items()}
    network.load_state_dict(weights)
    return weights


def test_without_chance_it_starts_with_the_answers_of_notebook_2(photos):
    images, masks = holed(photos)
    part, whole = make(notebook2.MissingPart, side=16), make(notebook2.WholeImage)
    weights = {"missing part": halved(part), "whole image": halved(whole)}
    with torch.inference_mode():
        expected = {"missing part": notebook2.predict_part(part, images, masks)}
        expected["whole image"] = notebook2.fill_whole(whole, images, masks)
        for name in notebook3.CONSTRUCTIONS:
            network = notebook3.start_from(weights, name).eval()
            answer = network.answer(*network.condition(images, masks))
            assert torch.allclose(answer, expected[name], atol=1e-5), name


@both_constructions
def test_draws_differ_by_their_seed_alone_and_never_touch_known_pixels(construction, photos):
    network, (images, masks) = make(construction).to(utils.DEVICE), holed(photos)
    first, again = (notebook3.draw_fills(network, photos.test[:8], masks, 4) for _ in range(2))
    assert torch.equal(first, again)
    hidden = (masks == 0).expand_as(images)
    for other in (2, 3):
        assert (first[:, 0] != first[:, other])[hidden].float().mean() > 0.5
        assert torch.equal(first[:, other][~hidden], images[~hidden])


@both_constructions
def test_the_grain_has_the_decoders_variance(construction, photos):
    network, (images, masks) = make(construction), holed(photos)
    network.variance = torch.rand(3, 12, 12, generator=generator(3)) * 1e-3
    with torch.inference_mode():
        plain, grainy = (
            torch.stack([notebook3.fill_by_chance(network, generator(seed), images, masks, g) for seed in range(60)])
            for g in (False, True)
        )
    grain = utils.cut_windows((grainy - plain).flatten(0, 1), masks.repeat(60, 1, 1, 1), 12)
    variance = notebook3.to_frequencies(grain).square().mean(dim=0)
    assert torch.corrcoef(torch.stack([variance.flatten(), network.variance.flatten()]))[0, 1] > 0.95
    assert float(variance.mean()) == pytest.approx(float(network.variance.mean()), rel=0.05)


def test_a_part_for_another_hole_is_refused(photos):
    images, masks = photos.test[:4] / 255, utils.evaluation_masks("irregular", 4)
    with pytest.raises(ValueError, match="12x12"):
        notebook3.fill_by_chance(make(notebook3.MissingPart), generator(), images, masks)
    with torch.inference_mode():
        answer = notebook3.fill_by_chance(make(notebook3.WholeImage), generator(), images, masks)
    assert answer.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("construction", [notebook3.Coin, notebook3.MissingPart, notebook3.WholeImage])
def test_the_prior_sees_no_hidden_pixel(construction, photos):
    """What lies under the hole changes no draw, bit for bit; the posterior does see it."""
    network, (images, masks) = make(construction), holed(photos)
    others = utils.composite(torch.rand(images.shape, generator=generator(3)), images, masks)
    with torch.inference_mode():
        conditions = [network.condition(x, masks) for x in (images, others)]
        draws = [network.decode(c, notebook3.draw(network.prior(c), generator())) for c in conditions]
        known = [network.posterior(conditions[0], x, masks).mean for x in (images, others)]
    assert torch.equal(*draws)
    assert not torch.equal(*known)


@both_constructions
def test_where_z_says_nothing_the_likelihood_is_that_of_the_gaussian(construction, photos):
    network, (images, masks) = make(construction), holed(photos)
    network.variance = torch.rand(3, 12, 12, generator=generator(3)) + 0.01
    for layer in (network.merge, network.to_posterior):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    network.to(utils.DEVICE)
    found = notebook3.log_mean(notebook3.log_likelihood(network, photos.test[:8], masks, 3))
    both = []
    with torch.inference_mode():
        for x, m in ((images, masks), (images.flip(3), masks.flip(3))):
            x, m = x.to(utils.DEVICE), m.to(utils.DEVICE)
            condition = network.condition(x, m)
            answer = network.decode(condition, torch.zeros_like(network.prior(condition).mean))
            both.append(notebook3.log_density(network.squared_error(answer, x, m), network.variance).cpu())
    assert torch.allclose(found, torch.logaddexp(*both) - math.log(2), rtol=1e-4)


@both_constructions
def test_the_bound_lies_below_the_likelihood(construction, photos):
    """The ELBO is the mean of the logarithm of the weights, the likelihood the logarithm of their mean."""
    network, (images, masks) = make(construction), holed(photos, 4)
    with torch.inference_mode():
        weights = notebook3.log_weights(network, generator(), images, masks, 200)
    assert weights.shape == (4, 200)
    assert (notebook3.log_mean(weights) > weights.mean(dim=1)).all()


@both_constructions
def test_the_loss_is_the_negative_bound_at_the_best_variances(construction, photos):
    network, (images, masks) = make(construction), holed(photos)
    for parameter in network.merge.parameters():
        torch.nn.init.zeros_(parameter)  # z says nothing, so that no draw of it matters
    with torch.inference_mode():
        condition = network.condition(images, masks)
        prior, posterior = network.prior(condition), network.posterior(condition, images, masks)
        squared = network.squared_error(network.decode(condition, prior.mean), images, masks)
        kl = kl_divergence(posterior, prior).flatten(1).sum(dim=1).mean()
        for options, variance in (({}, squared.mean(dim=0)), ({"one_variance": True}, squared.mean())):
            loss, told = notebook3.negative_elbo(network, condition, images, masks, **options)
            expected = notebook3.log_density(squared, variance).mean() - kl
            assert told["elbo"].item() == pytest.approx(expected.item(), rel=1e-3)
            assert loss.item() == pytest.approx(-expected.item() / 432, rel=1e-3)
            assert told["kl"].item() == pytest.approx(kl.item(), rel=1e-4)


@both_constructions
def test_scores_of_draws_count_hidden_pixels_alone(construction, photos):
    """An answer's known pixels change neither the scores nor their gradient."""
    network, (images, masks) = make(construction), holed(photos, 4)
    hidden, answers = network.window(1 - masks, masks), []

    def decode(condition, z):
        answers.append(torch.rand(len(z), *network.window(images, masks).shape[1:], generator=generator()))
        return answers[0].requires_grad_()

    network.decode = decode
    sum(notebook3.score_draws(network, network.condition(images, masks), images, masks).values()).backward()
    grad = answers[0].grad.unflatten(0, (4, 4))
    known = (hidden == 0)[:, None].expand_as(grad)
    assert grad[known].abs().max() == 0
    assert grad[~known].abs().mean() > 0
    assert hidden.sum() == (1 - masks).sum()


def test_the_whole_image_has_squares_where_the_bound_is_taken():
    masks = notebook3.cut_mostly_squares(16, generator())
    sizes = (masks == 0).sum(dim=(1, 2, 3)).tolist()
    assert sizes[:8] == [144] * 8
    assert sizes[8:10] == [196] * 2
    assert len({*sizes[10:]}) > 1


def test_a_badge_lies_in_the_hole_and_shows_the_coin(photos):
    masks = notebook3.cut_badges(64, generator())
    assert ((masks == 0).sum(dim=(1, 2, 3)) == 36).all()
    torch.manual_seed(0)
    badges, coin = notebook3.throw_coin(photos.test[:64] / 255, masks)
    assert torch.equal(badges * masks, photos.test[:64] / 255 * masks)
    parts = utils.cut_windows(badges, masks, 6)
    assert torch.equal((parts[:, 0] - parts[:, 2]).mean(dim=(1, 2)) > 0, coin[:, 0] == 1)
    assert 0.3 < coin.mean() < 0.7
    errors = parts - torch.where(coin == 1, *torch.tensor([[[0.8, 0.2, 0.2]], [[0.2, 0.2, 0.8]]]))[..., None, None]
    assert errors.std() == pytest.approx(0.1, rel=0.05)


@pytest.fixture
def coins(photos, monkeypatch):
    """Short trainings on plain images: the redness of 200 draws of the prior, and the KL."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
    plain = torch.randint(0, 256, (560, 3, 1, 1), generator=generator(), dtype=torch.uint8).expand(-1, -1, 32, 32)
    plain = utils.Photos("plain", *plain.contiguous().split([512, 16, 32]))

    def train(loss_fn) -> tuple[torch.Tensor, float]:
        torch.manual_seed(0)
        network = notebook3.Coin()
        log = utils.train(network, loss_fn, plain, notebook3.cut_badges, 40, rate=1e-2, batch_size=64)
        images, masks = plain.test.to(utils.DEVICE) / 255, notebook3.cut_badges(32, generator()).to(utils.DEVICE)
        with torch.inference_mode():
            condition = network.condition(images, masks)
            draws = torch.stack(
                [network.decode(condition, notebook3.draw(network.prior(condition))) for _ in range(200)]
            )
        return (draws[:, :, 0] - draws[:, :, 2]).mean(dim=(2, 3)).cpu(), log.kl.iloc[-1]

    return train


def test_a_coin_is_red_or_blue_and_with_too_large_a_sigma_purple(coins):
    red, kl = coins(notebook3.coin_loss)
    assert (red.abs() < 0.3).float().mean() < 0.25
    assert 0.25 < (red > 0).float().mean() < 0.75
    assert kl > 0.5
    red, kl = coins(functools.partial(notebook3.coin_loss, sigma=3))
    assert red.abs().max() < 0.3
    assert kl < 0.05
