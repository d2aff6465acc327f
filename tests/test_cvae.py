"""Notebook 3's coin, frequencies, scores, likelihood and fills are what it says of them."""

import functools
import math

import pytest
import scipy
import torch
from torch.distributions import Normal

import utils
from notebooks import load_definitions

notebook2, notebook3 = load_definitions("2_autoencoder"), load_definitions("3_cvae")
PAIR = [notebook3.MissingPart, notebook3.WholeImage]
both_constructions = pytest.mark.parametrize("construction", PAIR)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(construction, **options) -> torch.nn.Module:
    """A network with weights that were stirred, so that nothing is 0 by its start alone."""
    torch.manual_seed(0)
    network = construction(**options)
    for name, parameter in network.named_parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
        if name.startswith(("to_part", "to_image")):  # answers around grey, few are clipped
            parameter.data *= 0.03
            parameter.data += 0.5 * name.endswith("bias")
    return network.eval()


def holed(photos, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return photos.test[:n] / 255, utils.evaluation_masks("random", n)


def test_a_draw_passes_the_gradient_on():
    mean = torch.full((50_000,), 2.0, requires_grad=True)
    stddev = torch.full((50_000,), 0.5, requires_grad=True)
    z = notebook3.draw(Normal(mean, stddev), generator())
    assert (z.mean().item(), z.std().item()) == pytest.approx((2, 0.5), abs=0.01)
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))
    assert torch.allclose(stddev.grad, (z.detach() - 2) / 0.5, atol=1e-5)


def test_the_density_is_that_of_torch():
    error = torch.randn(5, 3, 12, 12, generator=generator())
    variance = torch.rand(3, 12, 12, generator=generator(1)) + 0.1
    expected = Normal(torch.zeros(()), variance.sqrt()).log_prob(error).sum(dim=(1, 2, 3))
    assert torch.allclose(notebook3.log_density(error.square(), variance), expected, rtol=1e-4)


def test_frequencies_are_those_of_scipy_and_lose_nothing():
    parts = torch.rand(4, 3, 12, 12, generator=generator())
    amounts = notebook3.to_frequencies(parts)
    assert torch.allclose(notebook3.from_frequencies(amounts), parts, atol=1e-5)
    assert torch.allclose(amounts.square().sum(), parts.square().sum(), rtol=1e-5)
    brightness = parts.sum(dim=1).numpy() / 3**0.5
    expected = torch.from_numpy(scipy.fft.dctn(brightness, axes=(1, 2), norm="ortho"))
    assert torch.allclose(amounts[:, 0], expected, atol=1e-5)


def test_the_crps_is_that_of_its_closed_form():
    """For a standard normal and y it is y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi)."""
    standard, truth = Normal(torch.zeros(3), torch.ones(3)), torch.tensor([-1.0, 0.0, 2.0])
    closed = truth * (2 * standard.cdf(truth) - 1) + 2 * standard.log_prob(truth).exp()
    draws = torch.randn(1, 20_000, 3, generator=generator())
    found = notebook3.crps(draws, truth[None])[0]
    assert torch.allclose(found, closed - 1 / math.sqrt(math.pi), atol=0.01)


def test_without_chance_it_starts_with_the_answers_of_notebook_2(photos):
    images, masks = holed(photos)
    part, whole = make(notebook2.MissingPart, side=16), make(notebook2.WholeImage)
    weights = {"missing part": part.state_dict(), "whole image": whole.state_dict()}
    with torch.inference_mode():
        expected = {"missing part": notebook2.predict_part(part, images, masks)}
        expected["whole image"] = notebook2.fill_whole(whole, images, masks)
        for name in notebook3.CONSTRUCTIONS:
            network = notebook3.start_from(weights, name).eval()
            answer = network.answer(*network.condition(images, masks))
            assert torch.allclose(answer, expected[name], atol=1e-5), name


@pytest.mark.parametrize("construction", [notebook3.Coin, *PAIR])
def test_the_prior_sees_no_hidden_pixel_and_the_posterior_does(construction, photos):
    network, (images, masks) = make(construction), holed(photos)
    others = utils.composite(torch.rand(images.shape, generator=generator(3)), images, masks)
    with torch.inference_mode():
        conditions = [network.condition(x, masks) for x in (images, others)]
        priors = [network.prior(condition).mean for condition in conditions]
        answers = [network.decode(condition, priors[0]) for condition in conditions]
        known = [network.posterior(conditions[0], x, masks).mean for x in (images, others)]
    assert torch.equal(*priors)
    assert torch.equal(*answers)
    assert not torch.equal(*known)


