"""The verbs that change an endpoint."""

from __future__ import annotations

import contextlib
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, overload

from .. import lifecycle
from ..adapter import Capability, DeploymentSpec, Materials
from ..endpoint import Endpoint
from ..errors import ConfigError, ConflictError
from ..model import Model
from ..model import model as pack
from ..names import check_name
from ..packaging.packing import Packing
from ..suggest import did_you_mean
from ..types import EndpointStatus
from .base import ClientBase
from .calling import Probe
from .changing import Task, border, change_deadline, last_words
from .order import Wishes, check_secrets, settle
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Unpack

    from ..change import Change
    from ..executor import Plan
    from ..types import Replicas, Resources
    from . import Client
    from .order import Order
    from .session import Session


class How(TypedDict, total=False):
    """How a change is carried out: on which target, whether to wait, and for how long."""

    target: str | None
    wait: bool
    timeout: str | float | None


class MoveHow(How, total=False):
    """The arguments of a change that brings nothing new; see :meth:`ChangeVerbs.traffic`."""

    dry_run: bool


class About(Packing, total=False):
    """What may be said about an object that is no :class:`sdk.Model` yet; see :func:`sdk.model`."""

    example: Any
    method: str | None
    rowwise: bool | None
    allow_nan: bool | None
    artifacts: str | Path | None
    engine: Literal["onnx"] | None


class DeployHow(How, About, total=False):
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


