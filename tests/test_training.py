"""The training loop and what it promises, with the networks of the notebooks."""

import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import utils
from notebooks import load_definitions

direct = load_definitions("1_direct_convolution")


@pytest.fixture
def full(monkeypatch):
    """As many epochs as are asked for."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")


def small(photos: utils.Photos, n: int) -> utils.Photos:
    return utils.Photos(photos.name, photos.train[:n], photos.validation[:8], photos.test[:8])


def tiny_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Conv2d(4, 3, 3, padding=1)


def tiny_loss(model, images, masks, progress):
    error = (model(utils.network_input(images, masks)).float() - images).square()
    return error.mean(), {"progress": torch.tensor(progress)}


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


def test_the_window_gives_the_same_fill_as_the_whole_image(photos):
    torch.manual_seed(0)
    network, images = direct.make_network(), photos.test[:40] / 255
    nn.init.normal_(network[-1].weight, std=0.1)
    corners = torch.cartesian_prod(*[torch.tensor([0, 3, 10, 17, 20])] * 2)
    masks = utils.square_holes(corners, 12)
    images = images[: len(masks)]
    with torch.no_grad():
        everywhere = utils.cut_windows(direct.fill_with(network, images, masks), masks, 12)
        window = network(utils.cut_windows(utils.network_input(images, masks), masks, 12, margin=10))
        loss, figures = direct.hole_loss(network, images, masks, 0)
    assert (everywhere - window).abs().max() < 1e-4
    truth = utils.cut_windows(images, masks, 12)
    assert loss.item() == pytest.approx(F.mse_loss(everywhere, truth).item(), rel=1e-4)
    assert figures["psnr"].item() == pytest.approx(utils.psnr([loss.item()]), abs=1e-3)


def test_the_whole_images_loss_is_over_all_pixels_and_logs_the_holes_psnr(photos):
    images, masks = photos.test[:8] / 255, utils.evaluation_masks("irregular", 8)
    network = direct.make_network()
    with torch.no_grad():
        loss, figures = direct.image_loss(network, images, masks, 0)
        error = (direct.fill_with(network, images, masks) - images).square()
    assert loss.item() == pytest.approx(error.mean().item(), rel=1e-5)
    hidden = error[(masks == 0).expand_as(error)].mean()
    assert figures["psnr"].item() == pytest.approx(utils.psnr([hidden.item()]), abs=1e-3)


def test_a_fill_does_not_depend_on_what_is_hidden(photos):
    network, images = direct.make_network(), photos.test[:8] / 255
    nn.init.normal_(network[-1].weight, std=0.1)
    masks = utils.evaluation_masks("random", 8)
    other = utils.composite(torch.rand_like(images), images, masks)
    with torch.no_grad():
        assert torch.equal(direct.fill_with(network, images, masks), direct.fill_with(network, other, masks))


@pytest.mark.parametrize("size", [32, 48, 64])
def test_the_network_fills_images_of_any_size(size):
    images, masks = torch.rand(2, 3, size, size), utils.evaluation_masks("random", 2, size)
    assert direct.fill_with(direct.make_network(), images, masks).shape == images.shape


def test_the_network_learns_a_tiny_set_by_heart(photos, full):
    """Three photographs, each always with the same hole."""
    torch.manual_seed(0)
    data = utils.Photos("tiny", *[photos.train[:3].repeat(4, 1, 1, 1)] * 3)
    corners = torch.tensor([[2, 3], [17, 9], [10, 20]]).repeat(4, 1)

    def as_ever(images):
        which = [int((image.cpu() - data.train[:3] / 255).abs().sum(dim=(1, 2, 3)).argmin()) for image in images]
        return utils.square_holes(corners[which], 12).to(images.device)

    def loss_fn(model, images, masks, progress):
        return direct.hole_loss(model, images, as_ever(images), progress)

    log = utils.train(direct.make_network(), loss_fn, data, utils.random_holes, 80)
    assert log.validation.iloc[-1] < 0.1 * log.validation.iloc[0]


def test_equal_seeds_give_equal_weights_on_the_cpu(photos, full):
    if utils.DEVICE.type != "cpu":
        pytest.skip("equal to the bit on the CPU only")
    models = [tiny_network() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        utils.train(model, tiny_loss, small(photos, 32), utils.random_holes, 2, seed=seed)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


def test_every_step_has_new_holes_and_flips_and_equal_seeds_the_same(photos, full):
    seen = []

    def spy(model, images, masks, progress):
        if model.training:
            seen.append((images.cpu().clone(), masks.cpu().clone(), progress))
        return tiny_loss(model, images, masks, progress)

    for _ in range(2):
        utils.train(tiny_network(), spy, small(photos, 32), utils.random_holes, 4, seed=3)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) == 8
    for (images, masks, progress), again in zip(first, second, strict=True):
        assert torch.equal(images, again[0])
        assert torch.equal(masks, again[1])
        assert progress == again[2]
    assert len({masks.numpy().tobytes() for _, masks, _ in first}) == 8
    progress = [p for *_, p in first]
    assert progress == sorted(progress)
    assert 0 <= progress[0] < progress[-1] < 1
    straight = {image.numpy().tobytes() for image in photos.train[:32]}
    kinds = [(image * 255).round().byte().numpy().tobytes() in straight for images, *_ in first for image in images]
    assert 0.3 < sum(kinds) / len(kinds) < 0.7, "about half of the images are mirrored"


def test_the_rate_warms_up_and_decays_to_0(photos, full, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    utils.train(tiny_network(), tiny_loss, small(photos, 32), utils.random_holes, 30, rate=0.1)
    assert len(rates) == 60
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] < 0.005


@pytest.mark.parametrize(("effort", "epochs"), [("stored", 20), ("full", 20), ("quick", 2), ("smoke", 1)])
def test_the_effort_scales_epochs_and_they_are_shown(photos, effort, epochs, monkeypatch, capsys):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
    log = utils.train(tiny_network(), tiny_loss, small(photos, 16), utils.random_holes, 20)
    assert log.epoch.iloc[-1] == epochs
    assert f"epoch {epochs:3} of {epochs}" in capsys.readouterr().out


def test_the_effort_scales_the_data(monkeypatch):
    sizes = {}
    for effort in utils.EFFORTS:
        monkeypatch.setenv("IMAGE_FILL_EFFORT", effort)
        photos = utils.load_images("photos")
        sizes[effort] = [len(split) for split in (photos.train, photos.validation, photos.test)]
    everything = [1800, 200, 400]
    assert sizes == {"stored": everything, "full": everything, "quick": everything, "smoke": [64, 64, 64]}


def test_an_unknown_effort_lists_the_known_ones(monkeypatch):
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "fast")
    with pytest.raises(ValueError, match=r"'fast'.*stored, full, quick, smoke"):
        utils.get_effort()


def test_unset_effort_is_full_on_a_gpu_and_stored_without_one(monkeypatch):
    monkeypatch.delenv("IMAGE_FILL_EFFORT")
    for kind, effort in (("cpu", "stored"), ("cuda", "full"), ("mps", "full")):
        monkeypatch.setattr(utils, "DEVICE", torch.device(kind))
        assert utils.get_effort() == effort


def test_a_loss_that_is_no_number_stops_and_says_at_which_step(photos, full):
    steps = []

    def broken(model, images, masks, progress):
        loss, figures = tiny_loss(model, images, masks, progress)
        steps.append(model.training)
        return (loss * torch.nan if sum(steps) == 7 and model.training else loss), figures

    model = tiny_network()
    with pytest.raises(FloatingPointError, match=r"at step 7\b"):
        utils.train(model, broken, small(photos, 64), utils.random_holes, 5)
    assert weights(model).isfinite().all(), "the best state before it is kept"


def test_ctrl_c_keeps_the_best_state_so_far(photos, full, capsys):
    states, model = [], tiny_network()

    def interrupted(model, images, masks, progress):
        if not model.training:
            states.append(weights(model))
        elif len(states) == 3:
            signal.raise_signal(signal.SIGINT)
        return tiny_loss(model, images, masks, progress)

    log = utils.train(model, interrupted, small(photos, 64), utils.random_holes, 8)
    assert log.epoch.tolist() == [0, 1, 2]
    assert torch.equal(weights(model), states[log.validation.argmin()])
    assert "Stopped by hand" in capsys.readouterr().out
    assert not model.training


def test_a_validation_loss_that_is_no_number_stops_and_keeps_the_best_state(photos, full):
    states, model = [], tiny_network()

    def broken(model, images, masks, progress):
        loss, figures = tiny_loss(model, images, masks, progress)
        if not model.training:
            states.append(weights(model))
        return (loss * torch.nan if len(states) == 2 and not model.training else loss), figures

    with pytest.raises(FloatingPointError, match=r"validation loss .* epoch 1"):
        utils.train(model, broken, small(photos, 64), utils.random_holes, 5)
    assert torch.equal(weights(model), states[0])


def test_the_best_validated_state_is_what_is_left(photos, full):
    """The validation loss is made to rise after its second look."""
    states, model = [], tiny_network()

    def worse_and_worse(model, images, masks, progress):
        loss, figures = tiny_loss(model, images, masks, progress)
        if not model.training:
            states.append(weights(model))
            return loss * 0 + abs(len(states) - 2), figures
        return loss, figures

    log = utils.train(model, worse_and_worse, small(photos, 32), utils.random_holes, 6)
    assert log.validation.argmin() == 1
    assert torch.equal(weights(model), states[1])


def test_bfloat16_is_used_where_it_is_fast_and_never_where_it_is_emulated(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(including_emulation)
    )
    assert utils.get_precision(torch.device("cuda")) == torch.float32
    assert asked == [False]
    assert utils.get_precision(torch.device("mps")) == torch.float32
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert utils.get_precision(torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert utils.get_precision(torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_learns_in_both_precisions(photos, full, precision, monkeypatch):
    monkeypatch.setattr(utils, "get_precision", lambda device: precision)
    log = utils.train(tiny_network(), tiny_loss, small(photos, 64), utils.random_holes, 4, rate=0.01)
    assert log.validation.iloc[-1] < 0.8 * log.validation.iloc[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_everything_is_on_it(photos, full):
    devices = set()

    def spy(model, images, masks, progress):
        devices.update(x.device.type for x in (images, masks, *model.parameters()))
        return direct.hole_loss(model, images, masks, progress)

    network = direct.make_network()
    utils.train(network, spy, small(photos, 64), utils.random_holes, 1)
    assert devices == {"cuda"}
    masks = utils.evaluation_masks("random", 8)
    filled = utils.fill_images(lambda i, m: direct.fill_with(network, i, m), photos.test[:8], masks)
    assert filled.device.type == "cpu"
