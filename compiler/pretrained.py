"""Where weights are published: what a `pretrained` statement says, checked without a network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from .declared import Called, Field

_URL = re.compile(r"https://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:\d{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%?/-]*)?")
_WORD = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_HEX = re.compile(r"[0-9a-f]{8,64}")
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z0-9]+$")
_LONGEST = 2000

Digest = Annotated[
    str, Field(description="SHA-256 of the file in hexadecimal digits, or the first eight or more of them")
]
Names = Annotated[str | None, Field(description="the `names` table for its keys; by default the one that fits")]


class Published(Called):
    """Base of the places where a file of weights can be published."""

    if TYPE_CHECKING:  # each declares it behind what says where the file is
        names: str | None

    @property
    def checksum(self) -> str:
        """The first digits of the file's SHA-256, eight at least."""
        raise NotImplementedError

    def problem(self) -> tuple[str, str] | None:
        """The setting that is wrong, and why."""
        return None


def bad_digest(digest: str) -> str | None:
    """What is wrong with a checksum."""
    return None if _HEX.fullmatch(digest.lower()) else "must be 8 to 64 hexadecimal digits"


class Url(Published):
    """A file behind a link."""

    name = "url"

    link: str = Field(description="where the file is, beginning with https://")
    sha256: Digest | None = Field(None, description="may be left out where the file's name carries it: `-0676ba61.pth`")
    names: Names = None

    def problem(self) -> tuple[str, str] | None:
        reason = bad_link(self.link)
        if reason:
            return "link", reason
        if self.sha256 is None and digest_in(self.link) is None:
            return "sha256", "must be given, for the file's name does not carry it"
        reason = bad_digest(self.sha256) if self.sha256 is not None else None
        return ("sha256", reason) if reason else None

    @property
    def checksum(self) -> str:
        return self.sha256 or digest_in(self.link) or ""

    def __str__(self) -> str:
        return self.link


class Hub(Published):
    """A file of a repository of the Hugging Face hub."""

    name = "hub"

    repository: str = Field(description="`organisation/name`")
    file: str = Field(description="the file's path in the repository")
    sha256: Digest
    revision: str | None = Field(None, description="a branch, tag or commit; by default the newest")
    names: Names = None

    def problem(self) -> tuple[str, str] | None:
        checks = (
            ("repository", bad_repository(self.repository)),
            ("file", bad_file(self.file)),
            ("revision", bad_file(self.revision) if self.revision is not None else None),
            ("sha256", bad_digest(self.sha256)),
        )
        return next(((setting, reason) for setting, reason in checks if reason), None)

    @property
    def checksum(self) -> str:
        return self.sha256

    def __str__(self) -> str:
        return f"hub:{self.repository}/{self.file}"


PLACES: dict[str, type[Published]] = {place.name: place for place in (Url, Hub)}


def bad_link(link: str) -> str | None:
    """What is wrong with a link."""
    if not link.startswith("https://"):
        return "must begin with `https://`"
    return None if len(link) <= _LONGEST and _URL.fullmatch(link) else "is no plain https link"


def bad_repository(text: str) -> str | None:
    """What is wrong with the name of a hub's repository."""
    parts = text.split("/")
    fine = len(parts) == 2 and all(_WORD.fullmatch(part) and ".." not in part and "--" not in part for part in parts)
    return None if fine else "must be of the form `organisation/name`"


def bad_file(text: str) -> str | None:
    """What is wrong with a path inside a repository."""
    parts = text.split("/")
    fine = len(text) <= _LONGEST and all(re.fullmatch(r"[A-Za-z0-9_.-]+", p) and p.strip(".") for p in parts)
    return None if fine else "must be a relative path, without `..`"


def digest_in(link: str) -> str | None:
    """The digits of the checksum that the name of a published file carries: `resnet50-0676ba61.pth`."""
    found = _IN_NAME.search(link.partition("?")[0])
    return found[1] if found else None
