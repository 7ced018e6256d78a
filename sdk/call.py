"""A recorded call as workflows see it: frozen, and validated only when it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from raysume import registry
from raysume.errors import UsageError
from raysume.methods import Method, PushedMethod
from raysume.parameters import values_of
from raysume.records import CallRecord

I_co = TypeVar("I_co", covariant=True)
O_co = TypeVar("O_co", covariant=True)
P = ParamSpec("P")
T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNREAD: Any = object()


class Call(Generic[I_co, O_co]):
    """One call of a method: what went in and what came out.

    Input and output are validated on first access; pickled, a call is its URN and raw record.
    """

    __slots__ = ("_input", "_method", "_output", "raw")

    raw: CallRecord
    """The call as it was recorded."""
    _method: Method | None
    _input: Any
    _output: Any

    def __init__(self, record: CallRecord, method: Method | None = None) -> None:
        put = object.__setattr__
        put(self, "raw", record)
        put(self, "_method", method)
        put(self, "_input", _UNREAD)
        put(self, "_output", _UNREAD)

    @staticmethod
    def of(record: CallRecord, method: Method | None = None) -> Call[Any, Any]:
        """The call of a record; its method is looked up by URN when it is not given."""
        return Call(record, method)

    @property
    def id(self) -> str:
        """The call's id; a UUIDv7 unless the client chose it."""
        return self.raw.id

    @property
    def method(self) -> str:
        """The method's URN."""
        return self.raw.method

    @property
    def service(self) -> str:
        """The service that published the call."""
        return self.raw.service

    @property
    def at(self) -> datetime:
        """When it was accepted (aware, UTC)."""
        return _EPOCH + timedelta(microseconds=self.raw.at_us)

    @property
    def error(self) -> str | None:
        """The text of the exception of a call published with `on_error=True`."""
        return self.raw.error

    @property
    def headers(self) -> dict[str, str]:
        """The headers given by the publisher."""
        return dict(self.raw.headers or {})

    @property
    def input(self) -> I_co:
        """The parameters by name, or the external model.

        Raises:
            InvalidCall: the recorded input is not of the method's types.
        """
        value = self._input
        if value is _UNREAD:
            value = self.declaration.decode_input(self.raw.input)
            object.__setattr__(self, "_input", value)
        return cast(I_co, value)

    @property
    def output(self) -> O_co:
        """The returned value; None for a call that carries none.

        Raises:
            InvalidCall: the recorded output is not of the method's type.
        """
        value = self._output
        if value is _UNREAD:
            data = self.raw.output
            value = None if data is None else self.declaration.decode_output(data)
            object.__setattr__(self, "_output", value)
        return cast(O_co, value)

    @property
    def declaration(self) -> Method:
        """The method as it is defined in this process.

        Raises:
            UsageError: it is not.
        """
        method = self._method
        if method is None:
            method = registry.lookup(self.raw.method)
            if method is None:
                raise UsageError(
                    f"call {self.raw.id} is of {self.raw.method!r}, which this process does not "
                    "know: import the module that defines it, or declare it with external_call."
                )
            object.__setattr__(self, "_method", method)
        return method

    def read(self, function: Callable[..., T]) -> T:
        """What `function` returns for this call's parameters.

        Parameters go where the method has them: by position, or by name if keyword-only.
        An external method's fields go by name.
        """
        values = values_of(self.input)  # type: ignore[arg-type]
        method = self.declaration
        if not isinstance(method, PushedMethod):
            return function(**values)
        kinds = method.signature.parameters
        by_name = {
            name: values.pop(name)
            for name in list(values)
            if kinds[name].kind is Parameter.KEYWORD_ONLY
        }
        return function(*values.values(), **by_name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Call is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Call is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw.id)

    def __copy__(self) -> Call[I_co, O_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Call[I_co, O_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        method = self._method
        raw = self.raw
        fields = (
            *(raw.id, raw.method, raw.service, raw.at_us),
            *(raw.input, raw.output, raw.error, raw.headers, raw.local_only),
        )
        place = () if method is None else (method.module, method.qualname)
        return (_restored, (fields, *place))

    def __repr__(self) -> str:
        return f"<Call {self.raw.id} of {self.raw.method!r}>"


class PushedCall(Call[Any, O_co], Generic[P, O_co]):
    """How type checkers see the calls of a decorated function: `read` knows its parameters."""

    __slots__ = ()

    if TYPE_CHECKING:

        def read(self, function: Callable[P, T]) -> T: ...


def _restored(fields: tuple[Any, ...], module: str = "", qualname: str = "") -> Call[Any, Any]:
    record = CallRecord(*fields)
    method = registry.require(record.method, module, qualname) if module else None
    return Call(record, method)
