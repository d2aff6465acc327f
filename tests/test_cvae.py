"""Notebook 3's divergence, scores, likelihood and fills are what it says of them."""

import functools
import math

import pytest
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
    return network.eval()


def gaussian(*shape: int, seed: int) -> Normal:
    g = generator(seed)
    return Normal(torch.randn(shape, generator=g), torch.rand(shape, generator=g) + 0.1)


def test_the_divergence_is_that_of_torch():
    q, p = gaussian(50, 4, seed=1), gaussian(50, 4, seed=2)
    assert torch.allclose(notebook3.gaussian_kl(q, p), kl_divergence(q, p), atol=1e-5)
    assert notebook3.gaussian_kl(q, q).abs().max() < 1e-6
    latents = [notebook3.Latent(None, q, p), notebook3.Latent(None, p, q)]
    expected = torch.stack([kl_divergence(q, p), kl_divergence(p, q)]).sum(dim=2)
    assert torch.allclose(notebook3.kl_of(latents), expected, atol=1e-3)


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


def test_blocks_are_means_of_4x4_pixels():
    parts = torch.rand(2, 5, 3, 12, 12, generator=generator())
    assert torch.allclose(notebook3.blocks(parts)[1, 2, 0, 2, 1], parts[1, 2, 0, 8:12, 4:8].mean())


def test_without_a_latent_it_starts_with_the_answers_of_notebook_2(photos, monkeypatch):
    """The weights are kept as half precision, so the answers agree to that."""
    before = make(notebook2.MissingPart)
    weights = {key: value.half().float() for key, value in before.state_dict().items()}
    before.load_state_dict(weights)
    construction = functools.partial(notebook3.MissingPart, latents=(0, 0, 0))
    monkeypatch.setitem(notebook3.CONSTRUCTIONS, "missing part", construction)
    network = notebook3.start_from({"missing part": weights}, "missing part").eval()
    images, masks = photos.test[:8] / 255, utils.evaluation_masks("random", 8)
    with torch.inference_mode():
        condition = network.condition(images, masks)
        answer, _ = network.decode(condition, notebook3.draw_noise(network, condition))
        expected = notebook2.predict_part(before, images, masks)
    assert torch.allclose(answer, expected, atol=1e-5)


def test_layers_that_notebook_2_has_too_start_from_its_weights():
    before = make(notebook2.WholeImage)
    network = notebook3.start_from({"whole image": before.state_dict()}, "whole image")
    theirs, ours = before.state_dict(), network.state_dict()
    same = [layer for layer in theirs if layer in ours and torch.equal(ours[layer], theirs[layer])]
    assert {layer.split(".")[0] for layer in same} == {"encoder", "narrow", "refine"}


