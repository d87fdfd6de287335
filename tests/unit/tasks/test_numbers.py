import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clock import SystemClock
from dispatcher.errors import CallCancelled, InvalidArgumentsError
from dispatcher.execution.context import Attempt, CurrentJob, set_current_job
from tasks.expression import evaluate
from tasks.numbers import loan_payment, statistics
from tasks.primes import factorise, primes
from tasks.units import convert_units


def test_statistics_of_a_sample():
    found = statistics([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.count, found.sum, found.mean, found.median) == (8, 40, 5, 4.5)
    assert (found.minimum, found.maximum) == (2, 9)
    assert found.standard_deviation == pytest.approx(2.13809, abs=1e-5)
    assert (found.lower_quartile, found.upper_quartile) == (4, 5.5)


def test_a_single_value_has_no_spread():
    found = statistics([3.5])
    assert (found.mean, found.standard_deviation, found.lower_quartile, found.upper_quartile) == (3.5, 0, 3.5, 3.5)


@pytest.mark.parametrize("values", [[], [1.0] * 20_001])
def test_no_values_or_too_many_are_refused(values):
    with pytest.raises(ValueError, match="1 to 20,000 values"):
        statistics(values)


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "result", "unit"),
    [
        (26.2, "miles", "km", 42.1648128, "km"),
        (72, "°F", "Celsius", 22.2222222222, "c"),
        (-40, "c", "f", -40, "f"),
        (0, "K", "c", -273.15, "c"),
        (180, "pounds", "kg", 81.6466266, "kg"),
        (3, "斤", "克", 1500, "g"),
        (10, "英里", "公里", 16.09344, "km"),
        (1, "亩", "平方米", 666.666666667, "m2"),
        (60, "mph", "km/h", 96.56064, "km/h"),
        (1, "GiB", "MB", 1073.741824, "mb"),
        (1.5, "hours", "min", 90, "min"),
    ],
)
def test_measures_are_converted(value, from_unit, to_unit, result, unit):
    found = convert_units(value, from_unit, to_unit)
    assert found.value == pytest.approx(result, rel=1e-10)
    assert found.unit == unit


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "said"),
    [
        (12, "parsec", "km", "'parsec' is not known; known are"),
        (3, "metres", "litres", "metres measures length and litres measures volume"),
        (3, "c", "kg", "temperature"),
        (-300, "c", "f", "absolute zero"),
    ],
)
def test_what_cannot_be_converted_is_refused(value, from_unit, to_unit, said):
    with pytest.raises(ValueError, match=said):
        convert_units(value, from_unit, to_unit)


@given(st.floats(-1e6, 1e6), st.sampled_from([("km", "miles"), ("kg", "lb"), ("l", "gal"), ("ha", "亩")]))
def test_converting_there_and_back_gives_the_same(value, units):
    there = convert_units(value, *units)
    assert convert_units(there.value, units[1], units[0]).value == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_a_loan_is_paid_back_in_equal_instalments():
    loan = loan_payment(Decimal(200_000), Decimal("4.5"), 360)
    assert loan.monthly_payment == Decimal("1013.37")
    assert loan.total_paid == Decimal("364813.42")
    assert loan.total_interest == Decimal("164813.42")


def test_a_loan_without_interest_costs_what_was_borrowed():
    loan = loan_payment(Decimal(1200), Decimal(0), 12)
    assert (loan.monthly_payment, loan.total_interest) == (Decimal("100.00"), Decimal("0.00"))


@pytest.mark.parametrize(
    ("principal", "rate", "months"), [(0, 4, 12), (1, -1, 12), (1, 101, 12), (1, 4, 0), (1, 4, 601), (10**13, 4, 12)]
)
def test_a_loan_out_of_range_is_refused(principal, rate, months):
    with pytest.raises(ValueError, match="must be"):
        loan_payment(Decimal(principal), Decimal(rate), months)


