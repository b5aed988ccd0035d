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


HUB_PARTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}[A-Za-z0-9_]", fullmatch=True).filter(
    lambda part: ".." not in part and "--" not in part and not part.endswith(".git")
)
REVISIONS = st.one_of(
    st.sampled_from(["main", "v1.0", "refs/pr/1", "0123456789abcdef" * 2 + "01234567", "Feature/a_b"]),
    st.from_regex(r"[A-Za-z0-9_]{1,9}(/[A-Za-z0-9_-]{1,9}){0,3}", fullmatch=True),
)


@given(HUB_PARTS, HUB_PARTS, REVISIONS, st.sampled_from(["", DIGEST]))
def test_a_ref_to_the_hub_reads_back_as_written(namespace: str, name: str, revision: str, digest: str) -> None:
    ref = AdapterRef(f"{namespace}/{name}", revision, digest, hub=True)
    assert AdapterRef.parse(str(ref)) == ref


def test_a_ref_to_the_hub_keeps_its_case_and_means_main() -> None:
    assert AdapterRef.parse("hf:Org/Repo.v2") == AdapterRef("Org/Repo.v2", "main", hub=True)
    assert str(AdapterRef.parse("hf:Org/Repo")) == "hf:Org/Repo:main"
    assert str(AdapterRef.parse("hf:Org/Repo@v1.0")) == "hf:Org/Repo:v1.0"
    digest = f"sha256:{'0' * 64}"
    assert AdapterRef.parse(f"hf:Org/Repo@{digest}") == AdapterRef("Org/Repo", "main", digest, hub=True)
    assert AdapterRef.parse(f"hf:Org/Repo@v1@{digest}") == AdapterRef("Org/Repo", "v1", digest, hub=True)


ILLEGAL_ON_THE_HUB = [
    "hf:",
    "hf:a",
    "hf:v1",
    "hf:a/b/c",
    "hf:a/b:",
    "hf:a--b/c",
    "hf:a/b.git",
    "hf:-a/b",
    "hf:a/b.",
    "HF:a/b",
]
ILLEGAL_REVISIONS = ["..", "a/../b", "/a", "a/", "a//b", "a/.b", "a.lock", "-a", "a b", "a@{1}", "a\n", "a" * 129]


@pytest.mark.parametrize("text", ILLEGAL_ON_THE_HUB + [f"hf:a/b:{revision}" for revision in ILLEGAL_REVISIONS])
def test_what_the_hub_would_not_have_is_refused(text: str) -> None:
    with pytest.raises(RefError, match=r"hf:namespace/name\[:revision\]"):
        AdapterRef.parse(text)


@given(st.one_of(st.text(), st.text(alphabet="ab0./:@_-\\\n\0%A"), st.from_regex(r"(hf:)?[a-z./]+(:[a-z./]+)?")))
def test_no_text_leads_out_of_a_folder(text: str) -> None:
    try:
        ref = AdapterRef.parse(text)
    except RefError:
        return
    if ref.hub:
        assert not {"", ".", ".."} & set(f"{ref.name}/{ref.tag}".split("/"))
        return
    parts = PurePosixPath(ref.name, ref.tag).parts
    assert str(ref).lower() == str(ref)
    assert len(parts) in (2, 3)
    assert not {"", ".", "..", "/", "_"} & set(parts)
    assert "\0" not in ref.name + ref.tag


ILLEGAL = ["", "..", "a/../b", "a..b", "/a", "a/", "a/b/c", "A", "_/a", ".a", "a b", "a\n", "a:", "a:b:c", "a" * 97]
RESERVED = ["hf", "sha256", "hf:v1", "HF:a/b"]
ILLEGAL_DIGESTS = [
    "a@",
    "a@sha256:ab",
    f"a@md5:{'ab' * 16}",
    f"a@{DIGEST.upper()}",
    f"a@{DIGEST}0",
    DIGEST,
    "hf",
    "HF:a/b",
]


@pytest.mark.parametrize("text", ILLEGAL + RESERVED + ILLEGAL_DIGESTS)
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