class ChangeVerbs(ClientBase):
    """deploy, plan, temporary, traffic, promote, rollback, finalize, delete."""

    @overload
    def deploy(self, model: Any, *, dry_run: Literal[True], **how: Unpack[DeployHow]) -> Plan: ...
    @overload
    def deploy(self, model: Any, *, dry_run: Literal[False] = False, **how: Unpack[DeployHow]) -> Endpoint: ...
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
        **about: Unpack[About],
    ) -> Endpoint | Plan:
        """Puts a model behind an endpoint, which is made if need be and otherwise updated without losing a request.

        Deploying the same thing again changes nothing. The deployment that served before keeps running at 0 %, so that
        :meth:`rollback` is instant, until :meth:`finalize` or the next deploy.

        Args:
            model: From :func:`sdk.model` or one of the makers of :class:`sdk.Model`; or what :func:`sdk.model` takes,
                which is packed under ``name`` then.
            name: Name of the endpoint; the model's by default.
            target: Target of the configuration; default: the client's, then ``MLPORT_TARGET``, then ``default``.
            traffic: Whole percents of the traffic for it; less than 100 is a canary.
            env: Plain variables of the model's process.
            secrets: Secret variables, by the names under which your environment has the values, or ``file:PATH``.
            replicas: A number of copies, or the least and most of them.
            resources: cpu, memory_gib and gpu of one copy: the cheapest instance that fits.
            instance: Instance type in the platform's own words.
            tags: Your own tags, put on everything, besides those of the target.
            ttl: Age at which ``gc --expired`` removes it, such as ``"8h"``; counted from the last deploy that changed
                something.
            adopt: Whether an endpoint of another owner may be taken over.
            wait: ``False`` comes back as soon as everything is asked for; :meth:`sdk.Endpoint.wait` waits then.
            timeout: Seconds, or text such as ``"20m"``, after which it is undone; by default half an hour, on a cloud
                an hour. Undoing is not part of it: it takes as long as the platform needs to let go.
            dry_run: Gives the plan and changes nothing.
            **about: For what is not packed yet: ``example=`` and the other arguments of :func:`sdk.model`.

        Raises:
            ConfigError: An argument is wrong; names it.
            UnsupportedError: The target cannot do it; before any call.
            ConflictError: Somebody else owns it or changes it now, or a canary is running.
            DeployFailed: With the platform's reason and the container's last lines; everything was undone.

        Example:
            >>> endpoint = sdk.deploy(model, name="churn")
            >>> endpoint.predict([[1.0, 2.0]]).values
            [3.0]
        """
        model = _packed(model, name, about)
        name = check_name(model.name if name is None else name)
        session = self.session(target)
        with border(session):
            _require(session, model, traffic)
            wishes = Wishes(env, secrets, replicas, resources, instance, tags, ttl)
            order = settle(session, wishes, usage="inference")
            new = _deployment(model, order)

            def make(live: EndpointStatus | None, context: lifecycle.Context) -> Change:
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
            )
            return self._carry_out(task, wait=wait, dry_run=dry_run)

    def plan(self, model: Any, **how: Unpack[DeployHow]) -> Plan:
        """The calls, resources and prices of a :meth:`deploy` with the same arguments; changes nothing.

        Example:
            >>> plan = sdk.plan(model, name="churn-2", target="local")
            >>> [str(step.action) for step in plan.steps], plan.usd_per_hour.after
            (['create', 'create', 'create', 'probe', 'update'], 0.0)
        """
        return self.deploy(model, dry_run=True, **how)

    def temporary(self, model: Any, **how: Unpack[DeployHow]) -> AbstractContextManager[Endpoint]:
        """An endpoint that is deleted at the end of the block, whatever happens in it.

        Takes the arguments of :meth:`deploy`. The name must be free; by default one is made from the model's. With
        ``ttl``, ``gc --expired`` removes it even if this machine dies.

        Raises:
            ConflictError: There is an endpoint of that name.

        Example:
            >>> with sdk.temporary(model, ttl="30m") as endpoint:
            ...     endpoint.predict([[1.0, 2.0]]).values
            [3.0]
        """
        return self._temporary(model, how)

    @contextlib.contextmanager
    def _temporary(self, model: Any, how: DeployHow) -> Generator[Endpoint]:
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
        self, name: str, shares: int | Mapping[str, int], *, dry_run: Literal[True], **how: Unpack[How]
    ) -> Plan: ...
    @overload
    def traffic(
        self, name: str, shares: int | Mapping[str, int], *, dry_run: Literal[False] = False, **how: Unpack[How]
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
        """Sets the shares of the deployments: whole percents by id (sum 100), or those of the newest one.

        Args:
            name: The endpoint.
            shares: ``30``, or ``{"d1": 70, "d2": 30}``; who is left out gets nothing.
            target: As in :meth:`deploy`, like the others.
            wait: ``False`` comes back as soon as it is asked for.
            timeout: Seconds, or text such as ``"10m"``.
            dry_run: Gives the plan and changes nothing.

        Raises:
            ConfigError: The shares make no sense.
            NotFoundError: There is no such endpoint.
            ConflictError: A deployment that is not ready would get traffic.
        """
        self.session(target).require(Capability.TRAFFIC, "splitting traffic")
        make = _with(shares)
        return self._move(name, make, target=target, wait=wait, timeout=timeout, dry_run=dry_run)

    @overload
    def promote(self, name: str, *, dry_run: Literal[True], **how: Unpack[How]) -> Plan: ...
    @overload
    def promote(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[How]) -> Endpoint: ...
    def promote(self, name: str, **how: Unpack[MoveHow]) -> Endpoint | Plan:
        """Gives the newest deployment all traffic; the others keep running at 0 %. Twice is the same as once.

        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: There is no such endpoint.
            ConflictError: The newest deployment is not ready.
        """
        return self._move(name, lifecycle.promote, **how)

    @overload
    def rollback(self, name: str, *, dry_run: Literal[True], **how: Unpack[How]) -> Plan: ...
    @overload
    def rollback(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[How]) -> Endpoint: ...
    def rollback(self, name: str, **how: Unpack[MoveHow]) -> Endpoint | Plan:
        """Gives the deployment before the newest all traffic again. Twice is the same as once.

        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: There is no such endpoint.
            ConflictError: No earlier deployment is kept.
        """
        return self._move(name, lifecycle.rollback, **how)

    @overload
    def finalize(self, name: str, *, dry_run: Literal[True], **how: Unpack[How]) -> Plan: ...
    @overload
    def finalize(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[How]) -> Endpoint: ...
    def finalize(self, name: str, **how: Unpack[MoveHow]) -> Endpoint | Plan:
        """Removes every deployment that gets no traffic: nothing idle is paid, and nothing is left to roll back to.

        Takes the arguments of :meth:`traffic`.

        Raises:
            NotFoundError: There is no such endpoint.
            ConflictError: No deployment has traffic.
        """
        return self._move(name, lifecycle.finalize, **how)

    @overload
    def delete(self, name: str, *, dry_run: Literal[True], **how: Unpack[How]) -> Plan: ...
    @overload
    def delete(self, name: str, *, dry_run: Literal[False] = False, **how: Unpack[How]) -> None: ...
    def delete(self, name: str, **how: Unpack[MoveHow]) -> Plan | None:
        """Removes an endpoint with all it has; one that is not there is a success.

        Takes the arguments of :meth:`traffic`.

        Raises:
            ConflictError: It belongs to somebody else, or somebody changes it now.
        """
        done = self._move(name, lifecycle.delete, **how)
        return None if isinstance(done, Endpoint) else done

    # --- carrying out -------------------------------------------------------------------------------------------

    def resume(self, name: str, *, target: str | None = None, timeout: str | float | None = None) -> Endpoint:
        """Goes on with changes of an endpoint that were begun with ``wait=False``, or whose process died.

        Raises:
            DeployFailed: A change failed and was undone.
        """
        session = self.session(target)
        deadline = change_deadline(session, timeout)
        probe = Probe(session, name, deadline)
        materials = Materials(secret=self._secrets, progress=session.uploading)
        with border(session):
            for found in session.executor.recover(name=name, deadline=deadline):
                if found.outcome == "waiting":
                    with last_words(session, name, None):
                        session.executor.resume(found.txn, materials=materials, probe=probe, deadline=deadline)
        self._callers.forget(session, name)
        return Endpoint(cast("Client", self), name, session.target)

    def _move(
        self,
        name: str,
        make: Callable[[EndpointStatus | None, lifecycle.Context], Change],
        *,
        target: str | None = None,
        wait: bool = True,
        timeout: str | float | None = None,
        dry_run: bool = False,
    ) -> Endpoint | Plan:
        session = self.session(target)
        with border(session):
            task = Task(session, check_name(name), make, change_deadline(session, timeout))
            return self._carry_out(task, wait=wait, dry_run=dry_run)

    def _carry_out(self, task: Task, *, wait: bool, dry_run: bool) -> Endpoint | Plan:
        if dry_run:
            return task.plan()
        applied = task.run(wait=wait)
        self._callers.forget(task.session, task.name)
        status = applied.status if isinstance(applied.status, EndpointStatus) else None
        return Endpoint(cast("Client", self), task.name, task.session.target, status=status)


def _packed(model: Any, name: str | None, about: Mapping[str, Any]) -> Model:
    """The model as it is, or the object packed under the name of its endpoint."""
    if unknown := set(about) - set(About.__annotations__):
        hint = did_you_mean(min(unknown), DeployHow.__annotations__)
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


def _deployment(model: Model, order: Order) -> DeploymentSpec:
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


def _with(shares: int | Mapping[str, int]) -> Callable[[EndpointStatus | None, lifecycle.Context], Change]:
    return lambda live, context: lifecycle.traffic(live, shares, context)


def _untried(model: Model) -> tuple[str, ...]:
    """What to know about a model that cannot be tried."""
    if model.path is None or model.example is not None:
        return ()
    return ("the model has no example, so it is not asked for an answer before it gets traffic: pack it with example=",)
