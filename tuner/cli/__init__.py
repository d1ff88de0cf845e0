"""The command line: arguments, what it prints, and its exit codes."""
