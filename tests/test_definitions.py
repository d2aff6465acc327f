"""What the notebooks define, networks, losses, scores and fills, is what they say of it."""

import math
from types import SimpleNamespace

import pytest
import scipy
import torch
from torch.distributions import Normal

import judge
import utils
from notebooks import generator
from runs import load_definitions

notebook1, notebook2 = load_definitions("1_direct_convolution"), load_definitions("2_autoencoder")
notebook3 = load_definitions("3_cvae")


@pytest.mark.parametrize("side", [12, 14])
def test_the_windows_loss_is_the_holes_in_which_known_pixels_have_no_part(side):
    torch.manual_seed(0)
    network = notebook1.make_network()
    images = torch.rand(9, 3, 32, 32, generator=generator())
    torch.nn.init.normal_(network[-1].weight, std=0.1)  # an answer that is not the same everywhere
    corners = torch.randint(0, 33 - side, (9, 2), generator=generator())
    masks = utils.square_holes(corners, side)
    error = (notebook1.fill_with(network, images, masks) - images)[(masks == 0).expand(9, 3, 32, 32)]
    for loss, _ in (
        notebook1.hole_loss(network, images, masks, 0),
        notebook1.window_loss(network, images, masks, 0, side),
    ):
        assert loss.item() == pytest.approx(error.square().mean().item(), rel=1e-4)


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=generator(seed))


class Answer(SimpleNamespace):
    """Stands for a network: it answers `part`, whatever it sees."""

    margin = 12

    def __call__(self, window):
        return self.part


@pytest.mark.parametrize("margin", [4, 8])
def test_the_margin_is_what_is_seen_and_no_hidden_pixel_is(margin):
    masks = utils.square_holes(torch.tensor([[10, 10]]), 12)
    network = notebook2.MissingPart(margin=margin)
    torch.nn.init.normal_(network.to_part.weight)
    images = some_images(1).requires_grad_()
    notebook2.predict_part(network, images, masks).square().sum().backward()
    seen = images.grad.abs().sum(dim=(0, 1))
    spots = seen.nonzero()
    assert spots.amin(dim=0).tolist() == [10 - margin] * 2
    assert spots.amax(dim=0).tolist() == [21 + margin] * 2
    assert seen[10:22, 10:22].max() == 0


def test_the_rim_costs_more_and_nothing_outside_the_photograph():
    corners = torch.tensor([[0, 0], [0, 20], [20, 0], [20, 20], [7, 9]])
    images, masks = some_images(5), utils.square_holes(corners, 12)
    truth = utils.cut_windows(images, masks, 12, 2)
    inside = utils.cut_windows(torch.ones_like(masks), masks, 12, 2)
    rim, middle = inside.clone(), torch.zeros_like(inside)
    rim[:, :, 2:-2, 2:-2], middle[:, :, 3:-3, 3:-3] = 0, 1
    outermost = inside - rim - middle
    total = 1.5 * rim.sum() + 3 * outermost.sum() + middle.sum()
    for error, cost in ((1 - inside, 0), (rim, 1.5), (outermost, 3), (middle, 1)):
        loss, _ = notebook2.rim_loss(Answer(side=16, part=truth + error), images, masks, 0)
        assert loss.item() == pytest.approx(cost * (error.sum() / total).item())


HALVES = {"missing part": notebook3.MissingPart, "whole image": notebook3.WholeImage}
PAIR = [lambda: notebook3.CVAE(notebook3.MissingPart()), lambda: notebook3.CVAE(notebook3.WholeImage())]
both_constructions = pytest.mark.parametrize("construction", PAIR)


def make(construction, **options) -> torch.nn.Module:
    """A network with weights that were stirred, so that nothing is 0 by its start alone."""
    torch.manual_seed(0)
    network = construction(**options)
    for name, parameter in network.named_parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
        if "to_part" in name or "to_image" in name:  # answers around grey, few are clipped
            parameter.data *= 0.03
            parameter.data += 0.5 * name.endswith("bias")
    return network.eval()


