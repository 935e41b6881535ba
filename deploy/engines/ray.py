"""Ray Serve places servers: ``serve run onlooker.deploy.ray:app``. All that is Ray's is here.

Each replica is one server of a fleet: Ray's door may send a call to any of them. Ray does not tell
a replica that it is to go, and waits for its connections to end by themselves; so each replica
listens, as Ray's own routers do, for who is still sent calls, and drains when it is not. That, and
nothing else, is no public part of Ray, which is why its version is pinned.
"""

import asyncio
import shlex
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve._private.long_poll import LongPollClient, LongPollNamespace
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy
from ray.serve.context import _get_global_client

from onlooker.core.log import configure_logging
from onlooker.deploy.hosted_server import HostedServer
from onlooker.deploy.wanted import wanted_servers
from onlooker.server.serving import quiet_uvicorn

LOAD, STREAMS = "load", "streams"
MANY = 100_000
"""Calls and connections at a time: Ray's own limit is 5, and ours are the server's."""

DOOR = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # All of a stream to one server, by its name in the query.
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "url_param stream",
}
"""What Ray has to find where it starts, to put HAProxy in front. `main` prints it."""


class RayOptions(BaseModel):
    """What ``serve run onlooker.deploy.ray:app NAME=VALUE ...`` takes. Settings of servers are in
    the environment of Ray's nodes, or in `settings`."""

    model_config = ConfigDict(extra="forbid")

    min_servers: int = Field(default=2, ge=1)
    max_servers: int = Field(default=2, ge=1)
    initial_servers: int | None = Field(default=None, ge=1)
    """How many there are before their load is known. None: as few as may be."""
    target_load: float = Field(default=0.7, gt=0, le=1)
    """Load of a server that servers are added above."""
    add_after_s: float = Field(default=30.0, ge=0)
    remove_after_s: float = Field(default=600.0, ge=0)
    """How long the load must be more, or less, before there are more servers, or fewer."""
    num_cpus: float = Field(default=1.0, ge=0)
    num_gpus: float = Field(default=0.0, ge=0)
    """Of each server."""
    drain_s: float = Field(default=60.0, gt=0)
    """How long a server that is to go may take; more than Ray's door needs to hear of it (30 s)
    and the server's ``drain_s + close_s`` (20 s) together."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of docs/reference.md by name."""


class OnlookerReplica:
    """One server as a replica of a deployment."""

    def __init__(self, settings: dict[str, Any]) -> None:
        context = serve.get_replica_context()
        self._id = context.replica_id
        self._server = HostedServer(
            name=f"ray-{self._id.unique_id}",
            host=_address_of_node(),
            overrides=settings,
        )
        section = self._server.section
        configure_logging(level=section.log_level, style="json", repeats=section.log_repeats)
        quiet_uvicorn()
        self._targets: LongPollClient | None = None
        self._was_target = False

    def __serve_build_asgi_app__(self) -> HostedServer:
        return self._server

    async def check_health(self) -> None:
        """Asked by Ray every now and then; a replica that raises is replaced."""
        self._server.check()
        if self._targets is None:  # asked for the first time when the replica runs
            self._targets = LongPollClient(
                _get_global_client()._controller,
                {(LongPollNamespace.DEPLOYMENT_TARGETS, self._id.deployment_id): self._hear},
                call_in_event_loop=asyncio.get_running_loop(),
                client_id=f"onlooker:{self._id.unique_id}",
            )

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the policy decides by."""
        return {LOAD: self._server.load, STREAMS: float(self._server.num_streams)}

    def _hear(self, told: Any) -> None:
        """Who is sent calls from now on."""
        is_target = any(one.replica_id == self._id for one in told.running_replicas)
        if self._was_target and not is_target:
            self._server.begin_drain()
        self._was_target = is_target or self._was_target


class LoadPolicy:
    """As many servers as their load asks for, whatever number of connections they have."""

    def __init__(self, target: float) -> None:
        self._target = target

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        loads = (context.aggregated_metrics or {}).get(LOAD, {})
        wanted = wanted_servers(
            list(loads.values()),
            target=self._target,
            num_running=context.current_num_replicas,
            before=context.target_num_replicas,
        )
        return wanted, {}


def _address_of_node() -> str:
    """Where other nodes reach this one, as Ray was told."""
    node = ray.get_runtime_context().get_node_id()
    [address] = [one["NodeManagerAddress"] for one in ray.nodes() if one["NodeID"] == node]
    return str(address)


def app(options: RayOptions) -> Any:
    """The application that Ray Serve runs."""
    autoscaling = AutoscalingConfig(
        min_replicas=options.min_servers,
        initial_replicas=options.initial_servers or options.min_servers,
        max_replicas=max(options.min_servers, options.max_servers),
        upscale_delay_s=options.add_after_s,
        downscale_delay_s=options.remove_after_s,
        policy=AutoscalingPolicy(
            policy_function="onlooker.deploy.ray:LoadPolicy",
            policy_kwargs={"target": options.target_load},
        ),
    )
    deployment = serve.deployment(
        serve.ingress()(OnlookerReplica),
        name="onlooker",
        autoscaling_config=autoscaling,
        max_ongoing_requests=MANY,
        graceful_shutdown_timeout_s=options.drain_s,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        ray_actor_options={"num_cpus": options.num_cpus, "num_gpus": options.num_gpus},
    )
    return deployment.bind(options.settings)


def main() -> None:
    """``eval "$(python -m onlooker.deploy.ray)"`` before ``ray start`` and ``serve run``."""
    for name, value in DOOR.items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
