"""What a document really is: its declared type, the name of its file and its bytes must agree.

Types that are not in `MediaType` cannot be ingested. A name without a known extension has no opinion, and so
has the type `application/octet-stream`, which clients send when they do not know. Markdown is plain text, so
`text/plain` for `notes.md` is no contradiction: the extension is the more exact of the two.
"""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from ragmesh_backends.model.document import MediaType
from ragmesh_servicekit.errors import InvalidArgument, Reason

MAX_CONTENT_BYTES = 10 * 1024 * 1024
"""The limit called "10 MB" is 10 MiB (10,485,760 bytes), so that a file which any file manager calls 10 MB fits."""

_HTML_SCAN_CHARS = 256 * 1024
"""How far into a file that is declared HTML an element is looked for."""

_ALIASES = {
    "text/x-markdown": MediaType.MARKDOWN,
    "text/x-web-markdown": MediaType.MARKDOWN,
    "application/xhtml+xml": MediaType.HTML,
}
_UNDECLARED = {"", "application/octet-stream", "binary/octet-stream"}

_EXTENSIONS = {
    ".txt": MediaType.TEXT,
    ".text": MediaType.TEXT,
    ".log": MediaType.TEXT,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
    ".mdown": MediaType.MARKDOWN,
    ".mkd": MediaType.MARKDOWN,
    ".html": MediaType.HTML,
    ".htm": MediaType.HTML,
    ".xhtml": MediaType.HTML,
}
_REFUSED_EXTENSIONS = frozenset(
    {
        ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".epub", ".rtf",
        ".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".png", ".jpg", ".jpeg",
        ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ico", ".mp3", ".mp4", ".avi", ".mov", ".wav", ".ogg",
        ".flac", ".exe", ".dll", ".so", ".bin", ".class", ".jar", ".pyc", ".db", ".sqlite", ".parquet",
        ".woff", ".woff2", ".ttf"
    }
)  # fmt: skip

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF file"),
    (b"PK\x03\x04", "a ZIP archive or an office file"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office file"),
    (b"{\\rtf", "an RTF file"),
    (b"%!PS", "a PostScript file"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ\x90\x00", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a Java class"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"ID3", "an MP3 file"),
)
"""Leading bytes of formats that people take for text; from the formats' own specifications."""

_LABELS = {MediaType.TEXT: "plain text", MediaType.MARKDOWN: "Markdown", MediaType.HTML: "HTML"}

_HTML_START = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_XML_START = re.compile(r"\s*<\?xml\b.*?\?>\s*(?:<!--.*?-->\s*|<!doctype[^>]*>\s*)*<([a-z][\w:-]*)", re.I | re.S)
_HTML_ELEMENT = re.compile(
    r"<(?:!doctype\s+html|html|head|title|meta|body|main|article|section|header|footer|nav|div|span|p|h[1-6]|ul|ol|li"
    r"|dl|dt|table|tr|td|th|pre|code|blockquote|a|b|i|em|strong|br|hr|img|form|details|figure)(?=[\s>/])",
    re.IGNORECASE,
)


def check_size(size_bytes: int, limit_bytes: int = MAX_CONTENT_BYTES) -> None:
    """Refuse a document above the limit. Called on the announced and on the received size.

    Raises InvalidArgument (CONTENT_TOO_LARGE) with the limit in its sentence.
    """
    if size_bytes > limit_bytes:
        unit = " (10 MiB)" if limit_bytes == MAX_CONTENT_BYTES else ""
        raise InvalidArgument.field(
            "content", f"is larger than the limit of {limit_bytes:,} bytes{unit}", Reason.CONTENT_TOO_LARGE
        )


def resolve_type(declared: str, file_name: str = "") -> MediaType:
    """The type that the declaration and the file's extension agree on; plain text when neither says anything.

    declared: a Content-Type, with or without parameters; empty when there is none.
    Raises InvalidArgument (CONTENT_TYPE_MISMATCH) when they contradict each other or name something else, and
    (CONTENT_INVALID) for a charset other than UTF-8.
    """
    essence, _, parameters = declared.partition(";")
    _check_charset(parameters)
    essence = essence.strip().lower()
    extension = PurePosixPath(file_name.replace("\\", "/")).suffix.lower()
    by_name = _EXTENSIONS.get(extension)
    if extension in _REFUSED_EXTENSIONS:
        raise _mismatch(f"{extension} files cannot be ingested; the types are {_supported()}", "file_name")
    if essence in _UNDECLARED:
        return by_name or MediaType.TEXT
    by_declaration = _ALIASES.get(essence) or (MediaType(essence) if essence in set(MediaType) else None)
    if by_declaration is None:
        raise _mismatch(f"{essence[:80]} cannot be ingested; the types are {_supported()}", "media_type")
    if by_name is None or by_name is by_declaration:
        return by_declaration
    if {by_name, by_declaration} == {MediaType.TEXT, MediaType.MARKDOWN}:
        return MediaType.MARKDOWN
    raise _mismatch(f"declared as {by_declaration} but its name ends in {extension}", "media_type")


def decode(data: bytes, media_type: MediaType, limit_bytes: int = MAX_CONTENT_BYTES) -> str:
    """The text of a document that is what it says; a UTF-8 byte order mark is dropped.

    Raises InvalidArgument: CONTENT_TOO_LARGE; CONTENT_TYPE_MISMATCH for binary data, for HTML that is not HTML
    and for the reverse; CONTENT_INVALID for anything but UTF-8 (naming the first wrong byte) and for a document
    without a visible character.
    """
    check_size(len(data), limit_bytes)
    label = _LABELS[media_type]
    for magic, name in _MAGIC:
        if data.startswith(magic):
            raise _mismatch(f"declared as {label} but the content is {name}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidArgument.field("content", "is UTF-16; it must be UTF-8", Reason.CONTENT_INVALID)
    nul = data.find(b"\x00")
    if nul >= 0:
        raise _mismatch(f"declared as {label} but the content is binary: byte {nul} is NUL")
    bom = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data[bom:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument.field(
            "content",
            f"is not valid UTF-8: the first wrong byte is at offset {error.start + bom}",
            Reason.CONTENT_INVALID,
        ) from error
    if not text.strip():
        raise InvalidArgument.field("content", "holds no text", Reason.CONTENT_INVALID)
    _check_markup(text, media_type, label)
    return text


def _check_markup(text: str, media_type: MediaType, label: str) -> None:
    xml = _XML_START.match(text, 0, min(len(text), _HTML_SCAN_CHARS))
    if xml is not None and xml[1].lower() != "html" and media_type is MediaType.HTML:
        raise _mismatch(f"declared as HTML but the content is XML with the root {xml[1][:40]}")
    if media_type is MediaType.HTML:
        if _HTML_ELEMENT.search(text, 0, _HTML_SCAN_CHARS) is None:
            raise _mismatch("declared as HTML but the content holds no HTML element")
    elif _HTML_START.match(text):
        raise _mismatch(f"declared as {label} but the content is an HTML page")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in {"utf-8", "utf8", "us-ascii", "ascii", ""}:
            raise InvalidArgument.field(
                "media_type", f"charset {charset[:40]} cannot be read; it must be UTF-8", Reason.CONTENT_INVALID
            )


def _supported() -> str:
    return f"{MediaType.TEXT}, {MediaType.MARKDOWN} and {MediaType.HTML}"


def _mismatch(sentence: str, field: str = "content") -> InvalidArgument:
    return InvalidArgument.field(field, sentence, Reason.CONTENT_TYPE_MISMATCH)
