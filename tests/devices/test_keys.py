"""What keys send (scan code set 1; IBM PC AT Technical Reference, keyboard), and texts as keys."""

from __future__ import annotations

import pytest

from kvmdbg.devices.i8042 import KEYS, keys_of, scan_codes
from kvmdbg.errors import UsageError
from tests.devices.test_i8042 import Wired

SCAN_CODES = """
esc 01 1 02 2 03 3 04 4 05 5 06 6 07 7 08 8 09 9 0a 0 0b - 0c = 0d backspace 0e tab 0f q 10 w 11 e 12 r 13 t 14 y 15
u 16 i 17 o 18 p 19 [ 1a ] 1b ret 1c enter 1c ctrl 1d a 1e s 1f d 20 f 21 g 22 h 23 j 24 k 25 l 26 ; 27 ' 28 ` 29
shift 2a \\ 2b z 2c x 2d c 2e v 2f b 30 n 31 m 32 , 33 . 34 / 35 shift_r 36 alt 38 spc 39 space 39 caps_lock 3a f1 3b
f2 3c f3 3d f4 3e f5 3f f6 40 f7 41 f8 42 f9 43 f10 44 num_lock 45 scroll_lock 46 f11 57 f12 58 minus 0c equal 0d
comma 33 dot 34 slash 35 backslash 2b semicolon 27 apostrophe 28 grave_accent 29 bracket_left 1a bracket_right 1b
home e047 up e048 pgup e049 left e04b right e04d end e04f down e050 pgdn e051 insert e052 delete e053 ctrl_r e01d
alt_r e038 print e037 sysrq 54 less 56 meta_l e05b meta_r e05c menu e05d
kp_0 52 kp_1 4f kp_2 50 kp_3 51 kp_4 4b kp_5 4c kp_6 4d kp_7 47 kp_8 48 kp_9 49
kp_multiply 37 kp_subtract 4a kp_add 4e kp_decimal 53 kp_divide e035 kp_enter e01c
"""


def test_every_key_has_its_scan_code() -> None:
    words = SCAN_CODES.split()
    wanted = {name: int(code, 16) for name, code in zip(words[::2], words[1::2], strict=True)}
    assert wanted == {name: code for name, code in KEYS.items() if name != "pause"}
    for name, code in wanted.items():
        prefix = b"\xe0" if code > 0xFF else b""
        make, break_ = bytes([code & 0xFF]), bytes([code & 0x7F | 0x80])
        assert scan_codes(name) == scan_codes(name.upper()) == prefix + make + prefix + break_


@pytest.mark.parametrize(
    ("keys", "codes"),
    [
        ("ctrl-alt-delete", "1d38e053e0d3b89d"), ("shift-a", "2a1e9eaa"), ("shift--", "2a0c8caa"), ("-", "0c8c"),
        ("ctrl-shift--", "1d2a0c8caa9d"), ("ctrl-c", "1d2eae9d"),
    ],
)  # fmt: skip
def test_combinations_go_down_in_order_and_up_in_reverse(keys: str, codes: str) -> None:
    assert scan_codes(keys).hex() == codes


@pytest.mark.parametrize(("key", "name"), [("hyper-a", "hyper"), ("ctrl-", "ctr"), ("", ""), ("a-hyper", "hyper")])
def test_keys_that_are_not_there(key: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no key '{name}'; there are letters, digits, and ") as error:
        scan_codes(key)
    assert ", alt, alt_r, " in str(error.value)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("aZ09", "a shift-z 0 9"), ("!@#$%^&*()", " ".join(f"shift-{n}" for n in "1234567890")),
        ('_+{}:"~|<>?', r"shift-- shift-= shift-[ shift-] shift-; shift-' shift-` shift-\ shift-, shift-. shift-/"),
        (" \n\r\t\b\x7f\x1b", "spc ret ret tab backspace backspace esc"), ("\x01\x03\x1a", "ctrl-a ctrl-c ctrl-z"),
        ("-=[];'`\\,./", r"- = [ ] ; ' ` \ , . /"), ("", ""),
    ],
)  # fmt: skip
def test_text_as_keys(text: str, keys: str) -> None:
    assert keys_of(text) == keys.split()


@pytest.mark.parametrize("text", ["é", "a\0", "\x1c", "²", "ß"])
def test_text_that_no_key_types(text: str) -> None:
    with pytest.raises(UsageError, match="no key of a US keyboard types "):
        keys_of(text)


def test_typing() -> None:
    wired = Wired()
    wired.keyboard.type("aB")
    assert wired.read().hex() == "1e9e" + "2a30b0aa"
    wired.keyboard.press("home")
    assert wired.high and wired.read().hex() == "e047e0c7"
