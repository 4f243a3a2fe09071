"""The verbs that change an endpoint."""

from __future__ import annotations

import contextlib
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from ..adapter import Capability, DeploymentSpec, Materials
from ..adapter.types import EndpointStatus
from ..errors import ConfigError, ConflictError
from ..executor import lifecycle
from ..packaging.model import Model
from ..packaging.model import model as pack
from ..packaging.packing import Packing
from ..util.names import check_name
from ..util.suggest import did_you_mean
from .apply_change import Task, attaching_logs, change_deadline, redacting_errors
from .callers import SmokeTest, example_of
from .endpoint import Endpoint
from .read import ReadVerbs
from .resolve import RequestedSettings, check_secrets, resolve
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Unpack

    from ..adapter.types import Replicas, Resources
    from ..executor import Plan
    from ..executor.change import Change
    from .resolve import ResolvedSettings
    from .session import Session


class ChangeArguments(TypedDict, total=False):
    """The arguments of every change: the target, whether to wait, and for how long."""

    target: str | None
    wait: bool
    timeout: str | float | None


class MoveArguments(ChangeArguments, total=False):
    """The arguments of a change that deploys no model; see :meth:`ChangeVerbs.traffic`."""

    dry_run: bool


class PackArguments(Packing, total=False):
    """The packing arguments for an object that is not yet an :class:`sdk.Model`; see :func:`sdk.model`."""

    example: Any
    method: str | None
    rowwise: bool | None
    allow_nan: bool | None
    artifacts: str | Path | None
    engine: Literal["onnx"] | None


class DeployArguments(ChangeArguments, PackArguments, total=False):
    """The arguments of a deploy; see :meth:`ChangeVerbs.deploy`."""

    name: str | None
    traffic: int
    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | Iterable[str] | None
    replicas: int | Replicas | Mapping[str, int] | None
    resources: Resources | Mapping[str, float] | None
    instance: str | None
    tags: Mapping[str, str] | None
    ttl: str | float | None
    adopt: bool


