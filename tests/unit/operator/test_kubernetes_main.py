"""The log of an operator."""

from __future__ import annotations

import logging

from matrix_operator.engines.kubernetes_main import Seldom


def record(name: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, None, None)


def test_of_kopf_s_tries_one_is_told_now_and_then() -> None:
    seldom = Seldom()
    tries = [record("kopf.objects", f"Request attempt #{number} failed; will retry: GET x") for number in range(1, 30)]
    assert [seldom.filter(one) for one in tries] == [True, *(28 * [False])]
    assert seldom.filter(record("kopf.objects", "Something else went wrong"))


def test_our_own_lines_are_all_told() -> None:
    seldom = Seldom()
    assert all(seldom.filter(record("matrix_operator.engines.loop", "the same")) for _ in range(3))
