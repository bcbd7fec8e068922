"""What a guest prints, as people should read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.text import plain


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("login: ", "login:"),
        ("\x1b[5;2H\x1b[0;37;40mGRUB\x1b[0m", "GRUB"),
        ("\x1b]0;title\x07root@web1:~# ls\r\nfile\r\n", "root@web1:~# ls\nfile\n"),
        ("10 %\r50 %\r100 %\n", "10 %\n50 %\n100 %\n"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("täst \x00\x07☃", "täst ☃"),
        ("\x1bc\x1b(B", "(B"),
    ],
)
def test_escapes_and_control_characters_go(printed: str, shown: str) -> None:
    assert plain(printed) == shown


@given(st.text())
def test_nothing_is_left_that_could_act_on_a_terminal(text: str) -> None:
    assert all(character.isprintable() or character in "\n\t" for character in plain(text))