class ChangeVerbs(ReadVerbs):
    """The verbs deploy, plan, temporary, traffic, promote, rollback, finalize, delete, resume and endpoint."""

    def endpoint(self, name: str, *, target: str | None = None) -> Endpoint:
        """Return the handle of an endpoint, without checking whether the endpoint exists.

        Example:
            >>> sdk.endpoint("churn").predict([[1.0, 2.0]]).values
            [3.0]
        """
        return Endpoint(self, check_name(name), self.session(target).target)

    @overload
    def deploy(self, model: Any, *, dry_run: Literal[True], **how: Unpack[DeployArguments]) -> Plan: ...
    @overload
    def deploy(self, model: Any, *, dry_run: Literal[False] = False, **how: Unpack[DeployArguments]) -> Endpoint: ...
    def deploy(
        self,
        model: Any,
        *,
        name: str | None = None,
        target: str | None = None,
        traffic: int = 100,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | Iterable[str] | None = None,
        replicas: int | Replicas | Mapping[str, int] | None = None,
        resources: Resources | Mapping[str, float] | None = None,
        instance: str | None = None,
        tags: Mapping[str, str] | None = None,
        ttl: str | float | None = None,
        adopt: bool = False,
        wait: bool = True,
        timeout: str | float | None = None,
        dry_run: bool = False,
        **about: Unpack[PackArguments],
    ) -> Endpoint | Plan:
        """Deploy a model to an endpoint, which is created if needed and otherwise updated without losing a request.

        Deploying the same model with the same arguments again changes nothing. The previous deployment keeps running
        at 0 % until :meth:`finalize` or the next deploy, so that :meth:`rollback` is instant.

        Args:
            model: A model from :func:`sdk.model` or a constructor of :class:`sdk.Model`; or an object that
                :func:`sdk.model` accepts, which is then packed under ``name``.
            name: The endpoint's name; by default that of the model.
            target: The target in the configuration; default: the client's, then ``MLPORT_TARGET``, then ``default``.
            traffic: The new deployment's share of the traffic, in whole percent; less than 100 is a canary.
            env: Plain environment variables of the model's process.
            secrets: Secret variables, by the names of the variables in your environment that hold the values, or
                ``file:PATH``.
            replicas: The number of replicas, or its minimum and maximum.
            resources: cpu, memory_gib and gpu of one replica; the cheapest instance type that provides them is used.
            instance: The instance type, as the platform names it.
            tags: Your own tags, put on all resources in addition to those of the target.
            ttl: The age at which ``gc --expired`` removes the endpoint, such as ``"8h"``, counted from the last deploy
                that changed something.
            adopt: Whether an endpoint of another owner may be taken over.
            wait: ``False`` returns as soon as everything is requested; :meth:`sdk.Endpoint.wait` then waits for it.
            timeout: Seconds, or text such as ``"20m"``, after which the deploy is undone; by default half an hour, on a
                cloud one hour. Undoing is not included: it takes as long as the platform needs to delete things.
            dry_run: Return the plan and change nothing.
            **about: For an object that is not packed yet: ``example=`` and the other arguments of :func:`sdk.model`.

        Raises:
            ConfigError: An argument is wrong; the error names it.
            UnsupportedError: The target does not support the request; raised before any call.
            ConflictError: The endpoint has another owner, is being changed now, or has a running canary.
            DeployFailed: The deploy failed and was undone; the error has the platform's reason and the last log lines.

        Example:
            >>> endpoint = sdk.deploy(model, name="churn")
            >>> endpoint.predict([[1.0, 2.0]]).values
            [3.0]
        """
        model = _packed(model, name, about)
        name = check_name(model.name if name is None else name)
        session = self.session(target)
        with redacting_errors(session):
            _require(session, model, traffic)
            wishes = RequestedSettings(env, secrets, replicas, resources, instance, tags, ttl)
            order = resolve(session, wishes, usage="inference")
            new = _deployment(model, order)

            def make(live: EndpointStatus | None, context: lifecycle.ChangeContext) -> Change:
                return lifecycle.deploy(live, new, context, share=traffic, adopt=adopt)

            check_secrets(session, order, self._secrets, "inference")
            task = Task(
                session,
                name,
                make,
                change_deadline(session, timeout),
                materials=Materials(model=model, secret=self._secrets, progress=session.uploading),
                expires_at=order.expires_at(session.clock.time()),
                tags=order.tags,
                notes=order.notes,
                warnings=_untried(model),
                smoke_test=model.example is not None or example_of(session.state_dir, new) is not None,
            )
            return self._carry_out(task, wait=wait, dry_run=dry_run)

    def plan(self, model: Any, **how: Unpack[DeployArguments]) -> Plan:
        """Return the calls, resources and prices of a :meth:`deploy` with the same arguments; changes nothing.

        Example:
            >>> plan = sdk.plan(model, name="churn-2", target="local")
            >>> [str(step.action) for step in plan.steps], plan.usd_per_hour.after
            (['create', 'create', 'create', 'probe', 'update'], 0.0)
        """
        return self.deploy(model, dry_run=True, **how)

    def temporary(self, model: Any, **how: Unpack[DeployArguments]) -> AbstractContextManager[Endpoint]:
        """Return a context manager that deploys a model and always deletes its endpoint at the end of the block.

        Takes the arguments of :meth:`deploy`. The name must be free; by default it is derived from the model's name.
        With ``ttl``, ``gc --expired`` removes the endpoint even if this machine dies.

        Raises:
            ConflictError: An endpoint of that name exists.

        Example:
            >>> with sdk.temporary(model, ttl="30m") as endpoint:
            ...     endpoint.predict([[1.0, 2.0]]).values
            [3.0]
        """
        return self._temporary(model, how)

    @contextlib.contextmanager
    def _temporary(self, model: Any, how: DeployArguments) -> Generator[Endpoint]:
        session = self.session(how.get("target"))
        name = how.get("name")
        if name is None:
            name = f"{_packed(model, None, {}).name[:12].rstrip('-')}-{session.new_txn()}"
        elif session.find(check_name(name), session.deadline(READ_S)) is not None:
            raise ConflictError(f"endpoint {name!r} exists", resource=name, hint="use a free name, or leave it out")
        how["name"] = name
        endpoint = self.deploy(model, **how)
        try:
            yield endpoint
        finally:
            endpoint.delete()

    # --- traffic ------------------------------------------------------------------------------------------------

    @overload
    def traffic(
        self, name: str, shares: int | Mapping[str, int], *, dry_run: Literal[True], **how: Unpack[ChangeArguments]
    ) -> Plan: ...
    @overload
    def traffic(
        self,
        name: str,
        shares: int | Mapping[str, int],
        *,
        dry_run: Literal[False] = False,
        **how: Unpack[ChangeArguments],
    ) -> Endpoint: ...
    def traffic(
        self,
        name: str,
        shares: int | Mapping[str, int],
        *,
        target: str | None = None,
        wait: bool = True,
        timeout: str | float | None = None,
        dry_run: bool = False,
    ) -> Endpoint | Plan:
        """Set the traffic of the deployments: whole percents by id (sum 100), or the percents of the newest one.

        Args:
            name: The endpoint.
            shares: ``30``, or ``{"d1": 70, "d2": 30}``; a deployment that is left out gets no traffic.
            target: As in :meth:`deploy`, like the following.
            wait: ``False`` returns as soon as the change is requested.
            timeout: Seconds, or text such as ``"10m"``.
            dry_run: Return the plan and change nothing.

        Raises:
            ConfigError: The shares are invalid.
            NotFoundError: The endpoint does not exist.
            ConflictError: A deployment that is not ready would get traffic.
        """
        self.session(target).require(Capability.TRAFFIC, "splitting traffic")
        make = _with(shares)
        return self._move(name, make, target=target, wait=wait, timeout=timeout, dry_run=dry_run)

    @overload
    def promote(self, name: str, *, dry_run: Literal[True], **how: Unpack[ChangeArguments]) -> Plan: ...
    @overload
    def promote(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[ChangeArguments]) -> Endpoint: ...
    def promote(self, name: str, **how: Unpack[MoveArguments]) -> Endpoint | Plan:
        """Give the newest deployment all traffic; the others keep running at 0 %. Repeating it changes nothing.

        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: The endpoint does not exist.
            ConflictError: The newest deployment is not ready.
        """
        return self._move(name, lifecycle.promote, **how)

    @overload
    def rollback(self, name: str, *, dry_run: Literal[True], **how: Unpack[ChangeArguments]) -> Plan: ...
    @overload
    def rollback(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[ChangeArguments]) -> Endpoint: ...
    def rollback(self, name: str, **how: Unpack[MoveArguments]) -> Endpoint | Plan:
        """Give all traffic back to an earlier deployment. Repeating it changes nothing.

        Of the deployments before the newest, it chooses the one with the most traffic, or the newest of them if equal.
        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: The endpoint does not exist.
            ConflictError: No earlier deployment exists any more, or it is not ready.
        """
        return self._move(name, lifecycle.rollback, **how)

    @overload
    def finalize(self, name: str, *, dry_run: Literal[True], **how: Unpack[ChangeArguments]) -> Plan: ...
    @overload
    def finalize(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[ChangeArguments]) -> Endpoint: ...
    def finalize(self, name: str, **how: Unpack[MoveArguments]) -> Endpoint | Plan:
        """Remove every deployment without traffic, which ends their cost; a rollback is then no longer possible.

        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: The endpoint does not exist.
            ConflictError: No deployment has traffic.
        """
        return self._move(name, lifecycle.finalize, **how)

    @overload
    def delete(self, name: str, *, dry_run: Literal[True], **how: Unpack[ChangeArguments]) -> Plan: ...
    @overload
    def delete(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[ChangeArguments]) -> None: ...
    def delete(self, name: str, **how: Unpack[MoveArguments]) -> Plan | None:
        """Remove an endpoint with all its resources; succeed if it does not exist.

        Takes the arguments of :meth:`traffic`.

        Raises:
            ConflictError: The endpoint has another owner, or is being changed now.
        """
        done = self._move(name, lifecycle.delete, **how)
        return None if isinstance(done, Endpoint) else done

    # --- execution ----------------------------------------------------------------------------------------------

    def resume(self, name: str, *, target: str | None = None, timeout: str | float | None = None) -> Endpoint:
        """Continue changes of an endpoint that were started with ``wait=False``, or whose process died.

        Raises:
            DeployFailed: A change failed and was undone.
        """
        session = self.session(target)
        deadline = change_deadline(session, timeout)
        probe = SmokeTest(session, name, deadline)
        materials = Materials(secret=self._secrets, progress=session.uploading)
        with redacting_errors(session):
            for found in session.executor.recover(name=name, deadline=deadline):
                if found.outcome == "waiting":
                    with attaching_logs(session, name, None):
                        session.executor.resume(found.txn, materials=materials, probe=probe, deadline=deadline)
        self._callers.forget(session, name)
        return Endpoint(self, name, session.target)

    def _move(
        self,
        name: str,
        make: Callable[[EndpointStatus | None, lifecycle.ChangeContext], Change],
        *,
        target: str | None = None,
        wait: bool = True,
        timeout: str | float | None = None,
        dry_run: bool = False,
    ) -> Endpoint | Plan:
        session = self.session(target)
        with redacting_errors(session):
            task = Task(session, check_name(name), make, change_deadline(session, timeout))
            return self._carry_out(task, wait=wait, dry_run=dry_run)

    def _carry_out(self, task: Task, *, wait: bool, dry_run: bool) -> Endpoint | Plan:
        if dry_run:
            return task.plan()
        applied = task.run(wait=wait)
        self._callers.forget(task.session, task.name)
        status = applied.status if isinstance(applied.status, EndpointStatus) else None
        return Endpoint(self, task.name, task.session.target, status=status)


