"""The switches of the sandbox: what PassKit leaves open, and the sandbox's own credentials.

PassKit does not document everything that a client meets. Where sources agree, the default follows them;
where it could not be checked, there is a switch, so that passbell can be tested against either answer.
docs/sandbox.md lists them for users.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Options"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "metadata": ("replace", "merge"),
    "several_changes": ("generic", "first"),
    "error_shape": ("plain", "gateway"),
    "template_shape": ("published", "bare"),
}


@dataclass(slots=True)
class Options:
    """Every switch with its default. Seconds are real seconds; the clock is the machine's own.

    Attributes:
        key: the REST API key, claim `uid` of a token.
        secret: the REST API secret; its UTF-8 bytes sign the tokens (HS256).
        token: the opaque long-lived token, accepted only after `Bearer `.
        age_limit: a JWT this many seconds old is refused; 0 switches the limit off.
        exp_cap: a JWT may not expire more than this many seconds ahead; 0 means no cap (reports disagree).
        metadata: what PUT does with a record's other metaData keys; seen live: the whole map is replaced.
        several_changes: more than one field with a change message changed: one generic alert, or the first.
        filter_by_id: whether the list endpoints take `id` as a filter field; off answers 400.
        emit_defaults: unset fields are emitted as null, 0, "" and false.
        error_shape: `{"error": …}` as seen live, or the shape of a newer grpc-gateway.
        template_shape: `{"template": {…}, "Name": …}` as PassKit publishes it, or the template alone.
        message_key: metaData key that carries the change message in templates made by the sandbox itself.
    """

    key: str = "sandbox-key"
    secret: str = "sandbox-secret"  # noqa: S105 - made up, and meant to be known
    token: str = "sandbox-token"  # noqa: S105 - same
    age_limit: float = 60.0
    exp_cap: float = 0.0
    metadata: str = "replace"
    several_changes: str = "generic"
    filter_by_id: bool = True
    emit_defaults: bool = True
    error_shape: str = "plain"
    template_shape: str = "published"
    message_key: str = "marketingMessage"

    def change(self, values: dict[str, Any]) -> None:
        """Set switches by name.

        Raises:
            ValueError: an unknown name, or a value of the wrong type or outside the choices; nothing is set.
        """
        known = self.as_dict()
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"there is no option {name!r}; known are {', '.join(sorted(known))}")
            wanted = type(known[name])
            number = wanted is float and type(value) is int
            if type(value) is not wanted and not number:
                raise ValueError(f"option {name!r} takes a {wanted.__name__}, not {value!r}")
        for name, choices in _CHOICES.items():
            if values.get(name, known[name]) not in choices:
                raise ValueError(f"option {name!r} is one of {', '.join(map(repr, choices))}")
        for name, value in values.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """All switches by name, for the control endpoint."""
        return asdict(self)
