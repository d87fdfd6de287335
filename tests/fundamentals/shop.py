"""A small shop's functions: what a team would write, and all it would write."""

import time
from datetime import timedelta
from decimal import Decimal

from pydantic import BaseModel

from dispatcher import GiveUp, Registry, RetryPolicy, current_job

registry = Registry()


class Receipt(BaseModel):
    """What a customer gets."""

    customer_id: int
    amount: Decimal
    text: str


@registry.function(examples=["bill customer 7 for 12.50"], timeout=timedelta(seconds=30))
def send_invoice(customer_id: int, amount: Decimal, note: str = "") -> Receipt:
    """Email an invoice to a customer.

    Args:
        customer_id: the customer's number in the billing system.
        amount: in euros, two decimals.
        note: what the invoice says besides.
    """
    return Receipt(customer_id=customer_id, amount=amount, text=note or "Thank you.")


@registry.function(examples=["how many words are in this", "count the words"])
async def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@registry.function(retry=RetryPolicy(max_attempts=5, first_wait=timedelta(milliseconds=50), jitter=False))
def ask_supplier(article: str) -> str:
    """Ask a supplier's service, which is often busy."""
    if current_job().attempt < 3:
        msg = "the supplier is busy"
        raise ConnectionError(msg)
    return f"{article} is in stock"


@registry.function
def order_number() -> str:
    """A number that is the same however often the order is sent."""
    return current_job().idempotency_key


@registry.function
def print_catalogue(pages: int) -> str:
    """Print so many pages, a tenth of a second each."""
    for page in range(pages):
        current_job().progress(page, pages, f"page {page}")
        time.sleep(0.1)
    return f"{pages} pages"


@registry.function(sensitive=["card"])
def charge_card(card: str, amount: Decimal) -> str:
    """Charge a card. The first attempt of each day is always declined."""
    if current_job().attempt == 1:
        msg = f"card {card} was declined"
        raise GiveUp(msg)
    return f"charged {amount}"
