"""What is durable: the ports of storage and their adapters, the call log, sealing, migrations.

`ports` says what the engine asks of a database; `opening` makes the adapter that a
URL names. Importing this package loads no driver.
"""
