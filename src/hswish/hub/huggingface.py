"""Models on the Hugging Face hub, through huggingface_hub and in its own cache (`HF_HOME`).

`hf://OWNER/NAME[/FILE][@REVISION]`. Without FILE the repository's `model.safetensors` is meant,
or its only `.safetensors` file. A file's header is looked at before the file is fetched: a
repository may hold anything, of any size.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hswish.hub.cache import is_offline
from hswish.hub.progress import Progress, on_terminal
from hswish.hub.weights import PublishedWeights
from hswish.spec.artifact import CONVERT, METADATA_KEY
from hswish.spec.errors import DownloadError, HswishError, MissingPackageError, ModelFileError, OptionError

SCHEME = "hf://"
MODEL_FILE = "model.safetensors"
_CONFIG = "config.json"
_FORM = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`hf://OWNER/NAME[/FILE][@REVISION]`, taken apart."""

    repo: str
    file: str | None = None
    revision: str | None = None
    """branch, tag or commit; None: main"""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From what a user writes.

        Raises:
            OptionError: no such form.
        """
        match = _FORM.fullmatch(text)
        if match is None or any(part.strip(".") == "" for part in match["repo"].split("/")):
            raise OptionError(
                f"{text[:120]!r} is no model on the hub; write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
            )
        return cls(repo=match["repo"], file=match["file"], revision=match["revision"])

    def __str__(self) -> str:
        file, revision = f"/{self.file}" if self.file else "", f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{file}{revision}"


def fetch(text: str, progress: Progress | None = on_terminal) -> Path | PublishedWeights:
    """The model file that `text` refers to, in the hub's cache; or a row to convert, where it is timm's.

    Raises:
        DownloadError: no such repository, revision or file; no access; not reachable.
        ModelFileError: there is no model of hswish's in it.
        MissingPackageError: huggingface_hub is not installed.
    """
    reference = Reference.parse(text)
    repository = _open(reference)
    name = _choose(reference, repository.files)
    if repository.has_description(name):
        return repository.get(name, progress)
    if network := _timm_network(repository):
        return PublishedWeights(
            name=reference.repo.replace("/", "."),
            source=f"timm:{network}",
            url=f"{SCHEME}{reference.repo}/{name}@{repository.commit}",
            data="not stated",
            metrics={},
            preprocess=None,  # in the config.json, which the conversion finds beside the weights
            page=f"https://huggingface.co/{reference.repo}",
        )
    raise ModelFileError(
        f"{reference}: {name} comes from another tool; only files made by hswish can be opened, others are fetched "
        f"and converted with: {CONVERT} (the repository has {_listed(repository.files)})"
    )


def fetch_file(text: str, progress: Progress | None = on_terminal) -> Path:
    """The file that `text` refers to, whatever wrote it, in the hub's cache.

    Raises:
        DownloadError, ModelFileError, MissingPackageError: as `fetch`.
    """
    reference = Reference.parse(text)
    repository = _open(reference)
    return repository.get(_choose(reference, repository.files), progress)


# --- A repository, on the hub or in the cache -----------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Repository:
    """The files of one revision."""

    reference: Reference
    commit: str
    files: Sequence[str]
    folder: Path | None = None
    """where they are, if only the cache was looked at"""

    def get(self, name: str, progress: Progress | None) -> Path:
        """One file, fetched unless the cache has it."""
        if self.folder is not None:
            return self.folder / name
        from huggingface_hub import hf_hub_download

        with explained(self.reference):
            return Path(
                hf_hub_download(
                    self.reference.repo,
                    name,
                    revision=self.reference.revision,  # by which the cache will be asked when offline
                    endpoint=endpoint(),
                    tqdm_class=_bar(progress),
                )
            )

    def has_description(self, name: str) -> bool:
        """Whether the header of the `.safetensors` file `name` holds hswish's description."""
        if self.folder is not None:
            from hswish.spec.artifact import read_header

            return METADATA_KEY in read_header(self.folder / name).get("__metadata__", {})
        from huggingface_hub.errors import SafetensorsParsingError

        try:
            with explained(self.reference):
                header = hub_api().parse_safetensors_file_metadata(self.reference.repo, name, revision=self.commit)
        except SafetensorsParsingError as error:
            raise ModelFileError(f"{self.reference}: {name} is damaged or no safetensors file") from error
        return METADATA_KEY in header.metadata


