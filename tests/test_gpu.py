"""What computes on a GPU, tried without one: under PyTorch's fake tensors, which have a device and no values.

A tensor on another device is an error there, and so is reading a value, for which a GPU would be waited for.
"""

import functools
import inspect
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
    FakeTensorMode,
)

import utils
from notebooks import PATHS, load_definitions

CUDA = torch.cuda.is_available()  # asked before a test says that there is a GPU
READ = (DataDependentOutputException, DynamicOutputShapeException)  # a value was read
NOTEBOOKS = {path.stem: load_definitions(path.stem) for path in PATHS}
# Each loss with the networks that it trains, and each fill with those that it asks, for every one that a notebook's
# cells tagged `define` define.
LOSSES = {
    "1_direct_convolution": {
        "image_loss": lambda n: [(n.image_loss, n.make_network())],
        "hole_loss": lambda n: [(n.hole_loss, n.make_network())],
        "window_loss": lambda n: [(n.window_loss, n.make_network())],
        "fixed_hole_loss": lambda n: [(n.fixed_hole_loss, n.make_network())],
    },
    "2_autoencoder": {
        "hole_loss": lambda n: [(n.hole_loss, n.WholeImage())],
        "image_loss": lambda n: [(n.image_loss, n.WholeImage(4, False))],
        "part_loss": lambda n: [(n.part_loss, n.MissingPart())],
        "rim_loss": lambda n: [(n.rim_loss, n.MissingPart(16))],
    },
    "3_cvae": {
        "told_loss": lambda n: [(n.told_loss, n.Coin())],
        "coin_loss": lambda n: [
            (n.coin_loss, n.Coin()),
            (functools.partial(n.coin_loss, sigma=3), n.Coin()),
        ],
        "cvae_loss": lambda n: [(n.cvae_loss, n.MissingPart()), (n.cvae_loss, n.WholeImage())],
        "part_loss": lambda n: [(n.part_loss, n.MissingPart())],
    },
}
FILLS = {
    "1_direct_convolution": {
        "fill_with": lambda n: [functools.partial(n.fill_with, n.make_network())]
    },
    "2_autoencoder": {
        "fill_whole": lambda n: [functools.partial(n.fill_whole, n.WholeImage())],
        "fill_part": lambda n: [
            functools.partial(n.fill_part, n.MissingPart(side)) for side in (12, 16)
        ],
        "fill_twice": lambda n: [functools.partial(n.fill_twice, n.fill_part, n.MissingPart(16))],
    },
    "3_cvae": {
        "fill_by_chance": lambda n: [
            functools.partial(n.fill_by_chance, make(), torch.Generator("cpu"), grain=grain)
            for make in (n.MissingPart, n.WholeImage)
            for grain in (False, True)
        ]
    },
}
each_loss = pytest.mark.parametrize(
    ("notebook", "loss"), [(n, loss) for n in LOSSES for loss in LOSSES[n]]
)
each_fill = pytest.mark.parametrize(
    ("notebook", "fill"), [(n, fill) for n in FILLS for fill in FILLS[n]]
)


