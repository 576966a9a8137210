from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks.align.questions import multiple_choice

PAIRS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=30), st.just("d")), max_size=30)


@given(PAIRS)
def test_each_question_has_its_answer_among_three_others(pairs: list[tuple[str, str, str]]) -> None:
    items = multiple_choice(pairs)
    answers = {a for _, a, _ in pairs}
    assert len(items) == (len(pairs) if len(answers) >= 4 else 0)
    for item, (question, answer, _) in zip(items, pairs, strict=False):
        assert item["question"] == question
        assert item["choices"][item["answer"]] == answer
        assert len(set(item["choices"])) == 4
        assert set(item["choices"]) <= answers
    assert items == multiple_choice(pairs)


def test_wrong_answers_are_alike_in_length_and_the_right_one_anywhere() -> None:
    pairs = [(f"question {n}", "x" * n, "d") for n in range(1, 401)]
    items = multiple_choice(pairs)
    spread = [abs(len(c) - n) for n, item in enumerate(items, 1) for c in item["choices"]]
    assert max(spread) <= 16
    places = Counter(item["answer"] for item in items)
    assert min(places.values()) > 70
