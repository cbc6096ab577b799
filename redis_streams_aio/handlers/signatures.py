"""Read the signature of a handler: which parameters get the payload and the delivery. Pure.

The parameter annotated `Delivery` (in a batch handler, `BatchDelivery`) gets the delivery, wherever it is; the other
one gets the payload. A parameter annotated `EventMessage[Order]` gets the event, with an `Order` in it. A handler may
take the delivery alone.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from ..checks.functions import code_of, is_async, kind_of, name_of
from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..exceptions import HandlerDefinitionError
from ..models import EventMessage
from .calls import Call, call_of, with_event, with_events
from .options import Handler
from .wrappers import FURTHER, read_signature


class Signature(msgspec.Struct, frozen=True):
    """How to call a handler."""

    payload_type: type[object]
    call: Call
    takes_delivery: bool


def read(handler: Handler, *, batch: bool) -> Signature:
    """Read how to call a handler. Raises `HandlerDefinitionError`, which says what to change."""
    reader = _Reader(handler, BatchDelivery if batch else Delivery)
    return reader.signature()


def check_kind(handler: object) -> None:
    """Raise `HandlerDefinitionError` if the object is not an async function; the error says what it is."""
    if is_async(handler):
        return
    kind, name = kind_of(handler), name_of(handler)
    if inspect.iscoroutine(handler):
        handler.close()
    raise HandlerDefinitionError(f"handler {name}: is {kind}; {_advice_for(handler, name)}")


def _advice_for(handler: object, name: str) -> str:
    """Say how to declare an object that is not an async function as a handler."""
    if isinstance(handler, type):
        return f"decorate an async function, or declare a method of an instance: handler(...)({name}(...).method)"
    if inspect.isasyncgenfunction(code_of(handler)):
        return "remove the 'yield'"
    if isinstance(handler, classmethod | property):
        return "declare it below the class, as a bound method: handler(...)(Service.method)"
    if inspect.iscoroutine(handler):
        return "pass the function, without calling it"
    if inspect.ismethod(code_of(handler)) and not inspect.isroutine(handler):
        return "write its method as 'async def __call__(self, ...)'"
    return f"write it as 'async def {name}(...)'"


class _Reader:
    """Reads the signature of one handler."""

    def __init__(self, handler: Handler, delivery_type: type[Delivery | BatchDelivery]) -> None:
        self._handler = handler
        self._name = name_of(handler)
        self._wanted = delivery_type
        self._is_batch = delivery_type is BatchDelivery
        self._parameters = self._to_be_given()
        self._hints = self._read_hints()

    def signature(self) -> Signature:
        payload, delivery = self._payload_and_delivery()
        if payload is None:
            return Signature(Any, call_of(self._handler, self._parameters, None, delivery), takes_delivery=True)
        payload_type = self._payload_type(payload)
        event = _event(payload_type)
        call = call_of(self._handler, self._parameters, payload, delivery)
        if event is not None:
            payload_type = (*get_args(event), Any)[0]
            call = with_events(call) if self._is_batch else with_event(call)
        return Signature(
            cast("type[object]", payload_type), call, takes_delivery=delivery is not None or event is not None
        )

    def _payload_and_delivery(self) -> tuple[Parameter | None, Parameter | None]:
        """Return the parameters for the payload and the delivery; at least one of them exists."""
        deliveries = [each for each in self._parameters if _asks_for(self._hints.get(each.name), self._wanted)]
        others = [each for each in self._parameters if each not in deliveries]
        if not deliveries and not others:
            raise self._wrong_parameters()
        self._check_rest([*deliveries[1:], *others[1:]])
        return next(iter(others), None), next(iter(deliveries), None)

    def _error(self, text: str) -> HandlerDefinitionError:
        return HandlerDefinitionError(f"handler {self._name}: {text}")

    def _wrong_parameters(self, further: Parameter | None = None) -> HandlerDefinitionError:
        wanted, shown = self._wanted.__name__, _signature_of(self._handler)
        advice = f"; {further.name!r} would get nothing{self._advice(further)}" if further is not None else ""
        return self._error(f"takes (payload) or (payload, delivery: {wanted}), not {shown}{advice}")

    def _not_annotated(self, payload: Parameter) -> HandlerDefinitionError:
        wraps = hasattr(code_of(self._handler), "__wrapped__")
        advice = "; functools.wraps hides its annotation: name it as the wrapped function does" if wraps else ""
        return self._error(f"annotate {payload.name!r} with the payload's type, e.g. '{payload.name}: dict'{advice}")

    def _to_be_given(self) -> list[Parameter]:
        """Return the parameters that a call can fill, without those that a `partial` has filled by name."""
        try:
            parameters = read_signature(self._handler).parameters.values()
        except (TypeError, ValueError) as error:
            raise self._error(f"its signature cannot be read: {error}") from None
        bound = getattr(self._handler, "keywords", {})
        found = [each for each in parameters if each.kind not in FURTHER and each.name not in bound]
        if found and found[0].name in ("self", "cls"):
            raise self._error(
                f"is a method without its {'instance' if found[0].name == 'self' else 'class'}; declare it bound, e.g. "
                f"handler(...)(Service(...).{self._name})"
            )
        return found

    def _read_hints(self) -> dict[str, Any]:
        """Return the types of the parameters that a call can fill; other annotations may name what is not imported."""
        code = code_of(self._handler)
        named = self._annotations(getattr(code, "__annotations__", {}))
        own_types = getattr(code, "__type_params__", ())
        try:
            return typing.get_type_hints(
                SimpleNamespace(__annotations__=named, __type_params__=own_types, __wrapped__=code), include_extras=True
            )
        except NameError as error:
            raise self._error(
                f"{error}; define the payload's type at the top of the module, above the handler (and not under "
                "TYPE_CHECKING)"
            ) from None
        except Exception as error:  # noqa: BLE001  # evaluating an annotation may raise anything
            raise self._error(f"its annotations cannot be read: {type(error).__name__}: {error}") from None

    def _annotations(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the annotations of the parameters that a call can fill, by name.

        `functools.wraps` puts those of the wrapped function in place of the wrapper's: if the names are others, the
        places decide.
        """
        called, wrapped = (list(_names_of(self._handler, follow_wrapped=follow)) for follow in (False, True))
        by_place = dict(zip(called, wrapped, strict=True)) if len(called) == len(wrapped) else {}
        names = [each.name for each in self._parameters]
        sources = {name: name if name in given else by_place.get(name, name) for name in names}
        return {name: given[source] for name, source in sources.items() if source in given}

    def _payload_type(self, payload: Parameter) -> object:
        """Return the type of the payload, or of each payload of a batch."""
        if payload.name not in self._hints:
            raise self._not_annotated(payload)
        annotated: object = self._hints[payload.name]
        self._check_other_delivery(payload)
        if not self._is_batch:
            if get_origin(annotated) is list and any(map(_is_event, get_args(annotated))):
                raise self._error(f"{payload.name!r} is a list of events, which handlers with batch= get; give batch=")
            return annotated
        if get_origin(annotated) is not list or len(get_args(annotated)) != 1:
            raise self._error(
                f"a batch handler takes a list; annotate {payload.name!r} e.g. '{payload.name}: list[dict]'"
            )
        item: object = get_args(annotated)[0]
        if item is Delivery:
            raise self._error(f"annotate {payload.name!r} with BatchDelivery, which has each Delivery")
        return item

    def _check_rest(self, rest: Sequence[Parameter]) -> None:
        """Refuse further parameters, because nothing is passed to them, unless their default binds a value early."""
        for each in rest:
            self._check_other_delivery(each)
            if _asks_for(self._hints.get(each.name), self._wanted):
                raise self._error(f"{each.name!r} asks for the delivery a second time")
            if _binds_early(each, is_annotated=each.name in self._hints):
                continue
            if len(self._parameters) > 2:
                raise self._wrong_parameters(each)
            raise self._error(
                f"annotate {each.name!r} with {self._wanted.__name__}, which is what a second parameter gets"
                f"{self._advice(each)}"
            )

    def _advice(self, parameter: Parameter) -> str:
        """Say what to do if a parameter was meant for something else."""
        if _is_event(self._hints.get(parameter.name)):
            return "; the event is its .event"
        if parameter.default is not parameter.empty and parameter.default is not None:
            return f"; give it another value with functools.partial({self._name}, {parameter.name}=...)"
        return ""

    def _check_other_delivery(self, parameter: Parameter) -> None:
        """Refuse the delivery type of the other kind of handler."""
        hint, name = self._hints.get(parameter.name), parameter.name
        if self._is_batch and _asks_for(hint, Delivery):
            raise self._error(f"annotate {name!r} with BatchDelivery, which is what a second parameter gets")
        if not self._is_batch and _asks_for(hint, BatchDelivery):
            raise self._error(
                f"{name!r} is a BatchDelivery, which needs batch=; give batch=, or annotate it with Delivery"
            )