class Generator:
    """Stands for `torch.Generator`: without a GPU there is none for a GPU, and fake tensors need none."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def manual_seed(self, seed):
        return self


def without_generator(make, *args, generator=None, **options):
    return make(*args, **options)


def backward(loss: torch.Tensor) -> None:
    """Stands for autograd's engine, which asks the driver for streams: a gradient for all that the loss hangs on."""
    seen, todo = set(), [loss.grad_fn]
    for node in todo:
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        todo += [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(todo)


@pytest.fixture
def gpu(monkeypatch):
    """`with gpu:` every tensor is a fake one, `utils` computes on a GPU, and the GPU computes with bfloat16."""
    monkeypatch.setattr(utils, "DEVICE", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch, "Generator", Generator)
    for name in ("rand", "randn", "randint", "randperm"):
        monkeypatch.setattr(torch, name, functools.partial(without_generator, getattr(torch, name)))
    if not CUDA:
        monkeypatch.setattr(torch.Tensor, "backward", backward)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for (
        notebook
    ) in NOTEBOOKS:  # the tensors that a notebook keeps on the CPU, and moves where it uses them
        for function in filter(inspect.isfunction, defined(notebook).values()):
            for name, x in function.__globals__.items():
                if type(x) is torch.Tensor:
                    monkeypatch.setitem(function.__globals__, name, mode.from_tensor(x))
    return mode


@pytest.fixture
def count_steps(gpu, photos, monkeypatch):
    """Trains for an epoch of 1 step or more, and says how many are done when a value is first read from the GPU."""

    def count(loss_fn, network: nn.Module, steps: int = 1) -> int:
        done, step = [], torch.optim.AdamW.step
        small = utils.Photos("small", *(split[: 4 * steps] for split in photos[1:4]))
        with monkeypatch.context() as patch:
            patch.setattr(
                utils, "float", lambda value: 0.5, raising=False
            )  # a validation may read: there are few
            patch.setattr(torch.optim.AdamW, "step", lambda *args: step(*args) or done.append(1))
            with gpu, pytest.raises(READ):
                utils.train(network, loss_fn, small, utils.random_holes, epochs=1, batch_size=4)
        return len(done)

    return count


def defined(notebook: str) -> dict:
    return {
        name: x
        for name, x in vars(NOTEBOOKS[notebook]).items()
        if getattr(x, "__module__", "") == "__main__"
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_everything_that_a_notebook_defines_is_tried(notebook):
    n = NOTEBOOKS[notebook]
    for what, table, fits in (
        ("loss", LOSSES, lambda name: name.endswith("_loss")),
        ("fill", FILLS, lambda name: name.startswith("fill_")),
    ):
        named, there = table.get(notebook, {}), {name for name in defined(notebook) if fits(name)}
        assert not there - set(named), (
            f"tests/test_gpu.py does not try this {what}: add it to its table"
        )
        assert not set(named) - set(defined(notebook)), (
            f"tests/test_gpu.py tries a {what} that is not defined"
        )
    networks = [network for make in LOSSES.get(notebook, {}).values() for _, network in make(n)]
    tried = {
        base
        for network in networks
        for module in network.modules()
        for base in type(module).__mro__
    }
    kinds = {
        name: x
        for name, x in defined(notebook).items()
        if isinstance(x, type) and issubclass(x, nn.Module)
    }
    assert not [name for name, kind in kinds.items() if kind not in tried], (
        "tests/test_gpu.py tries no such network"
    )


@each_loss
def test_a_whole_step_is_on_the_gpu_and_waits_for_no_value(notebook, loss, count_steps):
    for loss_fn, network in LOSSES[notebook][loss](NOTEBOOKS[notebook]):
        dtypes = set()
        convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        convs[0].register_forward_hook(
            lambda *args, dtypes=dtypes: dtypes.add((args[2].device.type, args[2].dtype))
        )
        assert count_steps(loss_fn, network) == 1
        assert dtypes == {("cuda", torch.bfloat16)}
        assert {p.grad.device.type for p in network.parameters() if p.grad is not None} == {"cuda"}


def good_loss(network, images, masks, progress):
    error = network(utils.network_input(images, masks)).float() - images
    return error.square().mean(), {"error": error.abs().mean()}


BAD = {
    "item": lambda loss: loss * loss.item(),
    "if": lambda loss: loss if loss > 0 else -loss,
    "equal": lambda loss: loss * torch.equal(loss, loss),
    "nonzero": lambda loss: loss * len(loss.nonzero()),
    "float": lambda loss: loss * float(loss),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_loss_that_reads_a_value_is_found_out(bad, count_steps):
    def loss_fn(network, *args):
        loss, figures = good_loss(network, *args)
        return (BAD[bad](loss) if network.training else loss), figures

    assert count_steps(good_loss, nn.Conv2d(4, 3, 3, padding=1), steps=3) == 3
    assert count_steps(loss_fn, nn.Conv2d(4, 3, 3, padding=1), steps=3) == 0


@pytest.mark.parametrize("of", ["loss", "network"])
def test_a_tensor_on_the_cpu_is_found_out(of, count_steps):
    class Network(nn.Conv2d):
        def __init__(self):
            super().__init__(4, 3, 3, padding=1)
            self.weights = torch.ones(3, 1, 1)  # not a buffer, so it is not moved

        def forward(self, x):
            return super().forward(x) * (self.weights if of == "network" else 1)

    def loss_fn(network, images, *args):
        loss, figures = good_loss(network, images, *args)
        return loss + (images * torch.ones(3, 1, 1)).mean() * (of == "loss"), figures

    with pytest.raises(FakeTensorDeviceMismatchError):
        count_steps(loss_fn if of == "loss" else good_loss, Network())


@each_fill
def test_a_fill_is_on_the_gpu_and_waits_for_no_value(notebook, fill, photos, gpu, monkeypatch):
    """The heat equation is solved on the CPU by design, so a stand-in solves it here."""
    monkeypatch.setattr(utils, "fill_heat", lambda images, masks: torch.zeros_like(images))
    monkeypatch.setattr(
        utils, "_check_fills", lambda filled, masks: filled
    )  # it reads what is back on the CPU
    for filler in FILLS[notebook][fill](NOTEBOOKS[notebook]):
        with gpu:
            filled = fill_some(filler, photos)
        assert filled.shape == (4, 3, 32, 32)
        assert filled.device.type == "cpu"


def fill_some(filler, photos) -> torch.Tensor:
    for part in getattr(filler, "args", []):
        if isinstance(part, nn.Module):
            part.to(utils.DEVICE)
    return utils.fill_images(
        filler, photos.test[:4], utils.evaluation_masks("random", 4), batch_size=2
    )


def test_a_fill_that_reads_a_value_or_leaves_the_gpu_is_found_out(photos, gpu):
    with gpu, pytest.raises(READ):
        fill_some(lambda images, masks: images * masks.min().item(), photos)
    with gpu, pytest.raises(FakeTensorDeviceMismatchError):
        fill_some(lambda images, masks: images * torch.ones(3, 1, 1), photos)


@pytest.mark.parametrize("cut_holes", [*utils.HOLES.values(), utils.scribbled_holes])
def test_holes_are_made_on_the_generators_device(cut_holes, gpu):
    with gpu:
        masks = cut_holes(5, torch.Generator("cuda"), 48)
    assert masks.device.type == "cuda"
    assert masks.shape == (5, 1, 48, 48)


def test_mean_colour_is_computed_on_the_gpu(photos, gpu, monkeypatch):
    monkeypatch.setattr(utils, "_check_fills", lambda filled, masks: filled)
    with gpu:
        assert fill_some(utils.fill_mean_colour, photos).shape == (4, 3, 32, 32)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_source_of_what_a_notebook_defines_can_be_read(notebook):
    functions = [x for x in defined(notebook).values() if inspect.isfunction(x)]
    functions += [
        x.forward
        for x in defined(notebook).values()
        if isinstance(x, type) and "forward" in vars(x)
    ]
    assert functions or notebook not in LOSSES
    for function in functions:
        assert (
            inspect.getsource(function).lstrip().startswith(("def ", "@", f"{function.__name__} ="))
        )


# ----------------------------------------------------------------------------------------------- which device is chosen
@pytest.fixture
def machine(monkeypatch):
    """Makes PyTorch say that this machine has such devices."""

    def pretend(card=None, built=("sm_75", "sm_80", "sm_86", "sm_90", "sm_120"), mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: card is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: card)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("card", "mps", "kind"), [(None, False, "cpu"), (None, True, "mps"), ((8, 0), False, "cuda")]
)
def test_unset_is_the_fastest_device_and_any_that_is_here_can_be_chosen(machine, card, mps, kind):
    machine(card, mps=mps)
    assert utils.choose_device("") == (torch.device(kind), "")
    assert utils.choose_device(f" {kind.upper()}") == (torch.device(kind), "")
    assert utils.choose_device("cpu") == (torch.device("cpu"), "")


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:1", "mps", "meta", "0", "cpu,cuda"])
def test_a_device_that_is_unknown_or_not_here_is_refused_with_what_is_here(machine, name):
    machine()
    with pytest.raises(
        ValueError,
        match=f"IMAGE_FILL_DEVICE is '{name}'; of cuda, mps and cpu, this machine has cpu",
    ):
        utils.choose_device(name)


@pytest.mark.parametrize(
    ("card", "built", "usable"),
    [
        ((6, 1), ["sm_75", "sm_80", "sm_90"], False),  # Pascal
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),  # Volta: of the same major version, but older
        ((7, 5), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 9), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 0), ["sm_75", "sm_86", "sm_90"], False),
        ((12, 0), ["sm_75", "sm_80", "sm_90"], False),
        ((12, 0), ["sm_75", "sm_80", "sm_90", "compute_90"], True),
        ((12, 1), ["sm_90", "sm_120"], True),
        ((7, 0), ["sm_80", "compute_80"], False),
        ((11, 0), ["gfx1030", "gfx1100"], True),  # ROCm
    ],
)
def test_a_card_for_which_pytorch_has_no_code_is_named_and_left(machine, card, built, usable):
    machine(card, built)
    device, remark = utils.choose_device("")
    assert (device.type == "cuda") is usable
    assert (
        "Some Card" in remark and f"sm_{card[0]}{card[1]}" in remark and built[0] in remark
    ) is not usable
    assert "\n" not in remark
    if not usable:
        with pytest.raises(ValueError, match=r"this machine has cpu.*Some Card"):
            utils.choose_device("cuda")