@both_constructions
def test_draws_differ_by_their_seed_alone_and_never_touch_known_pixels(construction, photos):
    network, (images, masks) = make(construction).to(utils.DEVICE), holed(photos)
    first, again = (notebook3.draw_fills(network, photos.test[:8], masks, 4) for _ in range(2))
    assert torch.equal(first, again)
    hidden = (masks == 0).expand_as(images)
    assert (first[:, 0] != first[:, 2])[hidden].float().mean() > 0.5
    assert torch.equal(first[:, 3][~hidden], images[~hidden])


def test_a_part_for_another_hole_is_refused(photos):
    images, masks = photos.test[:4] / 255, utils.evaluation_masks("irregular", 4)
    with pytest.raises(ValueError, match="12x12"):
        notebook3.fill_by_chance(make(notebook3.MissingPart), generator(), images, masks)


@both_constructions
def test_where_z_says_nothing_the_likelihood_is_that_of_the_gaussian(construction, photos):
    network, (images, masks) = make(construction), holed(photos)
    network.variance = torch.rand(3, 12, 12, generator=generator(3)) + 0.01
    for parameter in (*network.merge.parameters(), *network.to_posterior.parameters()):
        torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        weights = notebook3.log_weights(network, generator(), images, masks, 3)
        condition = network.condition(images, masks)
        answer = network.decode(condition, torch.zeros_like(network.prior(condition).mean))
        squared = network.squared_error(answer, images, masks)
        _, told = notebook3.negative_elbo(network, condition, images, masks)
    expected = notebook3.log_density(squared, network.variance)
    assert torch.allclose(notebook3.log_mean(weights), expected, rtol=1e-4)
    best = notebook3.log_density(squared, squared.mean(dim=0)).mean() - told["kl"]
    assert told["elbo"].item() == pytest.approx(best.item(), rel=1e-3)


@both_constructions
def test_scores_of_draws_count_hidden_pixels_alone(construction, photos):
    network, (images, masks) = make(construction), holed(photos, 4)
    hidden, answers = network.window(1 - masks, masks), []

    def decode(condition, z):
        answers.append(torch.rand(len(z), 3, *hidden.shape[2:], generator=generator()))
        return answers[0].requires_grad_()

    network.decode = decode
    scores = notebook3.score_draws(network, network.condition(images, masks), images, masks)
    sum(scores.values()).backward()
    grad = answers[0].grad.unflatten(0, (4, 4))
    known = (hidden == 0)[:, None].expand_as(grad)
    assert grad[known].abs().max() == 0
    assert grad[~known].abs().mean() > 0


def test_a_coin_is_red_or_blue_and_with_too_large_a_sigma_purple(photos, monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
    shape, options = (560, 3, 1, 1), {"generator": generator(), "dtype": torch.uint8}
    plain = torch.randint(0, 256, shape, **options).expand(-1, -1, 32, 32).contiguous()
    plain = utils.Photos("plain", *plain.split([512, 16, 32]))
    masks, found = notebook3.cut_badges(32, generator()), []
    for loss_fn in (notebook3.coin_loss, functools.partial(notebook3.coin_loss, sigma=3)):
        torch.manual_seed(0)
        network, options = notebook3.Coin(), {"rate": 1e-2, "batch_size": 64}
        log, _ = utils.run_training(network, loss_fn, plain, notebook3.cut_badges, 40, **options)
        images = plain.test.to(utils.DEVICE) / 255
        with torch.inference_mode():
            condition = network.condition(images, masks.to(utils.DEVICE))
            prior = network.prior(condition)
            draws = [network.decode(condition, notebook3.draw(prior)) for _ in range(200)]
        red = torch.stack([(x[:, 0] - x[:, 2]).mean(dim=(1, 2)) for x in draws])
        found.append((red.cpu(), log.kl.iloc[-1]))
    (red, kl), (purple, collapsed) = found
    assert (red.abs() < 0.3).float().mean() < 0.25
    assert 0.25 < (red > 0).float().mean() < 0.75
    assert kl > 0.5
    assert purple.abs().max() < 0.3
    assert collapsed < 0.05