def _packed(model: Any, name: str | None, about: Mapping[str, Any]) -> Model:
    """Return the model unchanged, or an object packed under the name of its endpoint."""
    if unknown := set(about) - set(PackArguments.__annotations__):
        hint = did_you_mean(min(unknown), DeployArguments.__annotations__)
        raise ConfigError(f"unknown argument {min(unknown)!r}", hint=hint)
    if isinstance(model, Model):
        if about:
            raise ConfigError(f"{min(about)}: the model is packed already", hint="give it to sdk.model()")
        return model
    kind = f"a {type(model).__name__}"
    if isinstance(model, str | PathLike):
        hint = "say sdk.Model.from_path(it) for a model file, sdk.Model.load(it) for what Model.save wrote"
        raise ConfigError(f"{kind} is no sdk.Model", hint=hint)
    if name is None:
        hint = "give one: name=…; or pack it first: sdk.model(it, name=…, example=rows)"
        raise ConfigError(f"{kind} is no sdk.Model and has no name", hint=hint)
    return pack(model, name=name, **about)


def _require(session: Session, model: Model, traffic: int) -> None:
    session.require(Capability.DEPLOY, "deploying")
    if traffic != 100:
        session.require(Capability.TRAFFIC, f"traffic = {traffic}")
    if model.image is not None:
        session.require(Capability.IMAGES, "a ready-made image")


def _deployment(model: Model, order: ResolvedSettings) -> DeploymentSpec:
    return DeploymentSpec(
        id="",
        model_name=model.name,
        model=model.digest,
        generation=0,
        image=model.image,
        instance=order.instance,
        resources=order.resources,
        replicas=order.replicas,
        env=order.env,
        secrets=order.secrets,
        options=order.options,
        usd_per_hour=order.usd_per_hour,
    )


def _with(shares: int | Mapping[str, int]) -> Callable[[EndpointStatus | None, lifecycle.ChangeContext], Change]:
    return lambda live, context: lifecycle.traffic(live, shares, context)


def _untried(model: Model) -> tuple[str, ...]:
    """Return the warning for a model without an example, which gets no smoke test; empty if it has one."""
    if model.path is None or model.example is not None:
        return ()
    why = "the model has no example, so it is not asked for an answer before it gets traffic"
    return (f"{why}: pack it with example=, or give --example to the command",)
