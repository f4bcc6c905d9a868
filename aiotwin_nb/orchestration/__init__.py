"""The run: a pure step function, the loop around it, journal, ledger, inbox, resume."""
