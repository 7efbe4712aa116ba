"""The node's settings: one TOML file, which is checked before any port is opened.

docs/how-to/pacs.md lists every key. All ports listen on loopback by default.
"""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    IPvAnyAddress,
    ValidationError,
    field_validator,
    model_validator,
)

from petdiff.errors import UsageError, nearest
from petdiff.io.json_files import read_toml
from petdiff.module.settings import ModuleSettings
from petdiff.node.peers import (
    DATE_MARGIN_DAYS,
    AETitle,
    ClientTLS,
    Destination,
    Port,
    Seconds,
    Sender,
    ServerTLS,
    Source,
)

# What is asked for, by pydantic's type of error.
_ADDRESS = {
    "ip_any_address": "an IP address, such as 10.1.2.3",
    "ip_any_network": "an IP address or a network, such as 10.1.2.0/28",
}
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Listen(BaseModel, frozen=True, extra="forbid"):
    """The DICOM port.

    quiet_seconds  time without a new image after which a series is complete or cut short
    incomplete     what to do with a series of fewer images than its headers state or its source
                   offers
    associations   maximum number of open associations
    idle_seconds   time without a message after which an association is ended
    image_mb       maximum size of one image
    """

    ae_title: AETitle = "PETDIFF"
    address: IPvAnyAddress = ipaddress.IPv4Address("127.0.0.1")
    port: Port = 11112
    quiet_seconds: Seconds = 60
    incomplete: Literal["discard", "denoise"] = "discard"
    associations: Annotated[int, Field(ge=1, le=500)] = 20
    idle_seconds: Seconds = 30
    image_mb: Annotated[int, Field(ge=1)] = 1024
    tls: ServerTLS | None = None


class Denoising(BaseModel, frozen=True, extra="forbid"):
    """How series are denoised, as for `petdiff module`; one worker process for each device.

    minutes  maximum time for one series
    """

    devices: Annotated[tuple[str, ...], Field(min_length=1)] = ("auto",)
    model: str = "flow3d"
    steps: int | None = None
    dose: str | float | None = None
    seed: int = 0
    series_prefix: str = "petdiff "
    minutes: Annotated[float, Field(gt=0, le=10_000)] = 120

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        try:
            for device in self.devices:
                self.settings(device)
        except UsageError as problem:
            raise ValueError(str(problem)) from None
        return self

    def settings(self, device: str) -> ModuleSettings:
        """Return the settings of the worker of a device."""
        shared = self.model_dump(exclude={"devices", "minutes"})
        return ModuleSettings.of({**shared, "device": device})


class Limits(BaseModel, frozen=True, extra="forbid"):
    """Limits of disk space, and times for which series and records are kept.

    queue_gb      maximum size of the node's folder; above it, images are refused
    free_gb       minimum of free space on the disk; below it, images are refused
    discard_gb    maximum size of refused series; the oldest are removed first
    discard_days  time for which a refused series is kept
    done_days     time for which the record of a series is kept, to recognise copies; longer for as
                  long as a source may offer it
    """

    queue_gb: Annotated[float, Field(gt=0)] = 50
    free_gb: NotNegative = 1
    discard_gb: NotNegative = 10
    discard_days: NotNegative = 30
    done_days: NotNegative = 30


class StatusPort(BaseModel, frozen=True, extra="forbid"):
    """The HTTP port of the status page; port 0: no status page."""

    address: IPvAnyAddress = ipaddress.IPv4Address("127.0.0.1")
    port: Annotated[int, Field(ge=0, le=65535)] = 11180


