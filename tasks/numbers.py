"""Functions on numbers: describe a list of them, and what a loan costs."""

import math
import statistics as stats
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from tasks.shared import registry

#: Values that statistics are made over.
MAX_VALUES = 20_000


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a list of numbers looks like."""

    count: int
    sum: float
    mean: float
    median: float
    minimum: float
    maximum: float
    #: Sample standard deviation (n - 1); 0 for a single value.
    standard_deviation: float
    lower_quartile: float
    upper_quartile: float


@registry.function(
    name="numbers.statistics",
    tags={"numbers", "average"},
    examples=(
        "what is the average and the median of these numbers?",
        "compute the standard deviation of 3, 5, 8, 13",
        "mean of my test scores",
        "计算这组数据的平均值和标准差",
        "这些成绩的中位数是多少",
    ),
)
def statistics(values: list[float]) -> Statistics:
    """Describe a list of numbers: mean, median, standard deviation, quartiles, smallest and largest.

    Args:
        values: 1 to 20,000 numbers.

    Raises:
        ValueError: if there are no values, or too many.
    """
    if not 1 <= len(values) <= MAX_VALUES:
        msg = f"statistics need 1 to {MAX_VALUES:,} values, not {len(values):,}"
        raise ValueError(msg)
    quartiles = stats.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Statistics(
        count=len(values),
        sum=math.fsum(values),
        mean=stats.fmean(values),
        median=stats.median(values),
        minimum=min(values),
        maximum=max(values),
        standard_deviation=stats.stdev(values) if len(values) > 1 else 0.0,
        lower_quartile=quartiles[0],
        upper_quartile=quartiles[2],
    )


@dataclass(frozen=True, kw_only=True)
class LoanPayment:
    """What a loan with equal monthly payments costs, in the currency of the principal, to the cent."""

    monthly_payment: Decimal
    total_paid: Decimal
    total_interest: Decimal


@registry.function(
    name="numbers.loan_payment",
    tags={"numbers", "money", "mortgage"},
    examples=(
        "what would I pay every month for a 250000 mortgage over 30 years at 4.5 percent?",
        "monthly instalment of a car loan",
        "how much interest does my loan cost in total",
        "贷款100万，年利率4.1%，三十年，每月还多少？",
        "房贷月供怎么算",
    ),
)
def loan_payment(principal: Decimal, annual_rate_percent: Decimal, months: int) -> LoanPayment:
    """Calculate the monthly payment of a loan or mortgage and the interest it costs.

    Args:
        principal: the sum borrowed, more than 0 and at most a trillion.
        annual_rate_percent: the nominal yearly interest rate in percent, 0 to 100.
        months: the number of monthly payments, 1 to 600.

    Raises:
        ValueError: if a value is out of range.
    """
    if not (0 < principal <= 10**12 and 0 <= annual_rate_percent <= 100 and 1 <= months <= 600):  # noqa: PLR2004
        msg = "principal must be 0 to a trillion, annual_rate_percent 0 to 100 and months 1 to 600"
        raise ValueError(msg)
    with localcontext() as context:
        context.prec = 40
        rate = annual_rate_percent / 1200
        growth = (1 + rate) ** months
        exact = principal * rate * growth / (growth - 1) if rate else principal / months
        cent = Decimal("0.01")
        payment = exact.quantize(cent, ROUND_HALF_EVEN)
        total = (exact * months).quantize(cent, ROUND_HALF_EVEN)
        return LoanPayment(
            monthly_payment=payment,
            total_paid=total,
            total_interest=(total - principal).quantize(cent, ROUND_HALF_EVEN),
        )
