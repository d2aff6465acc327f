"""What a notebook takes from an earlier one and from an earlier run."""

import ast
import json
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import report
import utils

NOTEBOOKS = "1_direct_convolution", "2_autoencoder", "3_cvae"


def load_definitions(notebook: str) -> SimpleNamespace:
    """What a notebook's first code cell imports and its cells tagged `define` define: they are
    executed, as in its kernel.
    """
    page = (utils.ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8")
    first, *rest = [cell for cell in json.loads(page)["cells"] if cell["cell_type"] == "code"]
    imports = ast.parse("".join(first["source"]))
    imports.body = [x for x in imports.body if isinstance(x, ast.Import | ast.ImportFrom)]
    namespace = {"__name__": "__main__"}
    exec(compile(imports, notebook, "exec"), namespace)
    for cell in rest:
        if "define" in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), namespace)
    return SimpleNamespace(**namespace)


def recall(notebook: str, photos: utils.Photos) -> dict[str, np.ndarray] | None:
    """What a notebook kept in this run, at "stored" and "update" also in the stored one; None, and
    a line, if it has not been run on these images. ValueError for a damaged file.
    """
    path = utils.find(f"{notebook}.npz", photos)
    if path.exists():
        try:
            with np.load(path) as file:
                kept = dict(file)
        except Exception as error:  # each kind of damage raises another one
            remedy = "run its notebook again, or `git checkout data` if it lies there"
            raise ValueError(f"{path} is damaged ({error}): {remedy}.") from error
        if kept["made_with"][-1] == utils.fingerprint(*photos[1:4]):
            return kept
    effort = utils.get_effort()
    print(f"{notebook} is left out: it has not been run on {photos.name} at effort {effort!r}.")
    return None


def read_results(photos: utils.Photos) -> pd.DataFrame:
    """The rows of all notebooks' results on these images, in this run or else in the stored one."""
    tables = [pd.DataFrame(columns=report.COLUMNS)]
    options = {"dtype": {"images": str, "trained_on": object}}
    for number, notebook in enumerate(NOTEBOOKS, start=1):
        own = utils.run_folder(photos) / f"{notebook}.csv"
        if own.exists():
            tables.append(pd.read_csv(own, **options))
        elif utils.get_effort() in ("stored", "update"):
            stored = pd.read_csv(utils.DATA / "results.csv", **options)
            fits = stored.images == utils.fingerprint(*photos[1:4])
            tables.append(stored[fits & (stored.notebook == number)])
    return pd.concat(tables).infer_objects()


def load_start(name: str, photos: utils.Photos) -> dict[str, Tensor]:
    """The weights from which a later training starts: those of this run, or else the stored ones;
    ValueError where these are of another class.
    """
    path = utils.find(f"networks/{name}.safetensors", photos)
    if not path.exists():
        path = utils.DATA / "networks" / path.name
        print(f"{name}: the training starts from the stored weights.")
    about, weights = utils.load(path)
    if photos.class_name not in ("", about.get("class")):
        told = f"The stored training {name} is of the class {about.get('class')!r}"
        remedy = f"run notebook {name[0]} on {photos.class_name!r} first, at this effort"
        raise ValueError(f"{told}: {remedy}.")
    return weights


def compute_or_recall(
    name: str, photos: utils.Photos, compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor] | None:
    """The tensors that `compute()` returns, which are stored. At "stored", and where it needs a
    network of which only the log is stored, what the stored run computed for the same photographs;
    None, and a line, without that.
    """
    images, kept = utils.fingerprint(*photos[1:4]), None
    effort, path = utils.get_effort(), utils.DATA / "networks" / f"{name}.safetensors"
    if effort == "stored" or (effort == "update" and path.exists()):
        about, tensors = utils.load(path)
        if about["images"] == images:
            kept = {key: tensors[key] for key in about.get("names", tensors)}  # in their order
    if kept is None or effort != "stored":
        try:
            tensors = compute()
            utils.store(name, photos, {"images": images, "names": list(tensors)}, tensors)
            return tensors
        except utils.NotStored as error:
            if kept is None:
                print(f"{name} is left out. {error}")
                return None
    print(f"{name}: as the stored run computed it.")
    return kept


def measure_errors(filler: Callable, photos: utils.Photos) -> dict[str, Tensor]:
    """A filler's `uint8` parts `(N, 3, 12, 12)` of the splits validation and test, and its training
    errors' covariance, the lower triangle.
    """
    images = {split: getattr(photos, split) for split in ("train", "validation", "test")}
    masks = {split: utils.evaluation_masks("random", len(x)) for split, x in images.items()}
    filled = {split: utils.fill_images(filler, x, masks[split]) for split, x in images.items()}
    parts = {split: utils.cut_windows(x, masks[split], 12) for split, x in filled.items()}
    errors = utils.cut_windows(photos.train / 255, masks["train"], 12) - parts.pop("train")
    covariance = errors.flatten(1).double().T.cov().float()
    kept = {split: (x * 255).round().byte() for split, x in parts.items()}
    return kept | {"covariance": covariance[*torch.tril_indices(432, 432)]}


def pick_answer(kept: dict[str, np.ndarray] | None, name: str) -> dict[str, Tensor] | None:
    """What `measure_errors` said of a filler, from what `recall` found."""
    if kept is None:
        return None
    return {x: torch.from_numpy(kept[f"{name}, {x}"]) for x in ("validation", "test", "covariance")}
