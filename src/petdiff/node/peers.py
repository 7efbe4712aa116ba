"""Settings of the peers of a node: senders, destinations, sources, and their TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    IPvAnyNetwork,
    model_validator,
)
from pydicom.datadict import tag_for_keyword

from petdiff.errors import UsageError
from petdiff.module.settings import ModuleSettings

DATE_MARGIN_DAYS = 1  # StudyDate has no time zone, and clocks differ
_AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2: no backslash
_URL = re.compile(r"https?://[^\s@]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def _ae_title(given: str) -> str:
    if not _AE_TITLE.fullmatch(given):
        raise ValueError("give an AE title of 1 to 16 printable ASCII characters")
    return given


def _name(given: str) -> str:
    if not _NAME.fullmatch(given):
        raise ValueError("give a name of 1 to 40 letters, digits, dots, dashes and underscores")
    return given


def _url(given: str) -> str:
    if not _URL.fullmatch(given):
        raise ValueError("give a URL that begins with https:// or http:// and names no user")
    return given


def _keyword(given: str) -> str:
    if not given.isidentifier() or tag_for_keyword(given) is None:
        raise ValueError("give a keyword of the DICOM dictionary, such as SeriesDescription")
    return given


def _file(given: Path) -> Path:
    if not given.is_file():
        raise ValueError("there is no such file")
    return given


def _share(given: str | float) -> str | float:
    try:
        ModuleSettings.of({"dose": given})
    except UsageError as problem:
        raise ValueError(str(problem)) from None
    return given


Dose = Annotated[str | float, AfterValidator(_share)]
AETitle = Annotated[str, AfterValidator(_ae_title)]
Name = Annotated[str, AfterValidator(_name)]
ExistingFile = Annotated[Path, AfterValidator(_file)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
URL = Annotated[str, AfterValidator(_url)]
Keyword = Annotated[str, AfterValidator(_keyword)]


class ServerTLS(BaseModel, frozen=True, extra="forbid"):
    """TLS of the node's own port. With `ca`, peers need a certificate signed by it."""

    certificate: ExistingFile
    key: ExistingFile
    ca: ExistingFile | None = None


class ClientTLS(BaseModel, frozen=True, extra="forbid"):
    """TLS towards a destination or source.

    ca                trusted certificate authority; None: those of the system
    certificate, key  of the node, for peers that request them
    """

    ca: ExistingFile | None = None
    certificate: ExistingFile | None = None
    key: ExistingFile | None = None

    @model_validator(mode="after")
    def _is_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are given together")
        return self


class Sender(BaseModel, frozen=True, extra="forbid"):
    """A peer that may send, and the destinations of its results; none means all.

    dose  share of the full dose of its series; None: the dose of [denoise]
    """

    ae_title: AETitle
    addresses: Annotated[tuple[IPvAnyNetwork, ...], Field(min_length=1)]
    destinations: tuple[str, ...] = ()
    dose: Dose | None = None


class Destination(BaseModel, frozen=True, extra="forbid"):
    """A receiver of results: a DICOM node (address, port, AE title) or a DICOMweb server.

    retries  how often a refused image is sent again; a peer that cannot be reached is tried
             without limit
    """

    name: Name
    ae_title: AETitle | None = None
    address: str | None = Field(default=None, min_length=1)
    port: Port | None = None
    url: URL | None = None
    token_file: ExistingFile | None = None
    tls: ClientTLS | None = None
    retries: Annotated[int, Field(ge=0, le=1000)] = 5

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        dicom = [value is not None for value in (self.ae_title, self.address, self.port)]
        if any(dicom) if self.url is not None else not all(dicom):
            raise ValueError("give either ae_title, address and port, or url")
        return self


class Source(BaseModel, frozen=True, extra="forbid"):
    """A DICOMweb server that is searched for PET series.

    every_seconds  time between two searches
    days           how old studies may be; 0: any age
    matching       further attributes by keyword, as SeriesDescription = "*WB*"
    destinations   of the results of its series; none: all
    dose           share of the full dose of its series; None: the dose of [denoise]
    """

    name: Name
    url: URL
    every_seconds: Seconds = 60
    days: Annotated[int, Field(ge=0, le=36_500)] = 7
    matching: dict[Keyword, str] = {}
    destinations: tuple[str, ...] = ()
    dose: Dose | None = None
    token_file: ExistingFile | None = None
    tls: ClientTLS | None = None

    @model_validator(mode="after")
    def _is_one_search(self) -> Self:
        if "Modality" in self.matching or (self.days and "StudyDate" in self.matching):
            raise ValueError(
                "matching: the node asks for Modality PT, and for StudyDate by days: leave them "
                "out, or set days = 0 for a StudyDate"
            )
        return self
