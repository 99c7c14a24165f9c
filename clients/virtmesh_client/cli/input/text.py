"""The text that a command is to type: its argument, or standard input. It has to be UTF-8."""

from __future__ import annotations

import codecs
import os
import sys

import click

STANDARD = "-"
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
"""Byte order marks of other encodings, the longer ones first: one begins as another."""


def read_text(argument: str) -> str:
    """Return the text of an argument, or of standard input for "-". Errors: UsageError."""
    if argument == STANDARD:
        return decode(sys.stdin.buffer.read(), "standard input")
    try:
        argument.encode()
    except UnicodeEncodeError:
        # Bytes that the encoding of the terminal does not have stand in it as surrogates.
        return decode(os.fsencode(argument), "TEXT")
    return argument


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8, without a byte order mark at its start. Errors: UsageError, with the place."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        skipped = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
        encoding = next(
            (one for mark, one in OTHER_MARKS.items() if data.startswith(mark)), "ISO-8859-1"
        )
        raise click.UsageError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset"
            f" {error.start + skipped} ({error.reason}); if it is {encoding}, convert it with"
            f" iconv -f {encoding} -t UTF-8"
        ) from None
