"""Slurm on this machine alone, in a folder of its own: one controller, one node, no accounts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "sinfo")
_READY_S = 60
# Nobody but this user talks to it, so that it needs no keys (munge) and no control groups.
_CONFIGURATION = """
ClusterName=little
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
SlurmdPort={node_port}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_no_slurm() -> str:
    """Return why Slurm cannot run here; empty where it can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} not found (Debian: slurm-wlm)"
    return "" if os.geteuid() == 0 else "a node of Slurm needs root"


@contextmanager
def one_node(folder: Path, cpus: int) -> Iterator[Mapping[str, str]]:
    """Run Slurm within the block; yields the environment in which sbatch finds it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host, (port, node_port) = socket.gethostname().partition(".")[0], _free_ports()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=host, user="root", port=port, node_port=node_port, folder=folder, cpus=cpus
        )
    )
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": _path()}
    daemons = []
    try:
        for name in ("slurmctld", "slurmd"):
            daemons.append(
                subprocess.Popen([name, "-D"], env=environment, stderr=subprocess.DEVNULL)
            )
        _wait_for_node(environment)
        yield environment
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(timeout=30)


def _wait_for_node(environment: Mapping[str, str]) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        told = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True)
        if told.stdout.strip() == b"idle":
            return
        time.sleep(0.2)
    raise TimeoutError("Slurm's node did not come up")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for end in (one, other):
            end.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