def _is_event(hint: object) -> bool:
    return _event(hint) is not None


def _event(hint: object) -> object | None:
    """Return the `EventMessage[...]` of an annotation, also in `Annotated` or with `| None`; `None` if it has none."""
    if get_origin(hint) is Annotated:
        return _event(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return _event(kinds[0]) if len(kinds) == 1 else None
    return hint if hint is EventMessage or get_origin(hint) is EventMessage else None


def _asks_for(hint: object, wanted: type[object]) -> bool:
    """Whether an annotation is this type, also in a union or in `Annotated`: `Delivery | None`."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    known = all(any(kind is one for one in (Delivery, BatchDelivery, NoneType)) for kind in kinds)
    return known and any(kind is wanted for kind in kinds)


def _binds_early(parameter: Parameter, *, is_annotated: bool) -> bool:
    """Whether a default binds a value early, as in a loop: `name=name`.

    A default that looks like a dependency (`retries: int = 3`, `db=Depends(...)`, `db: Db = None`) does not.
    """
    default = parameter.default
    if parameter.kind is Parameter.POSITIONAL_ONLY:  # the arguments after it could not be passed
        return False
    if type(default) in (list, dict, set):
        return True
    return not is_annotated and type(default) in (str, int, float, bool, bytes, tuple)


def _names_of(handler: Handler, *, follow_wrapped: bool) -> Iterable[str]:
    try:
        return inspect.signature(handler, follow_wrapped=follow_wrapped).parameters
    except (TypeError, ValueError):  # a `partial` that binds more than the wrapped function takes
        return ()


def _signature_of(handler: Handler) -> str:
    """Return the signature as text, without defaults if these cannot be shown."""
    signature = read_signature(handler)
    try:
        return str(signature)
    except Exception:  # noqa: BLE001  # the `__repr__` of a default is user code
        return f"({', '.join(signature.parameters)})"
