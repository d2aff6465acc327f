"""Parts are put back exactly, and notebook 2's two constructions are what it says of them."""

from types import SimpleNamespace

import pytest
import torch

import utils
from notebooks import load_definitions

notebook2 = load_definitions("2_autoencoder")
CORNERS = torch.cartesian_prod(torch.arange(21), torch.arange(21))  # every place of a 12x12 hole in a 32x32 image


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def set_by_hand(network: torch.nn.Module, last: torch.nn.Conv2d, colour=(0.2, 0.5, 0.8)) -> torch.nn.Module:
    """The network with a last layer that answers this colour everywhere."""
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor(colour).repeat_interleave(len(last.bias) // 3)
    return network


def test_a_part_put_back_is_exact_at_every_place():
    images, masks = torch.rand(len(CORNERS), 3, 32, 32, generator=generator()), utils.square_holes(CORNERS, 12)
    assert torch.equal(utils.put_back(utils.cut_windows(images, masks, 12), images * masks, masks), images)
    other = torch.rand(len(CORNERS), 3, 12, 12, generator=generator(1))
    filled = utils.put_back(other, images, masks)
    for image, photo, part, (top, left) in zip(filled, images, other, CORNERS.tolist(), strict=True):
        expected = photo.clone()
        expected[:, top : top + 12, left : left + 12] = part
        assert torch.equal(image, expected)


def test_the_gradient_goes_through_the_hole_alone():
    masks = utils.random_holes(5, generator())
    images, parts = torch.rand(5, 3, 32, 32, requires_grad=True), torch.rand(5, 3, 12, 12, requires_grad=True)
    scale = torch.rand(5, 3, 32, 32, generator=generator(2))
    (utils.put_back(parts, images, masks) * scale).sum().backward()
    assert torch.equal(parts.grad, utils.cut_windows(scale, masks, 12))
    assert torch.equal(images.grad, scale * masks)


def two_halves() -> torch.Tensor:
    """As many hidden pixels, rows and columns as a 12x12 hole has, but in two pieces."""
    masks = torch.ones(1, 1, 32, 32)
    masks[:, :, 2:8, 5:17] = masks[:, :, 20:26, 5:17] = 0
    return masks


@pytest.mark.parametrize(
    "masks",
    [utils.center_holes(2, generator()), utils.irregular_holes(2, generator()), two_halves(), torch.ones(1, 1, 32, 32)],
)
def test_other_holes_are_refused_with_the_shapes(masks):
    images, parts = torch.rand(len(masks), 3, 32, 32), torch.rand(len(masks), 3, 12, 12)
    for refuse in (
        lambda: utils.put_back(parts, images, masks),
        lambda: notebook2.fill_part(notebook2.MissingPart(12), images, masks),
    ):
        with pytest.raises(ValueError, match="12x12") as caught:
            refuse()
        assert str(tuple(parts.shape)) in str(caught.value)
        assert str(tuple(masks.shape)) in str(caught.value)


def test_both_constructions_give_the_same_result_for_a_network_set_by_hand(photos):
    masks = utils.evaluation_masks("random", 64)
    whole, part = notebook2.WholeImage(), notebook2.MissingPart(12)
    set_by_hand(whole, whole.to_image)
    set_by_hand(part, part.to_part)
    whole, part = whole.to(utils.DEVICE), part.to(utils.DEVICE)
    first = utils.fill_images(lambda i, m: notebook2.fill_whole(whole, i, m), photos.test, masks)
    second = utils.fill_images(lambda i, m: notebook2.fill_part(part, i, m), photos.test, masks)
    assert (utils.cut_windows(first, masks, 12)[:, 2] - 0.8).abs().max() < 1e-2
    assert torch.equal(first, second)


def test_sizes_and_equal_encoders():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    whole, part, rim = notebook2.WholeImage(), notebook2.MissingPart(12), notebook2.MissingPart(16)
    for size in (32, 64):
        assert whole(torch.rand(2, 4, size, size)).shape == (2, 3, size, size)
    assert part(torch.rand(2, 4, 36, 36)).shape == (2, 3, 12, 12)
    assert rim(torch.rand(2, 4, 40, 40)).shape == (2, 3, 16, 16)
    masks = utils.random_holes(2, generator())
    for margin in (4, 8, 12, 20):
        network = notebook2.MissingPart(margin=margin)
        assert notebook2.predict_part(network, torch.rand(2, 3, 32, 32), masks).shape == (2, 3, 12, 12)
    assert count(whole.encoder) == count(part.encoder) == count(rim.encoder)
    assert count(part) == count(rim)


def test_without_skips_everything_passes_through_the_code():
    x = torch.rand(4, 4, 32, 32, generator=generator())
    for skips in (True, False):
        network = notebook2.WholeImage(code=4, skips=skips)
        torch.nn.init.normal_(network.to_image.weight)
        torch.nn.init.zeros_(network.encoder.to_code.weight)
        output = network(x)
        assert torch.allclose(output[0], output[1], atol=1e-5) is not skips


@pytest.mark.parametrize("side", [12, 16])
def test_no_hidden_pixel_is_seen(side):
    network, masks = notebook2.MissingPart(side), utils.random_holes(6, generator())
    torch.nn.init.normal_(network.to_part.weight)
    images, other = torch.rand(6, 3, 32, 32, generator=generator()), torch.rand(6, 3, 32, 32, generator=generator(1))
    first, second = (notebook2.predict_part(network, i, masks) for i in (images, torch.where(masks > 0, images, other)))
    assert torch.equal(first, second)
    assert not torch.equal(first, notebook2.predict_part(network, other, masks))


class Answer(SimpleNamespace):
    """Stands for a network: it answers `part`, whatever it sees."""

    margin = 12

    def __call__(self, window):
        return self.part


def test_the_rim_costs_more_and_nothing_outside_the_photograph():
    corners = torch.tensor([[0, 0], [0, 20], [20, 0], [20, 20], [7, 9]])
    images, masks = torch.rand(5, 3, 32, 32, generator=generator()), utils.square_holes(corners, 12)
    truth, inside = (utils.cut_windows(x, masks, 12, 2) for x in (images, torch.ones_like(masks)))
    rim = inside.clone()
    rim[:, :, 2:-2, 2:-2] = 0

    def loss(error):
        return notebook2.rim_loss(Answer(side=16, part=truth + error), images, masks, 0)[0].item()

    assert loss(9 * (1 - inside)) == 0  # in four of the five the rim is partly outside
    assert (1 - inside).sum() == 4 * (16 * 16 - 14 * 14)
    middle = torch.zeros_like(rim)
    middle[:, :, 3:-3, 3:-3] = 1
    outermost = inside - rim - middle
    weight = 1.5 * rim.sum() + 3 * outermost.sum() + middle.sum()
    assert loss(inside) == pytest.approx(1)
    assert loss(middle) == pytest.approx((middle.sum() / weight).item())
    assert loss(outermost) == pytest.approx((3 * outermost.sum() / weight).item())
    assert loss(rim) == pytest.approx((1.5 * rim.sum() / weight).item())


def test_a_margin_is_what_the_network_sees():
    """A pixel that far from the hole has a say, the next one has none."""
    masks = utils.square_holes(torch.tensor([[10, 10]]), 12)
    for margin in (4, 8):
        network = notebook2.MissingPart(margin=margin)
        torch.nn.init.normal_(network.to_part.weight)
        images = torch.rand(1, 3, 32, 32, generator=generator(), requires_grad=True)
        notebook2.predict_part(network, images, masks).square().sum().backward()
        seen = images.grad.abs().sum(dim=(0, 1)).nonzero()
        assert seen.amin(dim=0).tolist() == [10 - margin] * 2
        assert seen.amax(dim=0).tolist() == [21 + margin] * 2


def test_the_plain_parts_loss_is_that_over_the_hole():
    images, masks = torch.rand(5, 3, 32, 32, generator=generator()), utils.random_holes(5, generator())
    answer = torch.rand(5, 3, 32, 32, generator=generator(1))
    part = Answer(side=12, part=utils.cut_windows(answer, masks, 12))
    loss, figures = notebook2.part_loss(part, images, masks, 0)
    expected, _ = notebook2.hole_loss(lambda x: answer, images, masks, 0)
    assert loss.item() == pytest.approx(expected.item())
    assert figures["psnr"].item() == pytest.approx(-10 * torch.log10(loss).item())


@pytest.mark.parametrize("make", [lambda n: (n.WholeImage(), n.hole_loss), lambda n: (n.MissingPart(16), n.rim_loss)])
def test_both_learn(make, photos):
    torch.manual_seed(0)
    network, loss_fn = make(notebook2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    images, masks, losses = photos.train[:16] / 255, utils.random_holes(16, generator()), []
    for _ in range(25):
        loss, _ = loss_fn(network, images, masks, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_asking_twice_gives_the_same_fill_for_the_mirrored_image(photos):
    images, masks = photos.test[:8] / 255, utils.evaluation_masks("random", 8)
    leaning = torch.linspace(0, 1, 32).expand(8, 3, 32, 32)  # this fill knows left from right

    def ask(images, masks):
        return notebook2.fill_twice(lambda network, i, m: leaning * i.mean(), None, images, masks)

    assert torch.allclose(ask(images, masks), ask(images.flip(3), masks.flip(3)).flip(3))
    assert torch.allclose(ask(images, masks), (leaning + leaning.flip(3)) / 2 * images.mean())
