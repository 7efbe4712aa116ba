"""`petdiff node`: what is wrong is one line, and the exit code of wrong usage."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from petdiff import cli
from petdiff.errors import UsageError
from petdiff.node.run import run_node
from support.node import stub
from support.pacs import free_port

pytest.importorskip("pynetdicom", reason="pynetdicom (extra node) is not installed")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(
        f'folder = "{tmp_path / "queue"}"\n[listen]\nport = {free_port()}\n[status]\nport = 0\n'
        '[[destinations]]\nname = "pacs"\nae_title = "A"\naddress = "127.0.0.1"\nport = 1\n'
    )
    return file


def test_a_wrong_setting_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("port = 0", "prot = 0"))
    assert cli.run(["node", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "status.prot: unknown; did you mean port?" in error
    assert not (config.parent / "queue").exists()


@pytest.mark.parametrize("package", ["pynetdicom", "prometheus_client", "dicomweb_client"])
def test_a_missing_package_names_the_extra(
    config: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("petdiff.node.")]:
        if name.rpartition(".")[2] in ("dicom_server", "status", "dicomweb"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"needs {package}: pip install 'petdiff\\[node\\]'"):
        run_node(config)


def test_a_port_that_is_taken_is_named(config: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = config.read_text().replace("[listen]\nport = ", f"[listen]\nport = {port} # ")
        config.write_text(text)
        with pytest.raises(UsageError, match=f"listen.port {port} at 127.0.0.1 cannot be opened"):
            run_node(config)


def test_a_device_that_is_not_there_is_named_as_the_settings_name_it(config: Path) -> None:
    config.write_text(f'{config.read_text()}[denoise]\ndevices = ["cuda:99"]\n')
    with pytest.raises(UsageError, match=r"\[denoise\]: device cuda:99 is not available here"):
        run_node(config)


def test_settings_that_the_model_cannot_meet_stop_the_node_at_its_start(
    config: Path, tmp_path: Path
) -> None:
    from petdiff.methods.model import save_model
    from petdiff.methods.registry import METHODS

    method, file = METHODS["logunet"].create("tiny"), tmp_path / "model.safetensors"
    save_model(file, method.network, method.card({}), torch.float32)
    config.write_text(f'{config.read_text()}[denoise]\nmodel = "{file}"\ndose = "1/4"\n')
    with pytest.raises(UsageError, match=r"\[denoise\]: dose is 4, but logunet makes no use of"):
        run_node(config)


def test_a_model_that_is_not_there_is_wrong_usage(config: Path) -> None:
    with pytest.raises(UsageError, match=r"\[denoise\]: there is no such model"):
        run_node(config, stub("unusable"))