@both_constructions
def test_draws_differ_by_their_seed_alone_and_never_touch_known_pixels(construction, photos):
    network, images = make(construction).to(utils.DEVICE), photos.test[:8]
    masks = utils.evaluation_masks("random", 8)
    first, again, other = (notebook3.draw_fills(network, images, masks, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    hidden = (masks == 0)[:, None].expand_as(first)
    assert (first != other)[hidden].float().mean() > 0.5
    assert (first[:, 0] != first[:, 2])[hidden[:, 0]].float().mean() > 0.5
    assert torch.equal(first[~hidden], (images[:, None] / 255).expand_as(first)[~hidden])


@both_constructions
def test_the_prior_sees_no_hidden_pixel(construction, photos):
    """What lies under the hole changes no draw, bit for bit; the posterior does see it."""
    network, masks = make(construction), utils.evaluation_masks("random", 8)
    images = photos.test[:8] / 255
    others = utils.composite(torch.rand(images.shape, generator=generator(3)), images, masks)
    with torch.inference_mode():
        conditions = [network.condition(x, masks) for x in (images, others)]
        noise = notebook3.draw_noise(network, conditions[0], generator())
        draws = [network.decode(condition, noise) for condition in conditions]
        known = [network.decode(conditions[0], noise, network.recognise(x, masks))[1] for x in (images, others)]
    assert torch.equal(draws[0][0], draws[1][0])
    for a, b in zip(*(latents for _, latents in draws), strict=True):
        assert torch.equal(a.z, b.z)
        assert a.posterior is a.prior
    assert not torch.equal(known[0][0].z, known[1][0].z)


@both_constructions
def test_without_a_latent_the_likelihood_is_that_of_its_gaussian(construction, photos):
    network, images, masks = make(construction, latents=(0, 0, 0)), photos.test[:8], utils.evaluation_masks("random", 8)
    network.sigma = torch.tensor(0.2)
    network.to(utils.DEVICE)
    found = torch.from_numpy(notebook3.log_likelihood(network, images, masks, 4))
    both = []
    with torch.inference_mode():
        for flip in (lambda x: x, lambda x: x.flip(3)):
            some, some_masks = (flip(images) / 255).to(utils.DEVICE), flip(masks).to(utils.DEVICE)
            condition = network.condition(some, some_masks)
            answer, _ = network.decode(condition, notebook3.draw_noise(network, condition))
            density = Normal(network.hidden(answer, some_masks), 0.2)
            both.append(density.log_prob(utils.cut_windows(some, some_masks, 12)).sum(dim=(1, 2, 3)).cpu())
    assert torch.allclose(found, torch.logaddexp(*both) - math.log(2), rtol=1e-4)


@both_constructions
def test_the_bound_lies_below_the_likelihood(construction, photos):
    """The ELBO is the mean of the logarithm of the weights, the likelihood the logarithm of their mean."""
    network, masks = make(construction), utils.evaluation_masks("random", 4)
    with torch.inference_mode():
        weights = notebook3.log_weights(network, photos.test[:4] / 255, masks, 64, generator())
    assert weights.shape == (4, 64)
    assert (weights.logsumexp(dim=1) - math.log(64) > weights.mean(dim=1)).all()


def test_the_loss_counts_hidden_pixels_alone(photos):
    """For the whole image, an answer's known pixels change neither the loss nor its gradient."""
    network, images, masks = make(notebook3.WholeImage), photos.test[:4] / 255, utils.evaluation_masks("random", 4)
    answer = torch.rand(4, 3, 32, 32, generator=generator(), requires_grad=True)
    network.hidden(answer, masks).square().sum().backward()
    assert answer.grad[(masks == 1).expand_as(answer)].abs().max() == 0
    assert answer.grad[(masks == 0).expand_as(answer)].abs().min() > 0
    with torch.inference_mode():
        assert math.isfinite(notebook3.cvae_loss(network, images, masks, 0.5)[0])


def test_the_badge_is_the_middle_of_the_hole_wherever_it_is():
    corners = torch.cartesian_prod(torch.arange(21), torch.arange(21))
    badges = notebook3.find_badge(utils.square_holes(corners, 12))
    assert torch.equal(badges.float(), 1 - utils.square_holes(corners + 3, 6))


def redness(fills: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean red less mean blue over the badge, `(N, K)`, of fills `(N, K, 3, H, W)`."""
    badge = notebook3.find_badge(masks)[:, None]
    means = (fills * badge).sum(dim=(3, 4)) / badge.sum(dim=(3, 4))
    return means[..., 0] - means[..., 2]


def test_two_colours_at_a_small_size(monkeypatch):
    """On plain images, after a short training, one answer is never clearly red or blue; most draws are, both ways."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")
    plain = torch.randint(0, 256, (112, 3, 1, 1), generator=generator(), dtype=torch.uint8).expand(-1, -1, 32, 32)
    plain = utils.Photos("plain", *plain.contiguous().split([64, 16, 32]))
    masks, found = utils.evaluation_masks("random", 32), {}
    for name, latents, loss_fn, epochs in (
        ("one", (0, 0, 0), notebook3.squared_loss, 20),
        ("many", (0, 8, 0), functools.partial(notebook3.cvae_loss, betas=(1,)), 60),
    ):
        torch.manual_seed(0)
        network, loss_fn = notebook3.MissingPart(latents), functools.partial(notebook3.with_badge, loss_fn)
        utils.train(network, loss_fn, plain, utils.random_holes, epochs, rate=3e-3)
        found[name] = redness(notebook3.draw_fills(network, plain.test, masks, 16), masks)
    assert found["one"].abs().mean() < 0.2
    assert found["one"].abs().max() < 0.5
    assert (found["many"].abs() > 0.5).float().mean() > 0.55
    red, blue = (found["many"] > 0.5).any(dim=1), (found["many"] < -0.5).any(dim=1)
    assert (red & blue).float().mean() > 0.9