def test_the_first_cell_says_that_the_card_is_left(machine, monkeypatch, tmp_path, capsys):
    machine((6, 1))
    device, remark = utils.choose_device("")
    for name, value in {"DEVICE": device, "REMARK": remark, "OUTPUT": tmp_path}.items():
        monkeypatch.setattr(utils, name, value)
    utils.announce("1_direct_convolution")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("Effort 'smoke', on cpu in ")
    assert "cannot use the Some Card" in first


@pytest.mark.parametrize("value", ["CPU", "gpu"])
def test_the_variable_is_checked_when_utils_is_imported(value):
    command = [sys.executable, "-c", "import utils; print(utils.DEVICE)"]
    env = os.environ | {"IMAGE_FILL_DEVICE": value}
    done = subprocess.run(command, cwd=utils.ROOT, env=env, capture_output=True, text=True)
    assert done.stdout == ("cpu\n" if value == "CPU" else "")
    assert ("IMAGE_FILL_DEVICE is 'gpu'" in done.stderr) is (value == "gpu")


# ------------------------------------------------------------------------------------------------------ with a real GPU
real_gpu = pytest.mark.skipif(not CUDA, reason="no CUDA device")


@real_gpu
@each_loss
def test_a_real_gpu_trains(notebook, loss, photos):
    small = utils.Photos("small", *(split[:16] for split in photos[1:4]))
    for loss_fn, network in LOSSES[notebook][loss](NOTEBOOKS[notebook]):
        assert (
            utils.train(network, loss_fn, small, utils.random_holes, epochs=1)
            .validation.notna()
            .all()
        )
        assert {p.device.type for p in network.parameters()} == {"cuda"}


@real_gpu
@each_fill
def test_a_real_gpu_fills(notebook, fill, photos):
    for filler in FILLS[notebook][fill](NOTEBOOKS[notebook]):
        assert fill_some(filler, photos).shape == (4, 3, 32, 32)


@real_gpu
def test_a_real_gpu_refuses_holes_of_another_shape(photos):
    with pytest.raises(ValueError, match="holes of another shape"):
        utils.fill_images(
            lambda i, m: utils.put_back(i[..., :12, :12], i, m),
            photos.test[:2],
            utils.evaluation_masks("center", 2),
        )
