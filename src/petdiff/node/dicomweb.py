"""DICOMweb (PS3.18): search and retrieve from a source, store to a destination.

It uses QIDO-RS, WADO-RS and STOW-RS. The client's own log is switched off, because it quotes URLs
with UIDs and responses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import chain
from pathlib import Path

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from petdiff.node.delivery import NotDelivered, Refused
from petdiff.node.header import is_uid
from petdiff.node.peers import DATE_MARGIN_DAYS, ClientTLS, Destination, Source
from petdiff.node.polling import NotReached, OfferedSeries

_TIMEOUT_S = (10.0, 120.0)  # to connect, and between two parts of a response
_PAGE = 200
_SERVER_ERROR, _CONFLICT = 500, 409
_REDIRECTS = (301, 302, 303)  # after which a client asks by GET, and stores nothing
# Media types of a response to STOW-RS, in JSON and in XML.
_RESPONSES = (
    "application/dicom+json", "application/json", "application/dicom+xml", "application/xml",
)  # fmt: skip
_NO_DICOMWEB = "its response is not DICOMweb"
_NO_ROOM = range(0xA700, 0xA800)
_INSTANCE, _STUDY, _SERIES, _COUNT = "00080018", "0020000D", "0020000E", "00201209"


class _NotUnderstood(NotDelivered):
    """The response to STOW-RS does not say whether the image was stored."""


class WebSource:
    """A DICOMweb server whose PET series are taken."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def series(self) -> list[OfferedSeries]:
        """Return the PET series that the server offers. Raises NotReached.

        A server may return fewer than requested though there are more (PS3.18 8.3.4.4), and some
        ignore the offset: the list ends with the first page that has nothing new.
        """
        with _reaching():
            client = _client(self._source.url, self._source)
            found: dict[str, dict[str, dict[str, object]]] = {}  # by SeriesInstanceUID
            while True:
                page = client.search_for_series(
                    limit=_PAGE,
                    offset=len(found),
                    fields=["NumberOfSeriesRelatedInstances"],
                    search_filters=self._filters(),
                )
                of_page = {_value(entry, _SERIES): entry for entry in page}
                if of_page.keys() <= found.keys():
                    return list(_offered(found.values()))
                found |= of_page

    def images(self, series: OfferedSeries) -> Iterator[bytes]:
        """Yield the files of a series. Raises NotReached."""
        with _reaching():
            client = _client(self._source.url, self._source)
            any_syntax = (("application/dicom", "*"),)
            for image in client.iter_series(series.study, series.series, any_syntax):
                yield _encoded(image)

    def _filters(self) -> dict[str, str]:
        filters = {"Modality": "PT", **self._source.matching}
        if self._source.days:
            now, margin = datetime.now(UTC), timedelta(days=DATE_MARGIN_DAYS)
            first, last = now - timedelta(days=self._source.days) - margin, now + margin
            filters["StudyDate"] = f"{first:%Y%m%d}-{last:%Y%m%d}"
        return filters


