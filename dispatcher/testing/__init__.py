"""What the tests of your own code need, in three sizes.

- `RecordingDispatcher`, with `assert_dispatched`: no server, no worker; answers what you tell it to.
- `embedded_dispatcher`: a real server and a worker in this process; calls really run.
- `FakeClock`: time that passes when you say so.

    async def test_an_order_is_confirmed() -> None:
        async with RecordingDispatcher(registry) as dispatcher:
            dispatcher.answer(send_invoice, InvoiceReceipt(number="A1"))
            await confirm(order, dispatcher)
            assert_dispatched(dispatcher, send_invoice.call(customer_id=7, amount=Decimal("12.50")))
"""

from dispatcher.testing.clock import FakeClock
from dispatcher.testing.embedded import embedded_dispatcher, embedded_worker
from dispatcher.testing.recording import (
    DispatchedCall,
    RecordingDispatcher,
    RecordingSyncDispatcher,
    assert_dispatched,
    assert_not_dispatched,
)

__all__ = [
    "DispatchedCall",
    "FakeClock",
    "RecordingDispatcher",
    "RecordingSyncDispatcher",
    "assert_dispatched",
    "assert_not_dispatched",
    "embedded_dispatcher",
    "embedded_worker",
]
