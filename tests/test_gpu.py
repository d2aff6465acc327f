"""The GPU path without a GPU, under fake tensors: nothing stays on the CPU, no value is read inside a step."""

import functools
import inspect

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import publish
import utils
from runs import load_definitions

CUDA = torch.cuda.is_available()
NOTEBOOKS = {name: load_definitions(name) for name in publish.NAMES}
n1, n2, n3 = NOTEBOOKS.values()
# Every loss and every fill that a notebook defines, with a network for it.
LOSSES = [(n1.image_loss, n1.make_network), (n1.hole_loss, n1.make_network), (n1.window_loss, n1.make_network)]
LOSSES += [(n1.fixed_hole_loss, n1.make_network), (n2.hole_loss, n2.WholeImage), (n2.part_loss, n2.MissingPart)]
LOSSES += [(n2.rim_loss, lambda: n2.MissingPart(16)), (n2.image_loss, lambda: n2.WholeImage(4, False))]
LOSSES += [(n3.one_answer_loss, n3.OneAnswer), (n3.coin_loss, n3.Coin)]
PART, WHOLE = lambda: n3.CVAE(n3.MissingPart()), lambda: n3.CVAE(n3.WholeImage())
ALL_VIEWS = functools.partial(n3.cvae_loss, score_frequencies=n3.score_frequencies, squares=0.5)
LOSSES += [(n3.elbo_loss, PART), (n3.cvae_loss, PART), (ALL_VIEWS, WHOLE)]
FILLS = [(n1.fill_with, n1.make_network), (n2.fill_whole, n2.WholeImage), (n2.fill_part, n2.MissingPart)]
FILLS += [(n1.fill_twice, n1.make_network), (n2.fill_twice, n2.MissingPart), (n3.fill_by_chance, WHOLE)]
FILLS += [(n3.fill_by_chance, PART)]
each_loss = pytest.mark.parametrize(("loss_fn", "make"), LOSSES)
each_fill = pytest.mark.parametrize(("fill", "make"), FILLS)


def backward(loss: torch.Tensor) -> None:
    """Stands for autograd's engine, which asks the driver for streams: all that the loss hangs on gets a gradient."""
    seen, todo = set(), [loss.grad_fn]
    for node in todo:
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        todo += [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(todo)


class Generator:
    """Stands for `torch.Generator`, of which there is none for a GPU that is not there."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def manual_seed(self, seed):
        return self


@pytest.fixture
def gpu(monkeypatch):
    """`with gpu:` every tensor is a fake one, and `utils` computes on a GPU, in bfloat16."""
    if CUDA:
        pytest.skip("there is a real one")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    monkeypatch.setattr(utils, "DEVICE", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch, "Generator", Generator)
    for name in ("rand", "randn", "randint", "randperm"):
        made = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *x, made=made, generator=None, **y: made(*x, **y))
    for notebook in NOTEBOOKS.values():  # tensors that it keeps on the CPU, and moves at need
        for function in filter(inspect.isfunction, vars(notebook).values()):
            for name, x in function.__globals__.items():
                if type(x) is torch.Tensor:
                    monkeypatch.setitem(function.__globals__, name, mode.from_tensor(x))
    return mode


def test_everything_that_notebooks_define_is_tried():
    tried = [function for function, _ in LOSSES + FILLS]
    for notebook in NOTEBOOKS.values():
        for name, x in vars(notebook).items():
            if getattr(x, "__module__", "") == "__main__":
                assert x in tried or (not name.endswith("_loss") and not name.startswith("fill_")), name


@each_loss
def test_a_step_is_on_the_gpu_in_bfloat16_and_waits_for_no_value(loss_fn, make, gpu, photos):
    network, dtypes = make(), set()
    conv = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    conv.register_forward_hook(lambda *call: dtypes.add((call[2].device.type, call[2].dtype)))
    with gpu:
        epochs = utils.train_epochs(network.to("cuda"), loss_fn, photos.train[:4], utils.random_holes, 1)
        next(epochs)
        with pytest.raises(DataDependentOutputException) as error:
            next(epochs)  # one step; then its loss is read, as it is once an epoch
    assert "isfinite" in str(error.traceback[1].statement), "a value was read inside the step"
    assert dtypes == {("cuda", torch.bfloat16)}
    assert {p.grad.device.type for p in network.parameters() if p.grad is not None} == {"cuda"}


@each_fill
def test_a_fill_is_on_the_gpu_and_waits_for_no_value(fill, make, gpu, photos):
    network, images, masks = make(), photos.test[:4], utils.evaluation_masks("random", 4)
    with gpu:
        known, hides, network = (images / 255 * masks).to("cuda"), masks.to("cuda"), network.to("cuda")
        first = {n3.fill_by_chance: [network, Generator()], n1.fill_twice: [functools.partial(n1.fill_with, network)]}
        first[n2.fill_twice] = [functools.partial(n2.fill_part, network)]
        with torch.inference_mode(), utils.autocast():
            filled = fill(*first.get(fill, [network]), known, hides)
    assert (filled.device.type, filled.shape) == ("cuda", (4, 3, 32, 32))
