"""The measurements. Each runs in its own process. Every function takes a `Job` and returns its figures."""