def _open(reference: Reference) -> _Repository:
    """The repository on the hub; offline, or where the hub does not answer, what the cache has of it."""
    api = hub_api()
    if is_offline():
        cached = _cached(reference)
        if cached is None:
            raise DownloadError(
                f"{reference}: not in the cache, and HSWISH_OFFLINE or HF_HUB_OFFLINE keeps it from being fetched; "
                "unset it, or give the path of the file"
            )
        return cached
    try:
        with explained(reference):
            info = api.model_info(reference.repo, revision=reference.revision)
    except UnreachableError:
        if (cached := _cached(reference)) is None:
            raise
        return cached
    return _Repository(
        reference=reference, commit=str(info.sha), files=[file.rfilename for file in info.siblings or ()]
    )


def _cached(reference: Reference) -> _Repository | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                reference.repo,
                revision=reference.revision,
                local_files_only=True,
                allow_patterns=["*.safetensors", _CONFIG],
            )
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return _Repository(reference=reference, commit=folder.name, files=files, folder=folder)


def _timm_network(repository: _Repository) -> str | None:
    """timm's name of the network, where its `config.json` lies beside the weights."""
    if _CONFIG not in repository.files:
        return None
    try:
        config = json.loads(repository.get(_CONFIG, None).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_timm = isinstance(config, dict) and "pretrained_cfg" in config
    return config["architecture"] if is_timm and isinstance(config.get("architecture"), str) else None


def _choose(reference: Reference, files: Sequence[str]) -> str:
    """The model's file among those of a repository."""
    if reference.file is not None:
        if reference.file not in files:
            raise ModelFileError(f"{reference}: no such file; the repository has {_listed(files)}")
        return reference.file
    models = [name for name in files if name.endswith(".safetensors")]
    if MODEL_FILE in models:
        return MODEL_FILE
    if len(models) == 1:
        return models[0]
    if models:
        raise ModelFileError(f"{reference}: several models; name one: {SCHEME}{reference.repo}/{models[0]}")
    raise ModelFileError(
        f"{reference}: no .safetensors file, which a model of hswish is; the repository has {_listed(files)}"
    )


def _listed(files: Sequence[str], shown: int = 5) -> str:
    text = ", ".join(f"{name:.80}" for name in files[:shown]) or "no files"
    return f"{text} and {len(files) - shown} more" if len(files) > shown else text


# --- The library ----------------------------------------------------------------------------


class UnreachableError(DownloadError):
    """The hub does not answer at all."""


def hub_api() -> Any:
    """huggingface_hub's client.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise MissingPackageError("huggingface_hub", "hub", f"models on {SCHEME}") from error
    return HfApi(endpoint=endpoint(), library_name="hswish")


def endpoint() -> str | None:
    """The hub's address, if not the usual one."""
    return os.environ.get("HF_ENDPOINT")


@contextlib.contextmanager
def explained(reference: Reference) -> Iterator[None]:
    """Turns the library's errors into ours, in one line."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.SafetensorsParsingError, HswishError):
        raise
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{reference}: its owner grants access on request; ask at https://huggingface.co/{reference.repo}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{reference}: no such repository, or a private one; check the name, or log in with: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{reference}: no such revision; check what stands after the @") from error
    except errors.HFValidationError as error:
        raise OptionError(f"{reference}: {' '.join(str(error).split())[:200]}") from error
    except errors.HfHubHTTPError as error:
        raise DownloadError(f"{reference}: {_refusal(error)}") from error
    except Exception as error:
        if not _is_network_error(error):
            raise
        raise UnreachableError(f"{reference}: the hub cannot be reached ({_first_line(error)})") from error


def _is_network_error(error: Exception) -> bool:
    """Told by its package, for huggingface_hub has changed its HTTP library before; its own are OSErrors."""
    if isinstance(error, OSError) and not error.errno:  # with a number it is the disk's
        return True
    return type(error).__module__.split(".")[0].rstrip("0123456789") in ("httpx", "httpcore")


def _refusal(error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return f"not allowed ({status}); log in with: hf auth login, or set HF_TOKEN"
    if status == 429:
        return "the hub asks to wait (429, too many requests); run again later"
    if status is not None and status >= 500:
        return f"the hub is in trouble ({status}); run again later"
    return f"the hub refuses ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())[:160]


def _bar(progress: Progress | None) -> type | None:
    """`progress` in the shape of the tqdm class that huggingface_hub wants."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """Shows nothing itself."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})
            self.name, self.size, self.done = options.get("desc") or "", options.get("total"), options.get("initial", 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            if progress is not None:
                progress(self.name, self.done, self.size)
            return None

    return Bar