def holed(photos, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return photos.test[:n] / 255, utils.evaluation_masks("random", n)


def test_frequencies_are_those_of_scipy_and_lose_nothing():
    parts = torch.rand(4, 3, 12, 12, generator=generator())
    amounts = notebook3.to_frequencies(parts)
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
        for name, halves in HALVES.items():
            network = halves().eval()
            network.load_state_dict(weights[name])
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
def test_where_z_says_nothing_the_likelihood_is_that_of_the_gaussian(construction, photos, monkeypatch):
    network, (images, masks) = make(construction), holed(photos)
    variance = torch.rand(3, 12, 12, generator=generator(3)) + 0.01
    for parameter in (*network.merge.parameters(), *network.to_posterior.parameters()):
        torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        monkeypatch.setitem(notebook3.log_weights.__globals__, "own_spread", lambda *_: 1.0)
        weights = notebook3.log_weights(network, variance, generator(), images, masks, 3)
        condition = network.condition(images, masks)
        answer = network.decode(condition, torch.zeros_like(network.prior(condition).mean))
        errors = notebook3.hidden_errors(network.halves, answer, images, masks)
        bound, kl = notebook3.elbo(network, condition, images, masks, notebook3.by_frequency)
    squared = notebook3.to_frequencies(errors).square()
    expected = notebook3.log_density(squared, variance)
    assert torch.allclose(notebook3.log_mean(weights), expected, rtol=1e-4)
    best = notebook3.log_density(squared, squared.mean(dim=0)).mean() - kl
    assert bound.item() == pytest.approx(best.item(), rel=1e-3)
    network.decode = lambda *_: answer
    off = notebook3.fill_by_chance(network, generator(), images, masks) - images
    assert torch.allclose(errors, utils.cut_windows(off, masks, 12), atol=1e-6)


@both_constructions
def test_the_own_spread_is_the_variance_of_draws(construction, photos):
    network, (images, masks), sizes = make(construction), holed(photos, 4), torch.tensor([0.1, 0.1, 0.2, 0.3])
    shape = network.halves.window(images, masks)[0].shape[1:]
    noise = sizes[:, None, None, None, None] * torch.randn(4, 8, *shape, generator=generator())
    network.decode = lambda *_: 0.5 + noise.flatten(0, 1)
    spread = notebook3.own_spread(network, generator(), network.condition(images, masks), images, masks)
    of_eight = math.exp(scipy.special.digamma(3.5)) * 2 / 7  # what the geometric mean of such variances is
    assert torch.allclose(spread.flatten() / sizes**2, torch.tensor(of_eight), rtol=0.1)


@both_constructions
def test_scores_of_draws_count_hidden_pixels_alone(construction, photos):
    network, (images, masks) = make(construction), holed(photos, 4)
    hidden, answers = 1 - network.halves.window(images, masks)[1], []

    def decode(condition, z):
        answers.append(torch.rand(len(z), 3, *hidden.shape[2:], generator=generator()))
        return answers[0].requires_grad_()

    network.decode = decode
    windows = notebook3.draw_windows(network, network.condition(images, masks), images, masks)
    (sum(notebook3.score_views(*windows).values()) + notebook3.score_frequencies(*windows)).backward()
    grad = answers[0].grad.unflatten(0, (4, 4))
    known = (hidden == 0)[:, None].expand_as(grad)
    assert grad[known].abs().max() == 0
    assert grad[~known].abs().mean() > 0


def test_right_draws_are_as_varied_as_their_mean_errs():
    case = 255 * some_images(64, seed=1), utils.evaluation_masks("random", 64), notebook3.to_frequencies
    variance, error = judge.variance_and_error(torch.rand(64, 19, 3, 32, 32, generator=generator()), *case)
    assert float(variance.sum() / error.sum()) == pytest.approx(1, abs=0.03)
