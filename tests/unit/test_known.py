"""What a shot takes from the record: the reasons that speak against its own route, and no other."""

import pytest

from trigger.known import Known


@pytest.mark.parametrize(
    ("ability", "reasons"),
    [("send_nmi", ("unknown_nmi_panic is 0",)), ("send_sysrq_crash", ())],
)
def test_a_host_that_is_ready_by_one_route_only(ability: str, reasons: tuple[str, ...]) -> None:
    known = Known(present=True, route_reasons={"nmi": ("unknown_nmi_panic is 0",), "sysrq-sol": ()})
    assert known.reasons_against(ability) == reasons


def test_a_record_of_an_older_program_speaks_for_every_route() -> None:
    known = Known(present=True, not_ready=("kdump is not loaded",))
    assert known.reasons_against("send_nmi") == ("kdump is not loaded",)
