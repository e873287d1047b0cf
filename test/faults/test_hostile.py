"""Rows 79 to 83 of the fault matrix: data, clients and frames that mean harm. Others are served meanwhile."""

import pytest

from fault_table import recovers
from harness import Closed, World

ALIAS = "a@example.com"
LIMITS = [{"name": "many", "per": "recipient", "max": 100000, "window": "1h"}]


def served(world):
    with world.milter() as m:
        m.connect()
        m.mail()
        return m.rcpt(f"<{ALIAS}>").status == "continue"


def test_row83_macro_frames_with_an_odd_number_of_strings():
    with World("memory", LIMITS, mta=False) as w:
        w.database.alias(ALIAS)
        w.settled()
        other = w.milter()
        other.connect()
        other.mail()
        for data in (b"Ri\0", b"R{rcpt_addr}\0a@example.com\0i\0", b"Mi\0x\0{auth_authen}\0", b"Ei\0"):
            m = w.milter()
            m.connect()
            m.mail()
            try:
                m.send(b"D", data)
                m.rcpt(f"<{ALIAS}>", with_macros=False)
                pytest.fail("was answered")
            except (Closed, OSError):
                pass
            assert served(w)
        assert other.rcpt(f"<{ALIAS}>").status == "continue"
        recovers(lambda: served(w), "others are served")
