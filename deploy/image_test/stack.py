"""The compose stack, driven through Docker or podman."""

import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""

CONTAINERS = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[network]
network_backend = "netavark"
[containers]
cgroups = "enabled"
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
"""


FLEET = "onlooker-fleet"
"""The service whose containers are the servers of a fleet."""


class StackFailed(Exception):
    """A command of the container engine failed; its output has been printed."""


@dataclass(slots=True)
class Stack:
    """The services of docker-compose.yml under a project name of their own.

    Args:
        engine: ``docker`` or ``podman``.
        folder: where podman keeps images and state, so that the machine's own are left alone.
        environment: what the compose file reads.
    """

    engine: str
    folder: Path
    project: str = "onlooker-image-test"
    environment: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Choose secrets; give podman a store of its own, in which it works inside a container."""
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "ONLOOKER_API_KEY": secrets.token_hex(24),
            "REDIS_PASSWORD": secrets.token_hex(24),
            "GRAFANA_PASSWORD": secrets.token_hex(24),
        }
        if self.engine == "podman":
            (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
            for file, variable, text in (
                ("storage.conf", "CONTAINERS_STORAGE_CONF", STORAGE),
                ("containers.conf", "CONTAINERS_CONF", CONTAINERS),
            ):
                (self.folder / file).write_text(text.format(folder=self.folder))
                self.environment[variable] = str(self.folder / file)
            self.environment["TMPDIR"] = str(self.folder / "tmp")

    @property
    def key(self) -> str:
        """The API key of the server."""
        return self.environment["ONLOOKER_API_KEY"]

    def make_stand_ins(self) -> None:
        """Make the bases out of Debian's packages where they are not there."""
        self._run([str(ROOT / "deploy/image_test/stand_ins.sh"), str(self.folder)])

    def build(self, options: Sequence[str]) -> None:
        """Build the CPU image; `options` go to the builder."""
        target = ["--target", "cpu", "--tag", "onlooker:cpu", *options, str(ROOT)]
        if self.engine == "docker":
            self._run(["docker", "build", *target])
        else:
            self._run(["buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers",
                       "--pull-never", "--format", "docker", *target])  # fmt: skip

    def up(self, services: Sequence[str], *, num_servers: int = 1) -> None:
        """Start services that are built already, with so many servers of a fleet if it is one."""
        scale = [f"--scale={FLEET}={num_servers}"] if FLEET in services else []
        self._compose("up", "--detach", "--no-build", *scale, *services)

    def kill(self, service: str) -> None:
        """End a service's container at once, without a word to it."""
        self.kill_container(self._container(service))

    def kill_container(self, container: str) -> None:
        """End a container, which may be named by the first part of its number, likewise."""
        self._run([self.engine, "kill", "--signal", "KILL", container])

    def start(self, service: str) -> None:
        """Start a service's container again."""
        self._run([self.engine, "start", self._container(service)])

    def logs(self, service: str) -> None:
        """Print the last lines of a service."""
        self._run([self.engine, "logs", "--tail", "60", self._container(service)])

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self._compose("down", "--volumes")

    def _container(self, service: str) -> str:
        label = "com.docker.compose"
        found = subprocess.run(
            [self.engine, "ps", "--all", "--quiet",
             "--filter", f"label={label}.project={self.project}",
             "--filter", f"label={label}.service={service}"],
            env=self.environment, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        if not found:
            raise StackFailed(f"there is no container of {service}")
        return found[0]

    def _compose(self, *arguments: str) -> None:
        command = ["docker", "compose"] if self.engine == "docker" else ["podman-compose"]
        file = ["--file", str(ROOT / "docker-compose.yml"), "--profile", "fleet"]
        self._run([*command, *file, *arguments])

    def _run(self, command: Sequence[str]) -> None:
        print("+", " ".join(command), flush=True)
        done = subprocess.run(command, env=self.environment, cwd=ROOT, check=False)
        if done.returncode:
            raise StackFailed(f"{command[0]} ended with status {done.returncode}")
