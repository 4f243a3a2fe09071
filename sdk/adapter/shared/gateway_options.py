"""The settings of every target whose endpoints are behind mlport's own gateway."""

from __future__ import annotations

from pydantic import Field

from ..interface import TargetOptions


class GatewayOptions(TargetOptions):
    """The endpoint's port, the limits of a prediction, and the time limits of starting, draining and stopping."""

    port: int = Field(default=0, ge=0, le=65_535, description="port of the endpoint on 127.0.0.1; 0 takes a free one")
    usd_per_hour: float | None = Field(default=0.0, ge=0, description="what an hour of one replica or job costs you")
    max_body: int = Field(
        default=25 * 2**20, gt=0, description="largest request in bytes", json_schema_extra={"deployment": True}
    )
    deadline_s: float = Field(
        default=60.0, gt=0, description="seconds a prediction may take", json_schema_extra={"deployment": True}
    )
    start_s: float = Field(default=300.0, gt=0, description="seconds a replica may take to load its model")
    drain_s: float = Field(default=30.0, gt=0, description="seconds open requests may keep a removed replica alive")
    stop_s: float = Field(default=10.0, gt=0, description="seconds between asking a process to end and killing it")
