"""HTML into its visible text and blocks, with lexbor (an HTML5 parser in C).

The walk keeps its own place instead of recursing, so that no depth of nesting can exhaust the stack.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ragmesh_ingestor.domain.parsed import Block, BlockKind, HeadingStack, ParsedDocument, one_line

_DROPPED = frozenset(
    {
        "head", "script", "style", "template", "noscript", "iframe", "object", "embed", "svg", "canvas",
        "audio", "video", "select", "datalist", "dialog"
    }
)  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCK_KINDS = {
    "pre": BlockKind.CODE,
    "ul": BlockKind.LIST,
    "ol": BlockKind.LIST,
    "dl": BlockKind.LIST,
    "table": BlockKind.TABLE,
}
_BREAKING = frozenset(
    {
        "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt",
        "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main",
        "nav", "p", "section", "summary"
    }
)  # fmt: skip
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_ITEM_MARK = re.compile(r" *(?:-|\d+\.) ")  # what `_Writer._item` wrote: nothing parts it from its item
_SPACE = re.compile(r"[ \t\r\n\f]+")


def parse_html(source: str) -> ParsedDocument:
    """Visible text: scripts, styles and hidden elements dropped, entities decoded, whitespace folded outside
    `<pre>`, list items led by `- ` or their number, cells of a table row parted by ` | `. The title is the
    `<title>`, else the first `<h1>`."""
    tree = LexborHTMLParser(source)
    writer = _Writer()
    if tree.body is not None:
        _walk(tree.body, writer)
    writer.close()
    named = tree.css_first("title")
    title = one_line(named.text(deep=True)) if named is not None else ""
    return ParsedDocument(writer.text(), title or writer.first_h1, tuple(writer.blocks))


def _walk(root: LexborNode, writer: _Writer) -> None:
    node: LexborNode | None = root
    depth = 0
    while node is not None:
        child = None
        if node.is_text_node:
            writer.write(node.text_content or "")
        elif node.is_element_node and not _hidden(node):
            child = node.child
            writer.enter(node.tag or "", node.attributes)
            if child is None:
                writer.leave(node.tag or "")
        if child is not None:
            node, depth = child, depth + 1
            continue
        while node is not None and node.next is None and depth > 0:
            node, depth = node.parent, depth - 1
            if node is not None:
                writer.leave(node.tag or "")
        if node is None or depth == 0:
            return
        node = node.next


def _hidden(node: LexborNode) -> bool:
    if node.tag in _DROPPED:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or (node.tag == "input" and attributes.get("type") == "hidden")
        or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
    )


class _Writer:
    """The blocks so far and the pieces of the open one. `_gap` is what parts the next word from the last; it is
    written only when there is a next word."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.first_h1 = ""
        self._done: list[str] = []
        self._length = 0
        self._open: list[str] = []
        self._gap = ""
        self._kind = BlockKind.PARAGRAPH
        self._heading = ""  # the tag of the open heading
        self._kinds: list[str] = []  # open elements that decide the kind of a block
        self._lists: list[int | None] = []  # None for a bulleted list, else the last number
        self._cells = 0
        self._headings = HeadingStack()

    def text(self) -> str:
        return "".join(self._done)

    def write(self, text: str) -> None:
        if "pre" in self._kinds:
            self._emit(text.replace("\r\n", "\n"))
            return
        folded = _SPACE.sub(" ", text)
        body = folded.strip(" ")
        if folded.startswith(" "):
            self._part(" ")
        if body:
            self._emit(body)
            if folded.endswith(" "):
                self._part(" ")

    def enter(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag in _HEADINGS and not self._kinds and not self._heading:
            self._close_block(BlockKind.HEADING)
            self._heading = tag
        elif tag in _BLOCK_KINDS:
            if self._kinds or self._heading:  # a list in a list, or a table in a table, stays in the outer block
                self._part("\n")
            else:
                self._close_block(_BLOCK_KINDS[tag])
            self._kinds.append(tag)
            if tag in {"ul", "ol"}:
                self._lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._item()
        elif tag == "tr":
            self._part("\n")
            self._cells = 0
        elif tag in {"td", "th"}:
            if self._cells:
                self._gap = " | "
            self._cells += 1
        elif tag == "br":
            self._part("\n")
        elif tag == "img":
            alternative = one_line(attributes.get("alt") or "")
            if alternative:
                self._part(" ")
                self._emit(alternative)
                self._part(" ")
        elif tag in _BREAKING or tag in _HEADINGS:
            self._boundary()

    def leave(self, tag: str) -> None:
        if tag in _HEADINGS and tag == self._heading:
            name = one_line("".join(self._open))
            path = self._headings.open(_HEADINGS[tag], name)
            if tag == "h1" and not self.first_h1:
                self.first_h1 = name
            self._open, self._heading, self._gap = [name], "", ""
            self._close_block(BlockKind.PARAGRAPH, path)
        elif tag in _BLOCK_KINDS:
            if tag in {"ul", "ol"} and self._lists:
                self._lists.pop()
            if self._kinds:
                self._kinds.pop()
            self._boundary()
        elif tag in {"li", "tr", "caption"}:
            self._part("\n")
        elif tag in _BREAKING or tag in _HEADINGS:
            self._boundary()

    def close(self) -> None:
        """End the document."""
        self._close_block(BlockKind.PARAGRAPH)

    def _boundary(self) -> None:
        """An element with lines of its own: a new paragraph, but only a new line or a blank within another block."""
        if self._heading or "table" in self._kinds:
            self._part(" ")
        elif self._kinds:
            self._part("\n")
        else:
            self._close_block(BlockKind.PARAGRAPH)

    def _item(self) -> None:
        self._part("\n")
        mark = "- "
        if self._lists and (number := self._lists[-1]) is not None:
            self._lists[-1] = number + 1
            mark = f"{number + 1}. "
        self._emit("  " * (len(self._lists) - 1) + mark)

    def _part(self, gap: str) -> None:
        """Ask for a gap before the next word; a line break outweighs a blank, a cell's bar outweighs a blank."""
        if self._open and not (gap == " " and self._gap):
            self._gap = gap

    def _emit(self, text: str) -> None:
        if self._open and self._gap and not _ITEM_MARK.fullmatch(self._open[-1]):
            self._open.append(self._gap)
        self._gap = ""
        self._open.append(text)

    def _close_block(self, following: BlockKind, path: tuple[str, ...] | None = None) -> None:
        """Record the open block, if it holds anything visible, and begin one of the kind `following`."""
        body = "".join(self._open).strip("\n").rstrip()
        if self._kind is not BlockKind.CODE:
            body = body.strip()
        if body.strip():
            if self._done:
                self._done.append("\n\n")
                self._length += 2
            end = self._length + len(body)
            self.blocks.append(Block(self._length, end, self._kind, self._headings.path if path is None else path))
            self._done.append(body)
            self._length = end
        self._open, self._gap, self._kind = [], "", following