class WebDestination:
    """A DICOMweb server that results are stored to, image by image."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def send(self, files: Sequence[Path], confirmed: Callable[[Path], None]) -> None:
        """Send files, and call `confirmed` for each that is stored there."""
        assert self._destination.url is not None
        try:
            client = _client(self._destination.url, self._destination, _require_response)
            for file in files:
                _store(client, dcmread(file))
                confirmed(file)
        except requests.HTTPError as problem:
            raise _of_status(problem) from None
        except requests.RequestException as problem:
            raise NotDelivered(_reason(problem)) from None


def _store(client: DICOMwebClient, image: Dataset) -> None:
    """Store an image. Some servers refuse one that they hold, sent again after a lost response."""
    try:
        _require_stored(_response(client, image))
    except (Refused, _NotUnderstood, requests.HTTPError) as problem:
        is_final = isinstance(problem, requests.HTTPError) and _code(problem) != _CONFLICT
        if is_final or not _holds(client, image):
            raise


def _response(client: DICOMwebClient, image: Dataset) -> Dataset:
    """Send an image, and return the response to it, which is empty from some servers."""
    try:
        return client.store_instances([image])
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError):  # of JSON or XML
        raise _NotUnderstood(_NO_DICOMWEB) from None


def _require_response(response: requests.Response, *_: object, **__: object) -> None:
    """Raise NotDelivered for a response that is none to STOW-RS, such as the page of a proxy.

    The client takes what it cannot read as a success, also JSON whose media type has a parameter,
    as a character set.
    """
    if response.request.method != "POST":
        return
    if response.status_code in _REDIRECTS:
        raise NotDelivered(f"it answers with HTTP {response.status_code}, a redirect: check url")
    if response.ok and response.content:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in _RESPONSES:
            raise _NotUnderstood(_NO_DICOMWEB)
        response.headers["Content-Type"] = kind


def _holds(client: DICOMwebClient, image: Dataset) -> bool:
    """Return whether a server says that it has an image."""
    uid = str(image.SOPInstanceUID)
    try:
        found = client.search_for_instances(
            image.StudyInstanceUID, image.SeriesInstanceUID, search_filters={"SOPInstanceUID": uid}
        )
        return any(_value(entry, _INSTANCE) == uid for entry in found)
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError):
        return False


def _require_stored(response: Dataset) -> None:
    """Raise where a STOW-RS response says that an image was not stored (PS3.18 10.5.3)."""
    failed = (response.get("FailedSOPSequence"), response.get("OtherFailuresSequence"))
    for item in chain.from_iterable(items or () for items in failed):
        status = int(item.get("FailureReason") or 0)
        if status in _NO_ROOM:
            raise NotDelivered(f"it has no room (status {status:04X})")
        raise Refused(f"it refuses an image (status {status:04X})")


def _of_status(problem: requests.HTTPError) -> NotDelivered | Refused:
    code = _code(problem)
    # Errors of access, time-out and load may disappear, so the delivery is repeated.
    if code >= _SERVER_ERROR or code in (401, 403, 404, 408, 429):
        return NotDelivered(_answer(code))
    return Refused(_answer(code))


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn errors within the block into NotReached, whose text quotes no response."""
    try:
        yield
    except requests.HTTPError as problem:
        raise NotReached(_answer(_code(problem))) from None
    except requests.exceptions.InvalidJSONError:
        raise NotReached(_NO_DICOMWEB) from None
    except requests.RequestException as problem:
        raise NotReached(_reason(problem)) from None
    except (ValueError, KeyError, TypeError):
        raise NotReached(_NO_DICOMWEB) from None


def _code(problem: requests.HTTPError) -> int:
    return 0 if problem.response is None else int(problem.response.status_code)


def _answer(code: int) -> str:
    """Return an HTTP status, and which setting may be the cause."""
    cause = {401: ": check token_file", 403: ": check token_file", 404: ": check url"}
    return f"it answers with HTTP {code}{cause.get(code, '')}"


def _reason(problem: requests.RequestException) -> str:
    if isinstance(problem, requests.exceptions.SSLError):
        return "its certificate is not trusted, or TLS fails: check tls.ca"
    if isinstance(problem, requests.Timeout):
        return "it does not answer in time"
    return "it cannot be reached"


def _offered(found: Iterable[dict[str, dict[str, object]]]) -> Iterator[OfferedSeries]:
    for entry in found:
        study, series, count = (_value(entry, tag) for tag in (_STUDY, _SERIES, _COUNT))
        if is_uid(study) and is_uid(series):
            yield OfferedSeries(study, series, int(count) if count.isdigit() else 0)


def _value(entry: dict[str, dict[str, object]], tag: str) -> str:
    values = entry.get(tag, {}).get("Value")
    return str(values[0]).strip() if isinstance(values, list) and values else ""


def _encoded(image: Dataset) -> bytes:
    out = BytesIO()
    image.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _client(
    url: str, peer: Source | Destination, check: Callable[..., None] | None = None
) -> DICOMwebClient:
    """Return a client of a peer; `check` is called with each response."""
    for name in ("dicomweb_client", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    session = requests.Session()
    if check is not None:
        session.hooks["response"].append(check)
    session.trust_env = False  # ignore proxies and passwords of the environment
    tls = peer.tls or ClientTLS()
    if tls.ca is not None:
        session.verify = str(tls.ca)
    if tls.certificate is not None and tls.key is not None:
        session.cert = (str(tls.certificate), str(tls.key))
    if peer.token_file is not None:
        token = peer.token_file.read_text(encoding="utf-8").strip()
        session.headers["Authorization"] = f"Bearer {token}"
    client = DICOMwebClient(url, session=session, timeout=_TIMEOUT_S)
    client.set_http_retry_params(retry=False)  # the node repeats requests itself
    return client
