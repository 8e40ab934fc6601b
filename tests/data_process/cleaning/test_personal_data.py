"""Personal data that has a form is masked; numbers that only look like it stay."""

from __future__ import annotations

import pytest

from data_process.cleaning.personal_data import (
    is_card_number,
    is_identity_number,
    mask_personal_data,
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+list@mail.example.org.", "Write to [EMAIL]."),
        ("jane (at) example.com answers", "[EMAIL] answers"),
        ("邮箱：zhang_san@163.com，欢迎来信", "邮箱：[EMAIL]，欢迎来信"),
        ("Call +44 20 7946 0958 now", "Call [PHONE] now"),
        ("or (212) 555-0147, or 212-555-0147", "or [PHONE], or [PHONE]"),
        ("1-800-555-0199 is free", "[PHONE] is free"),
        ("London 020 7946 0958.", "London [PHONE]."),
        ("手机13812345678，", "手机[PHONE]，"),
        ("+86 138 1234 5678", "[PHONE]"),
        ("138-1234-5678", "[PHONE]"),
        ("座机010-62751234转801", "座机[PHONE]"),
        ("(0755)83456789", "[PHONE]"),
        ("客服400-820-8820", "客服[PHONE]"),
        ("Tel: 555 0123", "Tel: [PHONE]"),
        ("电话：6275 1234", "电话：[PHONE]"),
        ("身份证11010519491231002X。", "身份证[ID]。"),
        ("It came from 93.184.216.34 today", "It came from [IP] today"),
        ("2606:2800:220:1:248:1893:25c8:1946", "[IP]"),
        ("paid with 4111 1111 1111 1111", "paid with [CARD]"),
        ("5500-0000-0000-0004", "[CARD]"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask_personal_data(text)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "Meet me @ the cafe, look at example.com",
        "@user and #tag, a decorator @app.route",
        "import numpy as np; x = a@b",
        "In 1998-2003 about 12,345,678 people lived here",
        "pi is 3.14159265358979, e is 2.718281828459",
        "On 2023-11-25 12:30:45 it was 21.5 degrees",
        "版本1.2.3.4发布于2023年11月25日",
        "the router is 192.168.0.1 and localhost is 127.0.0.1",
        "身份证110105194912310021是错的",  # wrong check digit
        "编号110105199913310026",  # no such month
        "4111 1111 1111 1112 fails Luhn",
        "ISBN 978-3-16-148410-0",
        "std::vector and a::b",
        "订单号202311251234567890",
        "第138页到第1234页",
        "a 3-2 win, 10-12-2020, 1/2/2003",
        "1 000 000 and 10 000 000 000",
        "+1 22\n33\n44\n55",  # a column of numbers
    ],
)
def test_near_misses_stay(text: str) -> None:
    assert mask_personal_data(text) == (text, {})


def test_what_is_masked_is_counted_by_kind() -> None:
    text = "a@example.com, b@example.com, 13812345678, 93.184.216.34"
    assert mask_personal_data(text)[1] == {"EMAIL": 2, "PHONE": 1, "IP": 1}


def test_masking_again_changes_nothing() -> None:
    once, _ = mask_personal_data(
        "Tel: 555 0123, a@example.com, 电话：13812345678, 4111111111111111"
    )
    assert mask_personal_data(once) == (once, {})


def test_one_wrong_digit_fails_the_check_digits() -> None:
    good = "11010519491231002X"
    assert is_identity_number(good)
    assert is_identity_number(good.lower())
    wrong = [good[:n] + str((int(good[n]) + 1) % 10) + good[n + 1 :] for n in range(17)]
    assert not any(map(is_identity_number, wrong))
    card = "4111111111111111"
    assert is_card_number(card)
    assert not any(is_card_number(card[:n] + "7" + card[n + 1 :]) for n in range(16))
    assert not is_card_number("9111111111111118")  # no issuer
