"""YAML as the API server reads it, with the line of every field."""

import pytest

from headgate.files.document import MAX_NODES, read


def data(text: str) -> list[object]:
    documents, problem = read("a.yaml", text.encode())
    assert problem is None, str(problem)
    return [document.data for document in documents]


def problem(text: str | bytes) -> str:
    documents, found = read("a.yaml", text if isinstance(text, bytes) else text.encode())
    assert found is not None
    assert documents == []
    return str(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("y", "y"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("0777", 511),
        ("0o17", "0o17"),
        ("0x10", 16),
        ("0b11", 3),
        ("1_000", 1000),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        (".5", 0.5),
        (".inf", float("inf")),
        ("~", None),
        ("", None),
        ("'443'", "443"),
        ("=", "="),
        ("!!binary aGk=", "hi"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert data(f"a: {text}\n") == [{"a": value}]


def test_keys_are_text() -> None:
    assert data("1: a\ntrue: b\nnull: c\n1.50: d\n") == [{"1": "a", "true": "b", "null": "c", "1.50": "d"}]


def test_several_documents_and_empty_ones_are_counted() -> None:
    documents, _ = read("a.yaml", b"a: 1\n---\n---\n# nothing\n---\nb: 2\n")
    assert [(d.data, d.where.start.line, d.where.start.document) for d in documents] == [
        ({"a": 1}, 1, 1),
        ({"b": 2}, 6, 4),
    ]


def test_merge_keys_and_aliases() -> None:
    assert data("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n") == [
        {"base": {"x": 1, "y": 2}, "mine": {"x": 1, "y": 3}}
    ]
    assert data("mine:\n  <<: [{x: 1}, {x: 2, z: 3}]\n") == [{"mine": {"x": 1, "z": 3}}]


def test_every_field_has_its_line() -> None:
    documents, _ = read("a.yaml", b"a:\n  b:\n  - c: 1\n    d: 2\n  - e\n")
    where = documents[0].where
    assert where.of(("a", "b", 0, "d")).line == 4
    assert where.of(("a", "b", 1)).line == 5
    assert where.of(("a", "b", 0, "missing")).line == 3
    assert where.of(("nowhere", 5)).line == 1


def test_a_byte_order_mark_is_no_content() -> None:
    assert read("a.yaml", b"\xef\xbb\xbfa: 1\n")[0][0].data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: b: c\n",
            (
                "a.yaml:1 (document 1): YAML syntax error at column 5: mapping values are not allowed in this context: "
                "mend this line or the one above it"
            ),
        ),
        (
            "a: 1\n---\nb: [1\nc: 2\n",
            (
                "a.yaml:4 (document 2): YAML syntax error at column 2: did not find expected ',' or ']' while parsing a flow "
                "sequence: mend this line or the one above it"
            ),
        ),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3 (document 1): the key a comes twice in one mapping: take one out"),
        (b"a: 1\nb: \xff\n", "a.yaml:2 (document 1): the file is not UTF-8 text: save it as UTF-8"),
        (
            "a: 1\nb: \x01\n",
            "a.yaml:2 (document 1): YAML syntax error: a control character is not allowed: take it out",
        ),
        (
            "a: !canary-secret\n",
            "a.yaml:1 (document 1): a tag (!) before a value means nothing here: put the value in quotes or take the tag out",
        ),
        ("a: !!binary '***'\n", "a.yaml:1 (document 1): !!binary holds no base64 of UTF-8 text: mend it"),
        ("? [a]\n: 1\n", "a.yaml:1 (document 1): a key must be plain text: mend what stands before the colon"),
        (
            f"a: {'9' * 5000}\n",
            "a.yaml:1 (document 1): a number of more than 1000 digits is none: put it in quotes if it is text",
        ),
        ("<<: 5\n", "a.yaml:1 (document 1): `<<` takes a mapping or a list of mappings: mend the alias after it"),
    ],
)
def test_what_is_wrong(text: str | bytes, said: str) -> None:
    assert problem(text) == said


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert MAX_NODES < 10**9
    assert "too large or nested too deeply" in problem("\n".join(lines))


def test_an_alias_to_itself_is_refused() -> None:
    assert "too large or nested too deeply" in problem("a: &x [*x]\n")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_that_would_end_the_process_is_refused(opening: str) -> None:
    """libyaml's composer calls itself for each level, and the stack ends long before this does."""
    assert problem(opening * 300_000) == (
        "a.yaml:1 (document 1): the document is too large or nested too deeply (look for aliases that multiply): make it "
        "smaller"
    )


def test_long_lines_and_many_brackets_alone_are_no_nesting() -> None:
    long = "x" * 5000
    assert data(f"a: {long}\nb: [{'[], ' * 3000}]\n") == [{"a": long, "b": [[]] * 3000}]
    assert problem(f"a: {long}\n---\nb: [1\nc: 2\n").startswith("a.yaml:4 (document 2): YAML syntax error at column 2")
