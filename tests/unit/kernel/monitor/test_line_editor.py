"""The line editor: what a terminal sends, what line comes of it, and what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from virtmesh.kernel.monitor.keys import KeyReader
from virtmesh.kernel.monitor.line_editor import BELL, LINE_MAX, LineEditor

PROMPT = "> "
UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
HOME, END, DELETE = "\x1b[H", "\x1b[F", "\x1b[3~"
WORDS = ("lsdev", "lsirq", "blk", "help")


def complete(_: str) -> Sequence[str]:
    """Return what a word can be."""
    return WORDS


class Terminal:
    """One line of a terminal that knows characters, BACKSPACE and RETURN."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.column = 0

    def show(self, text: str) -> None:
        """Take what was sent to it; only the last line counts."""
        for character in text:
            if character == "\b":
                assert self.column > 0, "moved left of the screen"
                self.column -= 1
            elif character == "\n":
                self.cells, self.column = [], 0
            elif character != BELL:
                self._put(character)

    def _put(self, character: str) -> None:
        """Show a character; a wide one takes two cells."""
        width = cell_len(character)
        self.cells += [" "] * (self.column + width - len(self.cells))
        self.cells[self.column : self.column + width] = [character, *[""] * (width - 1)]
        self.column += width

    @property
    def line(self) -> tuple[str, int]:
        """What is seen, and where the cursor is."""
        return "".join(self.cells).rstrip(), self.column


def enter(*keys: str) -> str | None:
    """Type keys and ENTER; return the line."""
    return LineEditor(PROMPT, complete).feed(("".join(keys) + "\r").encode()).line


def test_a_character_at_the_end_echoes_as_itself() -> None:
    """Scripts can expect what they send."""
    fed = LineEditor(PROMPT).feed(b"lsdev -n 5\r")

    assert fed.echo == "lsdev -n 5\n"
    assert fed.line == "lsdev -n 5"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("abx", "\x7f", "c"), "abc"),
        (("abx", "\x08", "c"), "abc"),
        (("\x7f", "a"), "a"),
        (("bc", HOME, "a", END, "d"), "abcd"),
        (("bc", "\x01", "a", "\x05", "d"), "abcd"),
        (("ac", LEFT, "b"), "abc"),
        (("ac", LEFT, LEFT, LEFT, RIGHT, "b"), "abc"),
        (("abc", RIGHT, "d"), "abcd"),
        (("axb", LEFT, LEFT, DELETE), "ab"),
        (("ab", DELETE), "ab"),
        (("one two", "\x15", "x"), "x"),
        (("one two", LEFT, LEFT, LEFT, "\x15"), "two"),
        (("one two", HOME, "\x0b", "x"), "x"),
        (("one two  ", "\x17", "x"), "one x"),
        (("\x17", "x"), "x"),
        (("a\x00\x04\x1fb",), "ab"),
        (("gr\u00fc\u00dfe \u65e5\u672c", "\x7f", "!"), "gr\u00fc\u00dfe \u65e5!"),
        (("\x1b[1~a", "\x1b[4~", "b", "\x1bOH", "c"), "cab"),
    ],
)
def test_keys_edit_the_line(keys: tuple[str, ...], line: str) -> None:
    """As in any shell."""
    assert enter(*keys) == line


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[999~",
        "\x1b[1;5C",
        "\x1b[?25h",
        "\x1bx",
        "\x1b\x1b[A\x1b[B",
        "\x1b[" + "1;" * 100_000 + "m",
        "\x1b]0;a title\x07",
        "\x1bP" + "q" * 100_000 + "\x1b\\",
        "\x1bOz",
    ],
)
def test_escape_sequences_that_are_no_keys_are_swallowed(sequence: str) -> None:
    """However long they are, nothing of them gets into the line."""
    assert enter("a", sequence, "b") == "ab"


def test_a_long_sequence_is_not_kept() -> None:
    """A terminal that sends parameters for ever takes no memory."""
    keys = KeyReader()

    assert [key for byte in b"\x1b[" + b"1" * 10_000 for key in keys.feed(byte)] == []
    assert len(keys._sequence or "") < 64


@pytest.mark.parametrize("start", ["\x1b", "\x1b[1;", "\x1bO", "\x1b]0;title"])
def test_enter_and_cancel_end_any_sequence(start: str) -> None:
    """A sequence without an end keeps nobody from going on."""
    assert enter("ab", start) == "ab"
    assert LineEditor(PROMPT).feed(f"ab{start}\x03".encode()).cancelled


