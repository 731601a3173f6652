"""The switches of the sandbox: what PassKit leaves open, and the sandbox's own credentials.

PassKit does not document everything that a client meets. Where sources agree, the default follows them;
where it could not be checked, there is a switch, so that passbell can be tested against either answer.
docs/sandbox.md lists them for users.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Options"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "metadata": ("replace", "merge"),
    "metadata_coupon": ("", "replace", "merge"),
    "metadata_ticket": ("", "replace", "merge"),
    "person": ("merge", "replace"),
    "ticket_put": ("partial", "full"),
    "several_changes": ("generic", "first"),
    "group_join": ("and", "or"),
    "error_shape": ("plain", "gateway", "legacy"),
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
        web_lifts_age_limit: whether the claim `web: true` lifts `age_limit` (unknown).
        token_header: send a renewed token in `X-Passkit-Token` (documented in 2019, not seen since).
        metadata: what PUT does with a record's other metaData keys; seen live: the whole map is replaced.
        metadata_coupon: the same for coupons; empty means as `metadata`.
        metadata_ticket: the same for event tickets; empty means as `metadata`.
        person: what PUT does with the nested person (undocumented).
        ticket_put: whether PUT of a ticket leaves absent fields alone (undocumented).
        several_changes: more than one field with a change message changed: one generic alert, or the first.
        google_notifies: whether Google phones show an alert for a field update at all.
        google_cap: alerts per Google pass and 24 hours, when they are on.
        filter_by_id: whether the list endpoints take `id` as a filter field; off answers 400.
        group_join: how several filter groups combine.
        default_limit: rows of a list when the filter names no limit.
        emit_defaults: unset fields are emitted as null, 0, "" and false.
        error_shape: `{"error": …}` as seen live, or the shapes of the two grpc-gateway generations.
        template_shape: `{"template": {…}, "Name": …}` as PassKit publishes it, or the template alone.
        message_key: metaData key that carries the change message in templates made by the sandbox itself.
        phones_on_create: phones of a record created over the API, for example "apple"; empty means none yet.
        keep_bodies: keep the body of every call, not only its hash (memory!).
        merging: not a switch: the kinds whose metaData is merged.
    """

    key: str = "sandbox-key"
    secret: str = "sandbox-secret"  # noqa: S105 - made up, and meant to be known
    token: str = "sandbox-token"  # noqa: S105 - same
    age_limit: float = 60.0
    exp_cap: float = 0.0
    web_lifts_age_limit: bool = False
    token_header: bool = False
    metadata: str = "replace"
    metadata_coupon: str = ""
    metadata_ticket: str = ""
    person: str = "merge"
    ticket_put: str = "partial"
    several_changes: str = "generic"
    google_notifies: bool = False
    google_cap: int = 3
    filter_by_id: bool = True
    group_join: str = "and"
    default_limit: int = 25
    emit_defaults: bool = True
    error_shape: str = "plain"
    template_shape: str = "published"
    message_key: str = "marketingMessage"
    phones_on_create: str = ""
    keep_bodies: bool = False
    merging: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self.change({})

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
        rules = {
            "member": self.metadata,
            "coupon": self.metadata_coupon or self.metadata,
            "ticket": self.metadata_ticket or self.metadata,
        }
        self.merging = frozenset(kind for kind, rule in rules.items() if rule == "merge")

    def as_dict(self) -> dict[str, Any]:
        """All switches by name, for the control endpoint."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}
