"""The producer's side: dispatch, hold a Handle, collect the outcome."""