def test_invalid_utf8_is_shown_as_such() -> None:
    """It becomes replacement characters, and what follows is not harmed."""
    fed = LineEditor(PROMPT).feed(b"a\xff\xc3(b\xe6\x97\r")

    assert fed.line == "a\ufffd\ufffd(b\ufffd"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_every_line_end_is_one(end: str) -> None:
    """CR, LF and both together end a line once."""
    editor = LineEditor(PROMPT)
    typed = f"one{end}two{end}".encode()

    first = editor.feed(typed)
    second = editor.feed(typed[first.used :])
    rest = editor.feed(typed[first.used + second.used :])

    assert (first.line, second.line, rest.line) == ("one", "two", None)


def test_input_behind_a_line_is_not_used() -> None:
    """It may be for the command of that line."""
    fed = LineEditor(PROMPT).feed(b"sink 4\r\x03\x00\xff!")

    assert fed.used == len(b"sink 4\r")


def test_a_line_feed_behind_a_return_is_used_with_it() -> None:
    """It is the second half of the line's end, and not the first byte for the command."""
    editor = LineEditor("> ")

    first, second = editor.feed(b"sink 3\r\n\nabc"), editor.feed(b"\nabc")

    assert (first.line, first.used) == ("sink 3", 8)
    assert (second.line, second.used) == ("", 1)


def test_cancel_gives_the_line_up() -> None:
    """And what was typed does not come back."""
    editor = LineEditor(PROMPT)

    fed = editor.feed(b"rubbish\x03ok\r")

    assert (fed.cancelled, fed.line, fed.echo) == (True, None, "rubbish^C\n")
    assert editor.feed(b"ok\r").line == "ok"


def test_a_line_too_long_is_refused_with_a_bell() -> None:
    """What fits is kept."""
    fed = LineEditor(PROMPT).feed(b"x" * LINE_MAX + b"yz\r")

    assert fed.line == "x" * LINE_MAX
    assert fed.echo.count(BELL) == 2


def test_history_goes_back_and_forth() -> None:
    """The line that was being typed is there again at the end."""
    editor = LineEditor(PROMPT)
    editor.feed(b"one\r")
    editor.feed(b"two\r")
    editor.feed(b"two\r")
    editor.feed(b"   \r")

    assert editor.feed(f"{UP}{UP}\r".encode()).line == "one"
    assert editor.feed(f"draft{UP}{UP}{DOWN}{DOWN}\r".encode()).line == "draft"
    assert editor.feed(f"{DOWN}\r".encode()).echo == f"{BELL}\n"


@pytest.mark.parametrize(
    ("typed", "line", "echo"),
    [
        ("l\t", "ls", "ls"),
        ("lsd\t", "lsdev ", "lsdev "),
        ("help b\t", "help blk ", "help blk "),
        ("x\t", "x", f"x{BELL}"),
        ("ls\t", "ls", f"ls\nlsdev  lsirq\n{PROMPT}ls"),
    ],
)
def test_tab_completes_what_is_clear(typed: str, line: str, echo: str) -> None:
    """As far as all that it can be have in common; where that is no further, they are listed."""
    editor = LineEditor(PROMPT, complete)

    assert editor.feed(typed.encode()).echo == echo
    assert editor.feed(b"\r").line == line


TYPED = (*"ab \u00e4\u65e5", "ls", "\t", "\x7f", DELETE, "\x17", "\x15", "\x0b", "\r", "\x03")
KEYS = st.lists(st.sampled_from((*TYPED, LEFT, RIGHT, HOME, END, UP, DOWN)))


@given(KEYS)
def test_the_terminal_shows_the_line_as_it_is(keys: list[str]) -> None:
    """After any keys, what is seen is what drawing everything anew would show."""
    editor, terminal, anew = LineEditor(PROMPT, complete), Terminal(), Terminal()
    terminal.show(PROMPT)

    for key in keys:
        fed = editor.feed(key.encode())
        terminal.show(fed.echo)
        terminal.show(PROMPT * (fed.line is not None or fed.cancelled))
    anew.show(editor.redraw())

    assert terminal.line == anew.line


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Whatever comes, it is used up, and nothing but printable text gets into lines."""
    editor = LineEditor(PROMPT, complete)
    lines = []

    while data:
        fed = editor.feed(data)
        data = data[fed.used :]
        lines.append(fed.line or "")

    assert all(line.isprintable() for line in lines)
