"""TOML with its lines: the parser's own answer, lines that are right whatever stands in texts and comments, and texts made to be slow."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.toml_text import MOST_KEY_PARTS, line_of, parse

TEXT = '''# [[decisions]]
a = 1
"b c" = """
[[decisions]]
layer = "not one"
"""
many = [
  [1],
  ["[[decisions]]"],  # ]
]
[settings]
x.y = 2
\'z\' = \'\'\'
[other]\'\'\'
[[ "decisions" ]]
layer = "\\"[[decisions]]"
[[decisions]]
  precision = "int8"
'''


def test_lines_of_tables_and_keys():
    said, lines = parse(TEXT)
    assert said == tomllib.loads(TEXT)
    assert lines == {
        ("a",): 2, ("b c",): 3, ("many",): 7, ("settings",): 11, ("settings", "x", "y"): 12, ("settings", "z"): 13,
        ("decisions", 0): 15, ("decisions", 0, "layer"): 16, ("decisions", 1): 17, ("decisions", 1, "precision"): 18,
    }  # fmt: skip
    assert line_of(lines, "decisions", 1, "precision") == 18
    assert line_of(lines, "decisions", 1, "no key of it") == 17
    assert line_of(lines, "many", 4) == 7
    assert line_of(lines, "nothing") == 0


@given(st.lists(st.sampled_from(["\r\n", "\n", "# c\n", '"\u2028\u0085" = 1\n', "''' = '''\n"]), max_size=4))
def test_only_a_newline_ends_a_line(before):
    text = "".join(dict.fromkeys(before)).replace("''' = '''\n", "l = '''\n\x85'''\n")
    _, lines = parse(f"{text}last = 1\n")
    assert lines[("last",)] == text.count("\n") + 1


@given(st.text(alphabet="ab.=[]{}\"'#\\\n 1,", max_size=40))
def test_what_is_said_is_what_the_standard_library_says(text):
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        with pytest.raises(tomllib.TOMLDecodeError, match=f"^{re.escape(str(error))}$"):
            parse(text)
    else:
        assert parse(text)[0] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a{'.a' * 1_000_000} = 1", "line 1 has more than 64 parts"),
        ('\n"\\""' + '."\\""' * 500_000 + "=1", "line 2 has more than 64 parts"),
        (f"x = {{a{' . a' * 200_000} = 1}}", "line 1 has more than 64 parts"),
        ("x = " + "[" * 200_000, "nested too deeply"),
        ("x = " + "9" * 5000, "thousands of digits"),
        ('\\"' * 1_000_000, "line 1, column 1"),
        ('"""' + '\\"""' * 500_000, "line 1"),
        ('"' * 1_000_000, "line 1"),
        ("a" * 2_000_000, "end of document"),
        ("a" + " " * 1_000_000 + "x", "line 1"),
    ],
    ids=["dots", "quoted dots", "dots inside", "nested", "digits", "escaped quotes", "no end", "quotes", "a word", "spaces"],
)
def test_texts_that_are_made_to_be_slow_are_refused_in_no_time(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_a_key_may_have_as_many_parts_as_said():
    said, lines = parse(f"a{'.a' * (MOST_KEY_PARTS - 1)} = 1")
    assert ("a",) * MOST_KEY_PARTS in lines
    assert set(said) == {"a"}
