"""Scripts as people write them, and a test that runs each."""