def test_money_travels_as_decimal_text_without_rounding():
    call = loan_payment.call(Decimal("0.10"), Decimal("1.25"), 1)
    assert json.loads(call.arguments)["principal"] == "0.10"
    value = loan_payment(
        *loan_payment.load_arguments(call.arguments)[0], **loan_payment.load_arguments(call.arguments)[1]
    )
    assert loan_payment.load_result(loan_payment.dump_result(value)) == value


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("3 * (17 + 4) / 2", 31.5),
        ("sqrt(3**2 + 4**2)", 5),
        ("2^10", 1024),
        ("（12 + 8）× 3 − 5", 55),
        ("10 ÷ 4 =", 2.5),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** -1", 0.5),
        ("round(2.6) + abs(-1) + floor(1.9) + ceil(0.1)", 6),
        ("log(e) + cos(0) + sin(0) + log10(1000)", 5),
        ("+1.5e3", 1500),
    ],
)
def test_arithmetic_is_calculated(expression, result):
    assert evaluate(expression) == pytest.approx(result)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "not an arithmetic expression"),
        ("2 +", "not an arithmetic expression"),
        ("(" * 240 + ")" * 240, "not an arithmetic expression"),
        ("1/0", "divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("9**9**9", "too large"),
        ("1e308 * 10", "not a finite number"),
        ("2.0 ** 10000", "too large"),
        ("exp(1000)", "too large"),
        ("(-8) ** 0.5", "not a real number"),
        ("sqrt(-1)", "domain|nonnegative"),
        ("__import__('os').getcwd()", "not allowed"),
        ("().__class__", "not allowed"),
        ("True + 1", "not allowed"),
        ("'a' * 9", "not allowed"),
        ("[1] * 9", "not allowed"),
        ("2j", "not allowed"),
        ("x + 1", "not allowed"),
        ("sqrt(1, 2)", "not allowed"),
        ("1 if 2 else 3", "not allowed"),
        ("1 << 9", "not allowed"),
        ("lambda: 1", "not allowed"),
        ("1+" * 250 + "1", "may have 500 characters"),
    ],
)
def test_what_is_no_bounded_arithmetic_is_refused(expression, said):
    with pytest.raises(ValueError, match=said):
        evaluate(expression)


@given(st.text(alphabet="0123456789+-*/%().^eE sqrtlog,", max_size=60))
def test_any_expression_gives_a_number_or_a_value_error(expression):
    with suppress(ValueError):
        assert isinstance(evaluate(expression), float)


@pytest.mark.parametrize(
    ("number", "factors"),
    [
        (1, []),
        (2, [2]),
        (360, [2, 2, 2, 3, 3, 5]),
        (8633, [89, 97]),
        (2401, [7, 7, 7, 7]),
        (600_851_475_143, [71, 839, 1471, 6857]),
        (104_729, [104_729]),
    ],
)
def test_numbers_are_split_into_primes(number, factors):
    found = factorise(number)
    assert found.factors == factors
    assert found.prime is (len(factors) == 1)


@given(st.integers(1, 10**8))
def test_the_factors_multiply_to_the_number(number):
    product = 1
    for factor in factorise(number).factors:
        product *= factor
    assert product == number


@pytest.mark.parametrize("number", [0, -7, 10**14 + 1])
def test_numbers_out_of_range_are_not_split(number):
    with pytest.raises(ValueError, match="1 to 100,000,000,000,000"):
        factorise(number)


def test_true_is_no_number():
    with pytest.raises(InvalidArgumentsError):
        factorise.bind({"number": True})


@pytest.mark.parametrize(
    ("limit", "count"),
    [(2, 1), (3, 2), (4, 2), (30, 10), (100, 25), (500_000, 41_538), (500_001, 41_538), (1_000_003, 78_499)],
)
def test_primes_are_counted(limit, count):
    assert primes(limit).count == count


def test_the_first_and_last_primes_are_listed_across_segments():
    found = primes(1_000_010)
    assert found.first[:5] == [2, 3, 5, 7, 11]
    assert len(found.first) == len(found.last) == 25
    assert found.last[-2:] == [999_983, 1_000_003]
    assert primes(10).last == [2, 3, 5, 7]


@pytest.mark.parametrize("limit", [1, 0, 20_000_001])
def test_limits_out_of_range_are_refused(limit):
    with pytest.raises(ValueError, match="2 to 20,000,000"):
        primes(limit)


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    attempt = Attempt(
        job_id="j", token=1, number=1, function="numbers.primes", idempotency_key="", accepted_at=now, deadline_at=now
    )
    set_current_job(CurrentJob(attempt, SystemClock()))
    yield attempt
    set_current_job(None)


def test_a_long_count_says_how_far_it_is(attempt):
    primes(1_200_000)
    assert attempt.progress is not None
    assert (attempt.progress.done, attempt.progress.total) == (1_000_000, 1_200_000)
    assert attempt.progress.message == "78,498 primes so far"


def test_a_cancelled_count_stops(attempt):
    attempt.interruption = CallCancelled
    with pytest.raises(CallCancelled):
        primes(1_200_000)


def test_results_that_never_change_are_cached():
    assert primes.options.cache == timedelta(hours=1)
    assert factorise.options.cache == timedelta(days=1)
