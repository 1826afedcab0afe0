"""A reader's decisions: undone, redone, kept, and never lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lopsided.errors import InputError
from lopsided.review import LOG, Opinion, ReviewLog, ReviewSession, Status, read_log, recover

CANDIDATES = ("Suggestion_1", "Suggestion_2", "Suggestion_3")


def new_session(reader: str = "ab") -> ReviewSession:
    return ReviewSession(CANDIDATES, reader, {"model": "0123", "grid": [240, 240, 155]})


def opinions(session: ReviewSession) -> list[Opinion]:
    return [session.opinion(c) for c in session.candidates]


def test_decisions_are_counted_undone_and_redone() -> None:
    session = new_session()
    change = session.decide("Suggestion_2", Status.ACCEPTED, threshold=0.5)
    assert change is not None
    assert (change.candidate, change.before, change.after) == ("Suggestion_2", Opinion(), Opinion(Status.ACCEPTED))
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.5)
    session.write_note("Suggestion_2", "a vessel", threshold=0.5)
    assert session.opinion("Suggestion_2") == Opinion(Status.REJECTED, "a vessel")
    undone = [session.undo(threshold=0.5) for _ in range(3)]
    assert [c and c.after for c in undone] == [Opinion(Status.REJECTED), Opinion(Status.ACCEPTED), Opinion()]
    assert session.undo(threshold=0.5) is None
    assert not session.can_undo
    redone = session.redo(threshold=0.5)
    assert redone is not None
    assert redone.after == Opinion(Status.ACCEPTED)
    assert session.count(Status.ACCEPTED) == 1
    assert session.count(Status.PENDING) == 2


def test_a_new_decision_ends_what_could_be_redone() -> None:
    session = new_session()
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    session.undo(threshold=0.5)
    session.decide("Suggestion_3", Status.UNCERTAIN, threshold=0.5)
    assert session.redo(threshold=0.5) is None
    assert session.opinion("Suggestion_1") == Opinion()


def test_what_undo_and_redo_would_change_is_known_before() -> None:
    session = new_session()
    assert session.ahead("undo") is session.ahead("redo") is None
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.5)
    for action in ("undo", "redo", "undo", "undo", "redo"):
        events, expected = list(session.events), session.ahead(action)
        assert session.events == events
        moved = getattr(session, action)(threshold=0.5)
        assert (moved.candidate, moved.before, moved.after) == (expected.candidate, expected.before, expected.after)
    assert session.changing == {4, 6}, "by which events they are as they are"
    session.decide("Suggestion_3", Status.REJECTED, threshold=0.5)
    assert session.changing == {6, 7}


def test_deciding_the_same_again_is_no_event() -> None:
    session = new_session()
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    assert session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.4) is None
    assert session.write_note("Suggestion_1", "", threshold=0.4) is None
    assert len(session.events) == 1
    with pytest.raises(KeyError):
        session.decide("Suggestion_9", Status.ACCEPTED, threshold=0.5)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.sampled_from(CANDIDATES), st.sampled_from(list(Status))),
        st.tuples(st.just("note"), st.sampled_from(CANDIDATES), st.sampled_from(["", "Gefäß", "two\nlines"])),
        st.tuples(st.sampled_from(["undo", "redo"])),
    ),
    max_size=25,
)


def act(session: ReviewSession, step: tuple[str, ...]) -> None:
    if step[0] == "decide":
        session.decide(step[1], Status(step[2]), threshold=0.5)
    elif step[0] == "note":
        session.write_note(step[1], step[2], threshold=0.5)
    else:
        getattr(session, step[0])(threshold=0.5)


@given(STEPS)
def test_any_history_survives_json_and_undoes_to_nothing(steps: list[tuple[str, ...]]) -> None:
    session = new_session()
    for step in steps:
        act(session, step)
    restored = ReviewSession.from_json(json.loads(json.dumps(session.to_json())))
    assert restored.events == session.events
    assert opinions(restored) == opinions(session)
    assert (restored.can_undo, restored.can_redo) == (session.can_undo, session.can_redo)
    while session.can_undo:
        session.undo(threshold=0.5)
    assert opinions(session) == [Opinion()] * 3


def test_each_decision_is_in_the_file_at_once_and_a_cut_at_any_byte_loses_the_last_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: on_disk.append(os.fstat(file).st_size))
    session = new_session()
    log = ReviewLog(tmp_path / "new folder", "Fräulein / T1c", session)
    for candidate in CANDIDATES:
        session.decide(candidate, Status.REJECTED, threshold=0.31)
        log.write()
        assert read_log(log.path).to_json() == session.to_json()
        assert on_disk[-1] == log.path.stat().st_size
    [file] = log.path.parent.iterdir()
    assert file.name.startswith("Fräulein___T1c-ab-")
    content = log.path.read_bytes()
    header = content.index(b"\n") + 1
    cut = tmp_path / "cut"
    for end in range(header, len(content)):
        cut.write_bytes(content[:end])
        whole = content[header:end].count(b"\n")
        assert read_log(cut).events == session.events[:whole]


@pytest.mark.parametrize(
    ("spoilt", "left"),
    [
        (lambda lines: [*lines, b""], 3),
        (lambda lines: [*lines[:2], b"\r", *lines[2:]], 3),
        (lambda lines: [*lines[:3], b"\0" * len(lines[3])], 2),
        (lambda lines: [*lines[:3], lines[3][:20]], 2),
        (lambda lines: [*lines[:2], b"null", lines[3]], 1),
        (lambda lines: [*lines[:3], b"[" * 200_000], 2),
    ],
    ids=["empty line at the end", "empty line", "zeros", "torn", "no object", "deep"],
)
def test_a_spoilt_line_loses_none_before_it(
    tmp_path: Path, spoilt: Callable[[list[bytes]], list[bytes]], left: int
) -> None:
    session = new_session()
    log = ReviewLog(tmp_path, "T1c", session)
    begun = ReviewSession.from_json(session.to_json())
    for candidate in CANDIDATES:
        session.decide(candidate, Status.REJECTED, threshold=0.31)
    log.write()
    lines = log.path.read_bytes().splitlines()
    log.path.write_bytes(b"".join(line + b"\n" for line in spoilt(lines)))
    assert recover(begun, tmp_path).events == session.events[:left]


def test_a_last_line_that_was_written_to_its_end_and_is_spoilt_is_not_passed_over(tmp_path: Path) -> None:
    session = new_session()
    log = ReviewLog(tmp_path, "T1c", session)
    for status in (Status.ACCEPTED, Status.REJECTED):
        session.decide(CANDIDATES[0], status, threshold=0.31)
    log.write()
    *lines, last = log.path.read_bytes().splitlines()
    for spoilt, refused in ((b"\0" * len(last) + b"\n", True), (last[:30], False)):
        log.path.write_bytes(b"\n".join([*lines, spoilt]))
        if refused:
            with pytest.raises(InputError, match="line 3 is spoilt; restore it from a copy"):
                read_log(log.path)
        else:
            assert len(read_log(log.path).events) == 1


@pytest.mark.parametrize("last", [b"", b"\n"], ids=["cut off", "whole"])
def test_decisions_behind_a_spoilt_line_are_not_left_out_without_a_word(tmp_path: Path, last: bytes) -> None:
    """Else a lesion that was rejected behind it would be exported as it was accepted before."""
    session = new_session()
    log = ReviewLog(tmp_path, "T1c", session)
    for candidate in CANDIDATES:
        session.decide(candidate, Status.REJECTED, threshold=0.31)
    log.write()
    lines = log.path.read_bytes().splitlines()
    log.path.write_bytes(b"\n".join([lines[0], b"", b"\0" * 40, lines[2]]) + last)
    with pytest.raises(InputError, match=r"review\.jsonl: line 3 is spoilt; restore it from a copy"):
        read_log(log.path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0\0\0\n", b"[]\n", b'{"header": 1}\n'])
def test_what_has_no_header_is_no_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="not a review"):
        read_log(tmp_path / "a")


def test_what_the_disk_refused_is_written_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session()
    log = ReviewLog(tmp_path, "study", session)
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            log.write()
    assert log.path.read_bytes() == b"", "not half a decision"
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.5)
    log.write()
    assert opinions(read_log(log.path)) == opinions(session)


@pytest.mark.parametrize("letter", ["x", "ä", "脳"])
def test_a_study_of_any_name_has_a_log(letter: str, tmp_path: Path) -> None:
    log = ReviewLog(tmp_path, 300 * letter, new_session())
    log.write()
    assert log.path.name.startswith(20 * letter)


def test_a_folder_that_cannot_be_is_an_error_and_the_decision_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    session = new_session()
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    with pytest.raises(OSError, match="file"):
        ReviewLog(tmp_path / "file", "study", session).write()
    assert session.count(Status.ACCEPTED) == 1


def test_a_log_whose_file_is_gone_or_anothers_is_written_whole_to_one_that_is_not(tmp_path: Path) -> None:
    """A share that is unmounted leaves an empty folder in its place, and comes back with what was there."""
    session, folder = new_session(), tmp_path / "logs"
    log = ReviewLog(folder, "study", session)
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    log.write()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.5)
    log.write()
    assert opinions(read_log(log.path)) == opinions(session)
    shutil.rmtree(folder)
    (tmp_path / "away").rename(folder)
    [old] = folder.iterdir()
    session.decide("Suggestion_3", Status.UNCERTAIN, threshold=0.5)
    log.write()
    assert opinions(read_log(log.path)) == opinions(session)
    assert len(read_log(old).events) == 1, "what is there stays as it was"


def test_the_segment_that_a_lesion_was_added_to_is_known_again(tmp_path: Path) -> None:
    session = new_session()
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5, add_to="Mine")
    session.undo(threshold=0.5)
    session.redo(threshold=0.5)
    log = ReviewLog(tmp_path, "study", session)
    log.write()
    assert read_log(log.path).opinion("Suggestion_1") == Opinion(Status.ACCEPTED, add_to="Mine")
    session.decide("Suggestion_1", Status.REJECTED, threshold=0.5)
    assert session.opinion("Suggestion_1") == Opinion(Status.REJECTED)
    before = {k: v for k, v in session.to_json()["events"][0].items() if k != "add_to"}  # as it was written at first
    old = ReviewSession.from_json({**session.to_json(), "events": [before]})
    assert old.opinion("Suggestion_1") == Opinion(Status.ACCEPTED)


def test_two_reviews_of_one_study_never_share_a_file(tmp_path: Path) -> None:
    logs = []
    for _ in range(3):
        session = new_session()
        logs.append(ReviewLog(tmp_path, "study", session))
        logs[-1].write()
    assert len({log.path for log in logs}) == 3
    assert len(list(tmp_path.glob(f"*{LOG}"))) == 3


def test_a_session_older_than_its_log_is_recovered_and_another_readers_is_not(tmp_path: Path) -> None:
    """The scene was saved after one decision, and Slicer ended after three."""
    session = new_session()
    log = ReviewLog(tmp_path, "study", session)
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    saved = session.to_json()
    for candidate in CANDIDATES[1:]:
        session.decide(candidate, Status.REJECTED, threshold=0.5)
    log.write()
    other = ReviewSession.from_json(saved)
    other.decide("Suggestion_1", Status.UNCERTAIN, threshold=0.5)
    ReviewLog(tmp_path, "study", other).write()
    stranger = new_session("cd")
    ReviewLog(tmp_path, "study", stranger).write()
    (tmp_path / f"damaged{LOG}").write_text("{", encoding="utf-8")
    assert recover(ReviewSession.from_json(saved), tmp_path).events == session.events
    assert recover(other, tmp_path) is other
    assert recover(stranger, tmp_path) is stranger


def test_who_goes_on_with_a_recovered_session_is_the_one_who_does(tmp_path: Path) -> None:
    session = new_session()
    saved = session.to_json()
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.5)
    ReviewLog(tmp_path, "study", session).write()
    mine = ReviewSession.from_json(saved)
    mine.reader = "cd"
    found = recover(mine, tmp_path)
    found.undo(threshold=0.5)
    assert [event.reader for event in found.events] == ["ab", "cd"]


def test_the_time_of_a_review_is_that_of_reading_and_not_of_the_night_between() -> None:
    session = new_session()
    header = session.to_json()["header"] | {"started": "2026-01-01T10:00:00+00:00"}
    times = ("2026-01-01T10:00:40+00:00", "2026-01-01T10:01:00+00:00", "2026-01-02T09:00:00+00:00")
    times += ("2026-01-02T09:00:05.500+00:00", "2026-01-02T09:00:05+00:00")
    opinions = ("accepted", "rejected", "accepted", "rejected", "accepted")
    events = [
        {"action": "decide", "candidate": "Suggestion_1", "value": o, "reader": "ab", "threshold": 0.5, "time": t}
        for o, t in zip(opinions, times, strict=True)
    ]
    assert ReviewSession.from_json({"header": header, "events": events}).seconds == 40 + 20 + 5.5


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"header": None, "events": []},
        {"header": {"format_version": 2}, "events": []},
        {"header": new_session().to_json()["header"], "events": [{"data " * 1000: 0}]},
    ],
)
def test_what_is_not_a_review_is_said_to_be_none(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="review") as raised:
        ReviewSession.from_json(content)
    assert len(str(raised.value)) < 120


def test_nothing_but_python_is_needed() -> None:
    code = "import sys; import lopsided.review; print({'numpy', 'pydantic', 'torch', 'SimpleITK'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "set()"