class NodeSettings(BaseModel, frozen=True, extra="forbid"):
    """All settings of a node. `folder` holds its queue."""

    folder: Path
    listen: Listen = Listen()
    senders: tuple[Sender, ...] = ()
    sources: tuple[Source, ...] = ()
    denoise: Denoising = Denoising()
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1)]
    limits: Limits = Limits()
    status: StatusPort = StatusPort()

    @field_validator("destinations")
    @classmethod
    def _have_unique_names(cls, given: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in given]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two destinations are called {min(twice)}")
        return given

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.senders and not self.listen.address.is_loopback:
            raise ValueError(
                f"listen.address {self.listen.address} can be reached from other machines: list "
                "those that may send under [[senders]]"
            )
        known = [destination.name for destination in self.destinations]
        for peer, names in self._routes():
            for name in names:
                if name not in known:
                    raise ValueError(f"{peer} names the destination {name}{nearest(name, known)}")
        return self

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        """Refuse peers of one name that differ: a series keeps only the name of its peer."""
        senders = {(one.ae_title, one.destinations, one.dose) for one in self.senders}
        ways = senders | {(one.name, one.destinations, one.dose) for one in self.sources}
        names = [name for name, *_ in ways]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"two of senders and sources are called {min(twice)} and differ in destinations or "
                "dose: list all addresses of a sender once, and name a source otherwise"
            )
        return self

    def dose_of(self, peer: str) -> str | float | None:
        """Return the dose of the series of a sender or source; None: the dose of `denoise`."""
        senders = {sender.ae_title: sender.dose for sender in self.senders}
        return ({source.name: source.dose for source in self.sources} | senders).get(peer)

    @property
    def record_days(self) -> float:
        """The days for which the record of a series is kept: while a source may offer it again.

        A study may be dated DATE_MARGIN_DAYS ahead. It is offered until the end of the day that is
        `days` and the margin after its date.
        """
        ages = [
            source.days + 2 * DATE_MARGIN_DAYS + 1 if source.days else math.inf
            for source in self.sources
        ]
        return max([self.limits.done_days, *ages])

    def _routes(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the destinations by AE title of the sender or name of the source."""
        senders = [(sender.ae_title, sender.destinations) for sender in self.senders]
        return [*senders, *((source.name, source.destinations) for source in self.sources)]

    def may_send(self, ae_title: str | None, address: str) -> bool:
        """Return whether series are accepted from a peer; ae_title None: check the address alone.

        Without senders in the settings, only programs on this machine may send.
        """
        try:
            where = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(where, "ipv4_mapped", None)
        where = mapped or where
        if not self.senders:
            return where.is_loopback
        return any(
            ae_title in (None, sender.ae_title) and any(where in net for net in sender.addresses)
            for sender in self.senders
        )

    def destinations_of(self, sender: str) -> list[str]:
        """Return the names of the destinations for the series of a sender or source."""
        named = [name for peer, names in self._routes() if peer == sender for name in names]
        return named or [destination.name for destination in self.destinations]


def read_settings(path: Path) -> NodeSettings:
    """Read the settings. Raises UsageError, naming file and key, for what is wrong."""
    content = read_toml(path)
    try:
        return NodeSettings.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explained(error)}") from None


def _explained(error: ValidationError) -> str:
    """Return the key and the reason of one error: an unknown key before all others.

    A required key that is misspelt is missing as well, and its right name is in the message about
    the unknown one.
    """
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    key = _key(first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        reason = f"unknown{nearest(str(first['loc'][-1]), _known_keys(first['loc'][:-1]))}"
    elif first["type"] == "missing":
        reason = "missing"
    elif first["type"] == "tuple_type" and isinstance(first["input"], dict):
        reason = f"write [[{key}]] instead of [{key}]"
    elif first["type"] == "tuple_type":
        reason = f"give a list in square brackets, not {first['input']!r}"
    elif first["type"] in _ADDRESS:
        reason = f"give {_ADDRESS[first['type']]}, not {first['input']!r}"
    elif first["type"] != "value_error":
        reason = f"{reason}, not {first['input']!r}"
    return f"{key}: {reason}" if key else reason


def _key(where: tuple[int | str, ...]) -> str:
    """Return a key as the file has it: senders[2].ae_title, counted from 1."""
    key = ""
    for part in where:
        if part == "[key]":  # pydantic's mark of a wrong key of a dict; the key precedes it
            continue
        if isinstance(part, int):
            key += f"[{part + 1}]"
        else:
            key += f".{part}" if key else part
    return key


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand in a table of the file."""
    tables: dict[tuple[str, ...], type[BaseModel]] = {
        (): NodeSettings,
        ("listen",): Listen,
        ("listen", "tls"): ServerTLS,
        ("senders",): Sender,
        ("sources",): Source,
        ("sources", "tls"): ClientTLS,
        ("denoise",): Denoising,
        ("destinations",): Destination,
        ("destinations", "tls"): ClientTLS,
        ("limits",): Limits,
        ("status",): StatusPort,
    }
    table = tables[tuple(part for part in where if isinstance(part, str))]
    return list(table.model_fields)
