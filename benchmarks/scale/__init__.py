"""What a very large number of calls would need, from what a small number costs here.

`make scale` measures the ledger's commands on an embedded server, and works out 10⁹ calls a day from them.
"""
