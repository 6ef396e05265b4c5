"""To the Hugging Face hub: a model file and its card, in one commit."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hswish.hub.cache import is_offline
from hswish.hub.card import MARK, make_card
from hswish.hub.huggingface import MODEL_FILE, Reference, endpoint, explained, hub_api
from hswish.hub.locate import locate
from hswish.spec.artifact import read_description
from hswish.spec.errors import DownloadError, OptionError

_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push left on the hub."""

    repo: str
    """OWNER/NAME"""
    url: str
    """page of the repository"""
    commit: str
    """the revision that was made, or found unchanged"""
    kept_card: bool
    """the repository has a card that was not written here, and still has it"""


def push(model: str | os.PathLike[str], target: str, *, private: bool = False, message: str | None = None) -> Pushed:
    """Upload a model to `hf://OWNER/NAME`, which is made where it does not exist.

    Args:
        model: anything that `locate` takes.
        target: `hf://OWNER/NAME`, or `hf://OWNER/NAME@BRANCH` for a branch that exists.
        private: only its owner sees a repository that is made; one that exists stays as it is.
        message: of the commit.

    Raises:
        ModelFileError: no model of hswish's.
        OptionError: no such form of target.
        DownloadError: not logged in, not allowed, or the hub is not reachable.
        MissingPackageError: huggingface_hub is not installed.
    """
    reference = Reference.parse(target)
    if reference.file is not None:
        raise OptionError(f"{target}: a repository is meant; write hf://{reference.repo}")
    if is_offline():
        raise DownloadError(f"{target}: HSWISH_OFFLINE or HF_HUB_OFFLINE keeps it from being reached; unset it")
    api = hub_api()
    path = locate(model)
    description = read_description(path)  # before anything is made on the hub
    from huggingface_hub import CommitOperationAdd

    with explained(reference), _bars_on_terminals_only():
        api.create_repo(reference.repo, private=private or None, exist_ok=True)
        keep_card = _has_own_card(reference)
        operations = [CommitOperationAdd(MODEL_FILE, str(path))]
        if not keep_card:
            operations.append(CommitOperationAdd(_CARD, make_card(description, reference.repo).encode()))
        commit = api.create_commit(
            reference.repo,
            operations,
            commit_message=message or f"Upload {description.model}",
            revision=reference.revision,
        )
    url = f"{(endpoint() or 'https://huggingface.co').rstrip('/')}/{reference.repo}"
    return Pushed(repo=reference.repo, url=url, commit=str(commit.oid), kept_card=keep_card)


@contextlib.contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """huggingface_hub draws its bars into files and pipes too."""
    from huggingface_hub import utils

    hide = not (sys.stderr and sys.stderr.isatty()) and not utils.are_progress_bars_disabled()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            utils.enable_progress_bars()


def _has_own_card(reference: Reference) -> bool:
    """Whether there is a card that somebody wrote by hand."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = hf_hub_download(reference.repo, _CARD, revision=reference.revision, endpoint=endpoint())
    except EntryNotFoundError:
        return False
    return MARK not in Path(path).read_text(encoding="utf-8", errors="replace")
