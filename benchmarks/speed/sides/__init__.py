"""What each side does in a process of its own; every function takes a `Job` and returns its figures."""
