"""Files for containers and platforms: complete, and in step with the program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petdiff import __version__
from petdiff.methods.weights_files import shipped_models
from petdiff.module.contract import Folders, read_folders

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text("utf-8")
# Fields that the documentation of XNAT's container service lists.
COMMAND = {
    "name", "label", "description", "version", "schema-version", "type", "info-url", "image",
    "index", "hash", "working-directory", "command-line", "reserve-memory", "limit-memory",
    "limit-cpu", "override-entrypoint", "mounts", "environment-variables", "ports", "inputs",
    "outputs", "xnat",
}  # fmt: skip
INPUT = {
    "name", "label", "description", "type", "required", "matcher", "default-value",
    "replacement-key", "command-line-flag", "command-line-separator", "true-value", "false-value",
}  # fmt: skip
WRAPPER_INPUT = INPUT | {
    "user-settable", "provides-value-for-command-input", "provides-files-for-command-mount",
    "via-setup-command", "derived-from-wrapper-input", "derived-from-xnat-object-property",
}  # fmt: skip


def content(name: str) -> Any:
    return json.loads((DEPLOY / name).read_text("utf-8"))


def names(items: list[dict[str, Any]]) -> set[str]:
    return {item["name"] for item in items}


@pytest.mark.parametrize("name", ["monai/app.json", "monai/pkg.json", "xnat/command.json"])
def test_versions_are_the_programs(name: str) -> None:
    assert content(name)["version"] == __version__
    assert f'image.version="{__version__}"' in CONTAINERFILE


def test_the_application_manifest_names_folders_that_the_module_takes() -> None:
    app = content("monai/app.json")
    assert {"command", "input", "output"} <= set(app)
    assert app["type"] == "application"
    folders = read_folders(app["environment"])
    expected = Path(app["input"]["path"]), Path(app["output"]["path"])
    assert folders == Folders("Holoscan", *expected)
    assert all(Path(path).is_absolute() for path in expected)
    assert app["command"].endswith("petdiff module")
    assert isinstance(app["input"]["formats"], list)


def test_the_package_manifest_names_a_shipped_model_and_resources() -> None:
    package = content("monai/pkg.json")
    assert names(package["models"]) <= set(shipped_models())
    for model in package["models"]:
        assert f"{package['modelRoot']}{model['path']}" in CONTAINERFILE
    assert re.fullmatch(r"\d+Gi", package["resources"]["memory"])


def test_the_xnat_command_holds_together() -> None:
    command = content("xnat/command.json")
    assert set(command) <= COMMAND
    assert command["schema-version"] == "1.0"
    assert command["image"] == f"petdiff:{__version__}"
    assert all(set(item) <= INPUT for item in command["inputs"])
    mounts, outputs = names(command["mounts"]), names(command["outputs"])
    assert {output["mount"] for output in command["outputs"]} <= mounts
    for item in command["inputs"]:
        assert item["replacement-key"] in command["command-line"]
    for wrapper in command["xnat"]:
        known = names(wrapper["external-inputs"]) | names(wrapper["derived-inputs"])
        for item in (*wrapper["external-inputs"], *wrapper["derived-inputs"]):
            assert set(item) <= WRAPPER_INPUT
            assert item.get("derived-from-wrapper-input", "scan") in known
            assert item.get("provides-files-for-command-mount", "dicom-in") in mounts
        for handler in wrapper["output-handlers"]:
            assert handler["accepts-command-output"] in outputs
            assert handler["as-a-child-of"] in known


def test_the_containerfile_takes_files_that_are_there_and_ignored_nowhere() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_image_links_to_the_weights_that_its_program_finds() -> None:
    code = re.findall(r"-c '(.+)'", CONTAINERFILE)
    assert len(code) == 1
    printed = subprocess.run(
        [sys.executable, "-c", code[0]], check=True, capture_output=True, text=True
    )
    assert Path(printed.stdout.strip()).name == "flow3d.safetensors"
    assert Path(printed.stdout.strip()).is_file()


def test_the_image_runs_the_module_as_a_user_without_rights() -> None:
    last = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert 'CMD ["petdiff", "module"]' in last
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, flags=re.MULTILINE)
    assert "ENTRYPOINT" not in last  # XNAT and people give a command
    assert "/root" not in CONTAINERFILE
    assert not re.search(r"(mkdir|COPY|ENV).*/etc/monai", CONTAINERFILE)


def test_slimming_keeps_what_runs(tmp_path: Path) -> None:
    kept = ["torch/version.py", "scipy/_lib/array_api_compat/torch/__init__.py",
            "torch/lib/libtorch.so", "torch/bin/torch_shm_manager", "torch/testing/__init__.py",
            "scipy/stats/_stats.py", "numpy/testing/__init__.py"]  # fmt: skip
    removed = ["torch/include/ATen.h", "torch/test/api", "torch/bin/protoc",
               "scipy/stats/tests/test_stats.py", "pip/__init__.py"]  # fmt: skip
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    for name in (*kept, *removed):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("x")
    subprocess.run(["sh", str(DEPLOY / "slim.sh"), str(tmp_path)], check=True)
    left = {str(file.relative_to(packages)) for file in packages.rglob("*") if file.is_file()}
    assert left == set(kept)
