"""The command line. It only parses options and prints results."""
