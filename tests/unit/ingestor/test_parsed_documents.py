"""Markdown and HTML become blocks under their headings."""

from __future__ import annotations

import pytest

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain.chunking import ChunkLimits, chunks_of
from ragmesh_ingestor.domain.entities import entities_of, with_entities
from ragmesh_ingestor.domain.html import parse_html
from ragmesh_ingestor.domain.markdown import heading_name, parse_markdown
from ragmesh_ingestor.domain.parsed import BlockKind, ParsedDocument
from ragmesh_ingestor.domain.passage import ParseRequest, Passage
from ragmesh_ingestor.domain.passages import passages_of
from ragmesh_servicekit.errors import InvalidArgument, Reason


def texts(parsed: ParsedDocument) -> list[tuple[BlockKind, str]]:
    return [(block.kind, parsed.text[block.start : block.end]) for block in parsed.blocks]


def test_markdown_keeps_its_source_and_finds_its_blocks() -> None:
    source = "# Top *x* #\r\n\r\npara\r\nmore\r\n- a\n- b\n\n  cont\n\nSetext\n---\n"
    source += "```py\n# no heading\n\n```\n| a |\n|---|\n"
    parsed = parse_markdown(source)
    assert parsed.text == source
    assert parsed.title == "Top x"
    assert texts(parsed) == [
        (BlockKind.HEADING, "# Top *x* #"),
        (BlockKind.PARAGRAPH, "para\r\nmore"),
        (BlockKind.LIST, "- a\n- b\n\n  cont"),
        (BlockKind.HEADING, "Setext\n---"),
        (BlockKind.CODE, "```py\n# no heading\n\n```"),
        (BlockKind.TABLE, "| a |\n|---|"),
    ]
    assert parsed.blocks[-1].heading_path == ("Top x", "Setext")


def test_a_heading_closes_those_of_its_own_level() -> None:
    parsed = parse_markdown("# A\n## B\n### C\n## D\ntext")
    assert parsed.blocks[-1].heading_path == ("A", "D")


def test_an_unclosed_fence_runs_to_the_end() -> None:
    parsed = parse_markdown("```\n# x\n\ny")
    assert [kind for kind, _ in texts(parsed)] == [BlockKind.CODE]


@pytest.mark.parametrize(
    ("source", "title", "first"),
    [
        ('---\ntitle: "The Guide"\ntags: [a]\n---\ntext', "The Guide", "text"),
        ("---\nnot front matter\n---\ntext", "", "---\nnot front matter\n---\ntext"),
    ],
)
def test_front_matter_gives_the_title_and_is_no_prose(source: str, title: str, first: str) -> None:
    parsed = parse_markdown(source)
    assert parsed.title == title
    if title:
        assert texts(parsed)[0][1] == first


def test_a_heading_is_named_without_markup() -> None:
    assert heading_name("The [`run`](x.md) **command** ![i](y)") == "The run command i"


def test_html_shows_what_a_reader_sees() -> None:
    parsed = parse_html(
        "<!doctype html><title>A &amp; B</title><style>p{}</style><h1>Top <b>level</b></h1>"
        "<p>Hello  <i>world</i>,\nthis<br>is.</p><div hidden>no</div><p style='display: none'>no</p>"
        "<ul><li>one<li><p>two</p><ul><li>deep</ul></ul><ol><li>x<li>y</ol>"
        "<h2>T</h2><table><tr><th>a<th>b<tr><td>1<td><p>2</p></table><pre>\nf:\n    g\n</pre>&lt;tail&gt;"
        "<script>no</script><noscript>no</noscript>"
    )
    assert parsed.title == "A & B"
    assert texts(parsed) == [
        (BlockKind.HEADING, "Top level"),
        (BlockKind.PARAGRAPH, "Hello world, this\nis."),
        (BlockKind.LIST, "- one\n- two\n  - deep"),
        (BlockKind.LIST, "1. x\n2. y"),
        (BlockKind.HEADING, "T"),
        (BlockKind.TABLE, "a | b\n1 | 2"),
        (BlockKind.CODE, "f:\n    g"),
        (BlockKind.PARAGRAPH, "<tail>"),
    ]
    assert parsed.blocks[-1].heading_path == ("Top level", "T")


def test_html_without_visible_text_is_refused() -> None:
    request = ParseRequest(b"<html><body><script>x</script></body>", MediaType.HTML)
    with pytest.raises(InvalidArgument, match="visible") as refused:
        passages_of(request, ChunkLimits(), lambda text: [])
    assert refused.value.reason is Reason.CONTENT_INVALID


def test_titles_and_headings_point_at_the_first_passage_under_them() -> None:
    source = (
        "# Redis Streams\n\naaa\n\n## Introduction\n\nbbb\n\n## Consumer Groups\n\nÉlan ccc\n\n## Redis streams\n\nddd"
    )
    parsed = parse_markdown(source)
    cuts = [0, source.index("## I"), source.index("## C"), source.index("## Redis")]
    passages = [Passage(start, end, ()) for start, end in zip(cuts, [*cuts[1:], len(source)], strict=True)]
    named = with_entities(parsed, "Redis Streams", passages)
    assert [p.about for p in named] == [("redis streams",), (), ("consumer groups",), ()]
    assert named[2].words == "consumer groups elan ccc"
    chunks = chunks_of(source, "d", 1, "Redis Streams", named)
    assert entities_of(chunks, named)[2].tokens == ("consumer", "groups", "elan", "ccc")
