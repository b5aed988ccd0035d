"""The grammar of adapter references."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub.errors import RefError
from adapterhub.store import AdapterRef

DIGEST = f"sha256:{'ab' * 32}"
PARTS = st.builds(
    lambda first, rest: (first + rest).replace("..", "."),
    st.sampled_from("az09"),
    st.text(alphabet="az09._-", max_size=95),
).filter(lambda part: ".." not in part)


def test_the_tag_is_latest_by_default() -> None:
    assert AdapterRef.parse("digits") == AdapterRef("digits", "latest", "")


def test_every_part_is_read() -> None:
    assert AdapterRef.parse(f"team/digits:v1@{DIGEST}") == AdapterRef("team/digits", "v1", DIGEST)


@given(st.one_of(PARTS, st.tuples(PARTS, PARTS).map("/".join)), PARTS, st.sampled_from(["", DIGEST]))
def test_a_ref_reads_back_as_written(name: str, tag: str, digest: str) -> None:
    ref = AdapterRef(name, tag, digest)
    assert AdapterRef.parse(str(ref)) == ref


@given(st.one_of(st.text(), st.text(alphabet="ab0./:@_-\\\n\0%A"), st.from_regex(r"[a-z./]+(:[a-z./]+)?")))
def test_no_text_leads_out_of_a_folder(text: str) -> None:
    try:
        ref = AdapterRef.parse(text)
    except RefError:
        return
    parts = PurePosixPath(ref.name, ref.tag).parts
    assert len(parts) in (2, 3)
    assert not {"", ".", "..", "/", "_"} & set(parts)
    assert "\0" not in ref.name + ref.tag


ILLEGAL = ["", "..", "a/../b", "a..b", "/a", "a/", "a/b/c", "A", "_/a", ".a", "a b", "a\n", "a:", "a:b:c", "a" * 97]
ILLEGAL_DIGESTS = ["a@", "a@sha256:ab", f"a@md5:{'ab' * 16}", f"a@{DIGEST.upper()}", f"a@{DIGEST}0", DIGEST]


@pytest.mark.parametrize("text", ILLEGAL + ILLEGAL_DIGESTS)
def test_anything_else_is_refused_saying_what_is_accepted(text: str) -> None:
    with pytest.raises(RefError, match=r"accepted: \[namespace/\]name\[:tag\]"):
        AdapterRef.parse(text)


@pytest.mark.parametrize(
    ("name", "tag", "digest"),
    [("../a", "b", ""), ("a", "../b", ""), ("a", f"b@{DIGEST}", ""), ("a:b", "c", ""), ("a", "", ""), ("a", "b", "x")],
)
def test_a_ref_built_by_hand_is_held_to_the_grammar_too(name: str, tag: str, digest: str) -> None:
    with pytest.raises(RefError):
        AdapterRef(name, tag, digest)
