"""Write down how Keras' files look from inside: every name, shape and attribute of those of Small.

Once with Keras 3 and once with Keras 2, each in an environment of its own, without hswish:

    python -m venv peers && peers/bin/pip install torch keras==3.15.1 h5py
    KERAS_BACKEND=torch peers/bin/python tests/models/adapters/make_keras_files.py
    python -m venv peers2 && peers2/bin/pip install tensorflow-cpu==2.15.1
    peers2/bin/python tests/models/adapters/make_keras_files.py

The tests write such files with h5py alone, and hold them against these.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from golden import FOLDER, MAX_BYTES

SIZE = 96


def contents(path: Path) -> dict[str, Any]:
    """Name in the file to shape (data sets) or attributes (groups)."""
    found: dict[str, Any] = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = list(item.shape)
        else:
            found[name] = {key: np.asarray(value).astype(str).tolist() for key, value in item.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("", file)
    found[""].pop("model_config", None)  # 160 KB, of which the archive's first layer is told below
    return found


def main() -> None:
    """Save Small in every way that this Keras has, and keep what is in the files."""
    model = keras.applications.MobileNetV3Small(input_shape=(SIZE, SIZE, 3), weights=None, classes=10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {kind: folder / f"{kind}.h5" for kind in ("whole", "weights", "modern.weights")}
        archive = folder / "model.keras"
        model.save(paths["whole"])
        model.save_weights(paths["modern.weights"])
        model.save(archive)
        if keras.__version__.startswith("2"):
            model.save_weights(paths["weights"])
        else:  # Keras 3 reads such files, and has no public function that writes them
            from keras.src.legacy.saving import legacy_h5_format

            with h5py.File(paths["weights"], "w") as file:
                legacy_h5_format.save_weights_to_hdf5_group(file, model)
        found = {kind: contents(path) for kind, path in paths.items()}
        with zipfile.ZipFile(archive) as opened:
            opened.extract("model.weights.h5", folder)
            assert contents(folder / "model.weights.h5") == found["modern.weights"]
            found["archive"] = {
                "members": opened.namelist(),
                "first layer": json.loads(opened.read("config.json"))["config"]["layers"][0]["config"],
            }
    path = FOLDER / f"keras-files-{keras.__version__}.npz"
    np.savez_compressed(path, about=np.frombuffer(json.dumps(found).encode(), np.uint8))
    size = path.stat().st_size
    print(f"{path.name}: {size} bytes, {len(found['whole'])} names in a whole model")
    assert size <= MAX_BYTES


if __name__ == "__main__":
    main()
