"""Other libraries' checkpoints, both ways: one adapter file a library.

    convert("torchvision:mobilenet_v3_large", "mobilenet_v3_large-5c1a4163.pth")  # -> a network of ours
    export_state(model, "torchvision")  # -> a state dict of theirs

| file | what it holds |
|---|---|
| `base.py` | what an adapter is: networks, pairs of names |
| `files.py` | reading and writing checkpoint files, wrappers and all |
| `matching.py` | which network a checkpoint is, or what it lacks |
| `conversion.py` | `convert` and `export_state` |
| the others | one library each, named after it |
"""

from hswish.models.adapters.conversion import convert, export_file, export_state

__all__ = ["convert", "export_file", "export_state"]
