"""The demo's file and its report, without a server."""

from datetime import timedelta
from pathlib import Path

import pytest

from dispatcher.cli.command import CommandError
from dispatcher.cli.demonstration.report import Report
from dispatcher.cli.demonstration.requests import Request, read_requests
from dispatcher.cli.demonstration.run import Tried
from dispatcher.errors import NoFunctionSelectedError, UnknownFunctionError
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.transport.outcomes import CallRecord, JobRecord


def write(folder: Path, text: str) -> Path:
    path = folder / "requests.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


class TestReading:
    def test_a_line_is_a_request_and_empty_lines_are_none(self, tmp_path) -> None:
        path = write(
            tmp_path,
            '{"id": "r1", "text": "数一下", "arguments": {"n": 1}, "expect": "f", "also": ["g"], "outcome": "failed"}\n\n'
            '{"text": "poem", "expect": "none"}\n',
        )
        first, second = read_requests(path)
        assert first == Request(
            id="r1", text="数一下", arguments={"n": 1}, expected=frozenset({"f", "g"}), outcome="failed"
        )
        assert second.id == "line-3"
        assert second.selects_right(None)
        assert not second.selects_right("f")
        assert first.selects_right("g")

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "Expecting property name"),
            ("[]", 'a request is an object with a "text"'),
            ('{"id": "r1"}', 'a request is an object with a "text"'),
            ('{"text": 7}', 'a request is an object with a "text"'),
            ('{"text": "a", "arguments": [1]}', '"arguments" must be an object'),
            ('{"text": "a", "argument": {}}', "unknown field 'argument'"),
        ],
    )
    def test_a_line_that_is_no_request_is_named_by_its_number(self, tmp_path, line, problem) -> None:
        path = write(tmp_path, '{"text": "fine"}\n' + line + "\n")
        with pytest.raises(CommandError, match="line 2: ") as raised:
            read_requests(path)
        assert problem in str(raised.value)

    def test_an_empty_file_is_refused(self, tmp_path) -> None:
        with pytest.raises(CommandError, match="holds no request"):
            read_requests(write(tmp_path, "\n"))

    def test_a_file_that_is_no_text_is_refused(self, tmp_path) -> None:
        path = tmp_path / "requests.jsonl"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(CommandError, match="cannot read"):
            read_requests(path)

    def test_without_the_repository_the_command_says_where_the_requests_are(self, run) -> None:
        ran = run("demo", "--app", "shop", "--json")
        assert ran.code == 1
        assert "there is no file examples/requests.jsonl; the demo's requests are in the repository" in ran.words
        assert ran.data["error"]["code"] == "command"


def request(id_: str = "r", **fields) -> Request:
    return Request(id=id_, text=f"text of {id_}", **fields)


def record(state: JobState, attempts: int = 1) -> JobRecord:
    error = ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message="no")
    failed = state is JobState.FAILED
    return JobRecord(attempts=attempts, calls=(CallRecord(state=state, error=error if failed else None),))


def ended(state: JobState, milliseconds: int, *, function: str = "f", attempts: int = 1, **fields) -> Tried:
    return Tried(
        request=request(**fields),
        function=function,
        job_id="job",
        record=record(state, attempts),
        took=timedelta(milliseconds=milliseconds),
    )


class TestReport:
    def test_a_row_counts_what_became_of_a_functions_requests(self) -> None:
        tried = [
            ended(JobState.SUCCEEDED, 10),
            ended(JobState.SUCCEEDED, 30, attempts=3),
            ended(JobState.FAILED, 50),
            Tried(request=request(), function="f", refusal=UnknownFunctionError("x")),
        ]
        (row,) = Report(tried=tried, took=timedelta(seconds=1)).by_function()
        assert row == {
            "function": "f", "requests": 4, "succeeded": 2, "failed": 1, "refused": 1, "retries": 2,
            "median_seconds": 0.03, "max_seconds": 0.05,
        }  # fmt: skip

    def test_an_accepted_call_without_an_outcome_makes_it_incomplete(self) -> None:
        missing = Tried(request=request(), function="f", job_id="lost")
        report = Report(tried=[ended(JobState.SUCCEEDED, 1), missing], took=timedelta(seconds=1))
        assert (report.accepted, report.outcomes, report.complete) == (2, 1, False)
        assert report.to_data()["missing"] == ["lost"]
        assert report.to_data()["endings"] == {"succeeded": 1, "missing": 1}

    def test_refusals_are_counted_by_reason_with_an_example_each(self) -> None:
        refusals = [
            NoFunctionSelectedError("nothing fits"),
            UnknownFunctionError("x"),
            NoFunctionSelectedError("again"),
        ]
        tried = [Tried(request=request(f"r{i}"), refusal=refusal) for i, refusal in enumerate(refusals)]
        first, second = Report(tried=tried, took=timedelta(seconds=1)).refusals()
        assert (first["code"], first["count"]) == ("no_function_selected", 2)
        assert first["example"]["id"] == "r0"
        assert second["code"] == "unknown_function"

    def test_selection_and_endings_are_judged_only_where_the_file_says_what_is_right(self) -> None:
        tried = [
            ended(JobState.SUCCEEDED, 1),
            ended(JobState.SUCCEEDED, 1, id_="right", expected=frozenset({"f"})),
            ended(JobState.SUCCEEDED, 1, id_="wrong", expected=frozenset({"g"})),
            ended(JobState.FAILED, 1, id_="as-said", outcome="failed"),
            ended(JobState.FAILED, 1, id_="not-as-said", outcome="refused"),
        ]
        report = Report(tried=tried, took=timedelta(seconds=1))
        assert report.selection == (1, 2)
        assert report.endings == (1, 2)
        assert [surprise["id"] for surprise in report.surprises()] == ["wrong", "not-as-said"]

    def test_nothing_tried_is_complete_and_divides_nothing_by_zero(self) -> None:
        data = Report(tried=[], took=timedelta(0)).to_data()
        assert (data["complete"], data["calls_per_second"], data["functions"]) == (True, 0.0, [])
