"""A Slurm cluster on one machine, in a folder of its own: munged, slurmctld and three slurmd.

Nothing of the system's own configuration is read or changed, and all daemons run as the user who starts them.
"""

import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time

NODES = ["n1", "n2", "n3"]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=5
MinJobAge=300
MpiDefault=none
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=60 State=UP
"""


class Unavailable(Exception):
    """Slurm cannot be run here."""


def free_ports(count):
    """Ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """The daemons, until `stop`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        for program in ["munged", "slurmctld", "slurmd", "sbatch"]:
            if not self.find(program):
                raise Unavailable(f"{program} is not installed: apt-get install slurm-wlm munge")
        host = socket.gethostname().split(".")[0]
        port, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={own} CPUs=1 RealMemory=1000"
            for name, own in zip(NODES, ports)
        )
        (self.folder / "state").mkdir()
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                host=host, port=port, user=getpass.getuser(), folder=self.folder, nodes=nodes, names=",".join(NODES)
            )
        )
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        self.daemons = []

    @staticmethod
    def find(program):
        """Daemons live where ordinary users do not look."""
        return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")

    def daemon(self, name, *arguments):
        log = open(self.folder / f"{name}.out", "w")
        process = subprocess.Popen(
            [self.find(arguments[0]), *arguments[1:]],
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.daemons.append((name, process))
        return process

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        munged = [f"--{what}={self.folder}/munge.{end}" for what, end in
                  [("socket", "socket"), ("key-file", "key"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed")]]
        self.daemon("munged", "munged", "--foreground", "--force", *munged)
        self.wait("munged", lambda: (self.folder / "munge.socket").exists(), 20)
        self.daemon("slurmctld", "slurmctld", "-D", "-i")
        self.wait("slurmctld", lambda: self.call("scontrol", "ping", check=False).returncode == 0, 30)
        for name in NODES:
            (self.folder / f"spool-{name}").mkdir()
            self.daemon(f"slurmd-{name}", "slurmd", "-D", "-N", name)
        idle = lambda: self.call("sinfo", "--noheader", "--Node", "--format=%T", check=False).stdout.split() == ["idle"] * len(NODES)
        self.wait("nodes", idle, 40)

    def wait(self, what, ready, seconds):
        end = time.monotonic() + seconds
        while not ready():
            dead = [name for name, process in self.daemons if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise Unavailable(f"{what} did not come up ({', '.join(dead) or 'no answer'})\n{self.logs()}")
            time.sleep(0.2)

    def logs(self):
        """The last lines of each daemon."""
        parts = []
        for path in sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")]):
            lines = path.read_text(errors="replace").splitlines()[-12:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def call(self, *words, check=True):
        return subprocess.run(words, env=self.environment, check=check, capture_output=True, text=True)

    def stop(self):
        self.call("scancel", "--user", getpass.getuser(), check=False)
        for _, process in reversed(self.daemons):
            process.terminate()
        for _, process in reversed(self.daemons):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
