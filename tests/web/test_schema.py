"""Property tests drawn from the OpenAPI document: whatever is sent, no defect and no undocumented answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.scene import LONG
from support.web import KEY

request_library = pytest.importorskip("requests", reason="schemathesis is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

if TYPE_CHECKING:
    from support.web import Api, Club, Web

EXAMPLES = 12 if LONG else 6
"""Per call and kind of data."""


@pytest.mark.slow
def test_no_failure_against_the_document(
    web: Web, api: Api, club: Club, request: pytest.FixtureRequest
) -> None:
    """Every call, with valid and invalid data: no 500, and no status or body but those documented."""
    assert club
    schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    schema.config.update(base_url=web.url)
    checks = [
        schemathesis.checks.not_a_server_error,
        *(
            check
            for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
            if (check := getattr(schemathesis.openapi.checks, name, None))
        ),
    ]
    called = set()
    # One session, closed at the end: schemathesis would leave a socket open per call.
    session = request_library.Session()
    request.addfinalizer(session.close)
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy if strategy is not None else st.nothing())
            def call(case: schemathesis.Case) -> None:
                case.call_and_validate(headers={"X-API-Key": KEY}, checks=checks, session=session)

            try:
                call()
            except Exception as error:
                if type(error).__name__ in {"Unsatisfiable", "InvalidArgument"}:
                    continue  # nothing can be wrong with a call that takes nothing
                raise
            called.add(operation.label)
    assert len(called) >= 15, called
