"""Settings and the training loop: what it promises, and how it ends when it is stopped."""

import signal

import pytest
import torch
from torch import nn

import utils


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(4, 3, 3, padding=1)


def tiny_loss(model, images, masks, progress):
    error = model(utils.network_input(images, masks)).float() - images
    return error.square().mean(), {"mae": error.abs().mean()}


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


@pytest.fixture
def train(photos, monkeypatch):
    """Train a tiny network on 64 images: the network, its log and whether it came to the end."""
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "full")

    def run(loss_fn=tiny_loss, epochs: int = 4, model: nn.Module | None = None, **options):
        model = model or tiny_network()
        return model, *utils.run_training(model, loss_fn, photos, utils.random_holes, epochs, rate=0.01, **options)

    return run


def test_it_learns_and_comes_again(train, monkeypatch):
    model, log, finished = train()
    assert finished
    assert list(log.columns) == ["epoch", "seconds", "training", "validation", "mae"]
    assert log.validation.iloc[-1] < 0.8 * log.validation.iloc[0]
    assert torch.equal(weights(model), weights(train()[0]))
    assert not torch.equal(weights(model), weights(train(seed=1)[0]))
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "quick")
    assert train(epochs=20)[1].epoch.iloc[-1] == 2


def test_holes_and_flips_are_new_at_every_step_and_validations_always_the_same(train, photos):
    seen = {True: [], False: []}

    def spy(model, images, masks, progress):
        seen[model.training].append((images.clone(), masks.clone(), torch.rand(1)))
        return tiny_loss(model, images, masks, progress)

    train(spy, epochs=2)
    masks = torch.cat([masks for _, masks, _ in seen[True]])
    assert len(masks.flatten(1).unique(dim=0)) > 100
    images = torch.cat([images for images, *_ in seen[True]])
    originals = {x.numpy().tobytes() for x in photos.train / 255}
    mirrored = [x.numpy().tobytes() not in originals for x in images.cpu()]
    assert 0.3 < sum(mirrored) / len(mirrored) < 0.7
    assert all(torch.equal(a, b) for look in seen[False] for a, b in zip(seen[False][0], look, strict=True))


def test_an_interrupt_keeps_the_best_validated_state(train, capsys):
    states, model = [], tiny_network()

    def interrupted(model, images, masks, progress):
        loss, numbers = tiny_loss(model, images, masks, progress)
        if not model.training:
            states.append(weights(model))
            loss = loss * 0 + abs(len(states) - 2)  # the second one is the best
            if len(states) == 4:
                signal.raise_signal(signal.SIGINT)
        return loss, numbers

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup` has it ignored
    try:
        _, log, finished = train(interrupted, epochs=8, model=model)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not finished
    assert log.epoch.tolist() == [0, 1, 2]
    assert torch.equal(weights(model), states[1])
    assert not model.training
    assert "the cells below can be run" in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_with_step_and_advice(train):
    steps, model = [], tiny_network()

    def broken(model, images, masks, progress):
        loss, numbers = tiny_loss(model, images, masks, progress)
        steps.append(model.training)
        return (loss * torch.nan if sum(steps) == 6 else loss), numbers

    with pytest.raises(FloatingPointError, match="no number at step 6: lower the rate"):
        train(broken, model=model)
    assert weights(model).isfinite().all(), "the best state is kept"


def test_bfloat16_is_used_where_it_is_fast_and_never_where_it_is_emulated(monkeypatch):
    def computed_in() -> torch.dtype:
        with utils.autocast():
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    for fast in (True, False):
        for kind in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, kind, lambda fast=fast: fast, raising=False)
        monkeypatch.setattr(utils, "DEVICE", torch.device("cpu"))
        assert computed_in() == (torch.bfloat16 if fast else torch.float32)
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **x: asked.append(x))
    monkeypatch.setattr(utils, "DEVICE", torch.device("cuda"))
    utils.autocast()
    assert asked == [{"including_emulation": False}]


def test_the_device_is_the_wanted_one_or_the_fastest_that_computes(monkeypatch):
    found = {}
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **x: found["gpu"])
    monkeypatch.delenv("IMAGE_FILL_DEVICE", raising=False)
    found["gpu"] = None
    assert utils.choose_device().type == "cpu"
    found["gpu"] = torch.device("xpu")  # not here: as a card is for which PyTorch has no code
    with pytest.warns(UserWarning, match="cannot compute on 'xpu'.*The CPU is used"):
        assert utils.choose_device().type == "cpu"
    for name in ("gpu", "xpu", "meta"):
        monkeypatch.setenv("IMAGE_FILL_DEVICE", name)
        with pytest.raises(ValueError, match=f"'{name}' here.*IMAGE_FILL_DEVICE to cuda, mps or"):
            utils.choose_device()
    monkeypatch.setenv("IMAGE_FILL_DEVICE", " CPU")
    assert utils.choose_device().type == "cpu"


def test_wrong_variables_are_told_in_the_first_cell(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(utils, "OUTPUT", tmp_path / "file" / "below")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Set IMAGE_FILL_OUTPUT to another folder"):
        utils.announce()
    assert "Effort 'smoke', on " in capsys.readouterr().out
    monkeypatch.setenv("IMAGE_FILL_EFFORT", "fast")
    with pytest.raises(ValueError, match="'fast'; it can be stored, update, full, quick, smoke"):
        utils.announce()
