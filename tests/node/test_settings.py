"""The node's settings: loopback unless told otherwise, and errors that name the key."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from petdiff.errors import UsageError
from petdiff.node.settings import NodeSettings, read_settings

TO = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\naddress = "10.0.0.5"\nport = 104\n'


def read(folder: Path, content: str) -> NodeSettings:
    (folder / "node.toml").write_text(content)
    return read_settings(folder / "node.toml")


def test_a_folder_and_a_destination_are_enough_and_listen_on_loopback(tmp_path: Path) -> None:
    settings = read(tmp_path, f'folder = "{tmp_path}"\n{TO}')
    assert settings.listen.address.is_loopback
    assert settings.status.address.is_loopback
    assert settings.may_send("ANY", "127.0.0.1")
    assert settings.may_send("ANY", "::1")
    assert not settings.may_send("ANY", "10.0.0.5")
    assert settings.destinations_of("ANY") == ["pacs"]


def test_who_may_send_is_a_matter_of_title_and_address(tmp_path: Path) -> None:
    senders = '[[senders]]\nae_title = "SCANNER"\naddresses = ["10.1.0.0/16", "10.2.0.7"]\n'
    senders += '[[senders]]\nae_title = "PACS"\naddresses = ["::1"]\ndestinations = ["two"]\n'
    senders += 'dose = "1/4"\n'
    second = TO.replace('"pacs"', '"two"')
    content = f'folder = "q"\n[listen]\naddress = "0.0.0.0"\n{senders}{TO}{second}'
    settings = read(tmp_path, content)
    assert settings.may_send("SCANNER", "10.1.200.3")
    assert settings.may_send("SCANNER", "::ffff:10.2.0.7")
    assert not settings.may_send("SCANNER", "10.2.0.8")
    assert not settings.may_send("PACS", "10.2.0.7")
    assert settings.may_send(None, "10.2.0.7")
    assert not settings.may_send("SCANNER", "127.0.0.1")
    assert settings.destinations_of("SCANNER") == ["pacs", "two"]
    assert settings.destinations_of("PACS") == ["two"]
    assert (settings.dose_of("PACS"), settings.dose_of("SCANNER")) == ("1/4", None)


@pytest.mark.parametrize(
    ("days", "kept"), [((), 30), ((7,), 30), ((90, 7), 93), ((0, 7), math.inf)]
)
def test_records_are_kept_while_a_source_may_offer_the_series_again(
    tmp_path: Path, days: tuple[int, ...], kept: float
) -> None:
    sources = "".join(
        f'[[sources]]\nname = "s{n}"\nurl = "http://s"\ndays = {one}\n'
        for n, one in enumerate(days)
    )
    assert read(tmp_path, f'folder = "q"\n{sources}{TO}').record_days == kept


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (TO, "folder: missing"),
        (
            f'folder = "q"\n[listen]\naddress = "localhost"\n{TO}',
            "listen.address: give an IP address, such as 10.1.2.3, not 'localhost'",
        ),
        (
            f'folder = "q"\n[[senders]]\nae_title = "A"\naddresses = ["10.1.2.3/28"]\n{TO}',
            "addresses[1]: give an IP address or a network, such as 10.1.2.0/28",
        ),
        (f'foldr = "q"\n{TO}', "foldr: unknown; did you mean folder?"),
        (f'folder = "q"\n[senders]\nae_title = "A"\n{TO}', "senders: write [[senders]]"),
        (
            f'folder = "q"\n[[senders]]\nae_title = "A"\naddresses = "::1"\n{TO}',
            "senders[1].addresses: give a list in square brackets, not '::1'",
        ),
        (f'folder = "q"\n[[sources]]\nname = "s"\nurl = "x/y"\n{TO}', "sources[1].url: give a URL"),
        (
            f'folder = "q"\n[[sources]]\nname = "s"\nurl = "http://x"\n'
            f'matching = {{SeriesDesc = "*WB*"}}\n{TO}',
            "SeriesDesc: give a keyword of the DICOM dictionary",
        ),
        (
            f'folder = "q"\n[[sources]]\nname = "s"\nurl = "http://x"\n'
            f'matching = {{StudyDate = "20240101-"}}\n{TO}',
            "sources[1]: matching: the node asks for Modality PT, and for StudyDate by days",
        ),
        ('folder = "q"', "destinations: missing"),
        (f'folder = "q"\n[listen]\nprot = 1\n{TO}', "listen.prot: unknown; did you mean port?"),
        (f'folder = "q"\n[listen]\nport = 0\n{TO}', "listen.port: "),
        (f'folder = "q"\n[listen]\naddress = "0.0.0.0"\n{TO}', "[[senders]]"),
        (f'folder = "q"\n{TO}ae = 1', "destinations[1].ae: unknown"),
        (f'folder = "q"\n{TO}url = "http://x"', "destinations[1]: give either"),
        (f'folder = "q"\n{TO}{TO}', "two destinations are called pacs"),
        (f'folder = "q"\n[denoise]\ndose = "2"\n{TO}', "denoise: the setting dose"),
        (
            f'folder = "q"\n[[sources]]\nname = "s"\nurl = "http://x"\ndose = 4\n{TO}',
            "sources[1].dose: the setting dose",
        ),
        (f'folder = "q"\n[denoise]\nsteps = 20000\n{TO}', "denoise: the setting steps is 20000"),
        (f'folder = "q"\n[denoise]\nmodel = 3\n{TO}', "denoise.model"),
        (f'folder = "q"\n[listen]\nae_title = "far too long a title"\n{TO}', "listen.ae_title"),
        (
            f'folder = "q"\n[[senders]]\nae_title = "A"\naddresses = ["::1"]\n'
            f'destinations = ["pac"]\n{TO}',
            "did you mean pacs?",
        ),
        (
            f'folder = "q"\n[[senders]]\nae_title = "A"\naddresses = ["::1"]\ndose = "1/4"\n'
            f'[[senders]]\nae_title = "A"\naddresses = ["::2"]\n{TO}',
            "two of senders and sources are called A and differ in destinations or dose",
        ),
        (
            f'folder = "q"\n[[senders]]\nae_title = "A"\naddresses = ["::1"]\n'
            f'destinations = ["pacs"]\n[[sources]]\nname = "A"\nurl = "http://x"\n{TO}',
            "two of senders and sources are called A and differ in destinations or dose",
        ),
        (f'folder = "q"\n[listen.tls]\ncertificate = "/none"\nkey = "/none"\n{TO}', "no such file"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, content)
    assert str(tmp_path / "node.toml") in str(raised.value)
    assert named in str(raised.value)
